import { expect, test } from "vitest";
import type { ParityRequest } from "../parity-entry.ts";
import { checkArguments } from "./arguments.ts";
import { parityModules } from "./modules.ts";

const request = (args: Readonly<Record<string, unknown>>, repo = "HazyResearch/safari"): ParityRequest => ({
  args,
  json: { repo, L: 16 },
  shapes: new Map([
    ["in.x", [1, 16, 4]],
    ["in.u", [1, 16, 4]],
  ]),
});

/** Smallest arguments of every class that takes options. */
const LEAST: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  "src.models.sequence.hyena.HyenaOperator": { d_model: 4, l_max: 16 },
  "standalone_hyena.HyenaOperator": { d_model: 4, l_max: 16 },
  "standalone_hyenadna.HyenaOperator": { d_model: 4, l_max: 16 },
  "src.models.sequence.long_conv_lm.ConvLMHeadModel": {
    d_model: 4,
    n_layer: 1,
    d_inner: 8,
    vocab_size: 8,
    layer: { l_max: 16 },
  },
  "standalone_hyenadna.HyenaDNAModel": {
    d_model: 4,
    n_layer: 1,
    d_inner: 8,
    vocab_size: 8,
    layer: { l_max: 16 },
  },
  "standalone_hyenadna.SequenceDecoder": { d_model: 4 },
  "src.models.ssm.h3.H3": { d_model: 4 },
  "src.models.ssm_seq.SSMLMHeadModel": { d_model: 4, n_layer: 1, d_inner: 8, vocab_size: 8 },
  "src.models.sequence.long_conv.LongConv": { d_model: 4 },
  "standalone_long_convs.LongConv": { H: 4, L: 16 },
  "src.models.sequence.h3_conv.H3Conv": { d_model: 4, l_max: 16 },
  "src.models.sequence.modules.s4nd.S4ND": { d_model: 4, dim: 1, mode: "diag" },
  "models.s4.s4.SSMKernelDiag": { d_model: 4, d_state: 4 },
  "models.s4.s4.SSMKernelDPLR": { d_model: 4, d_state: 4 },
  "models.s4.s4.S4Block": { d_model: 4, d_state: 4, mode: "diag" },
  "models.s4.s4.FFTConv": { d_model: 4, d_state: 4, mode: "diag" },
  "models.s4.s4d.S4D": { d_model: 4, d_state: 4 },
  "src.mm.monarch_mixer_sequence_mixer.MonarchMixerSequenceMixing": { d_model: 4 },
  "src.mm.blockdiag_linear.BlockdiagLinear": { in_features: 4, out_features: 4 },
};

test.each(Object.entries(LEAST))("%s builds, and names an argument that it does not know", (cls, args) => {
  const build = parityModules[cls]!;
  expect(() => build(request(args))).not.toThrow();
  expect(() => build(request({ ...args, frobnicate: 3 }))).toThrow(
    /unsupported: argument "frobnicate": got 3/,
  );
});

test.each([
  [
    "src.models.sequence.long_conv_lm.ConvLMHeadModel",
    { layer: { l_max: 16, _name_: "h3" } },
    "layer._name_",
  ],
  [
    "src.models.sequence.long_conv_lm.ConvLMHeadModel",
    { layer: { l_max: 16, sparsity: 2 } },
    "layer.sparsity",
  ],
  [
    "src.models.ssm_seq.SSMLMHeadModel",
    { attn_layer_idx: [0], attn_cfg: { num_heads: 2, alibi: true } },
    "attn_cfg.alibi",
  ],
  ["src.models.ssm_seq.SSMLMHeadModel", { ssm_cfg: { mode: "ema" } }, "ssm_cfg.mode"],
  ["models.s4.s4.S4Block", { gates: 2 }, "gates"],
  ["src.models.sequence.long_conv.LongConv", { activation: "glu", transposed: false }, "activation"],
  [
    "src.models.sequence.long_conv.LongConv",
    { block_fft_conv: true, block_fft_conv_args: { activation: "relu" } },
    "block_fft_conv_args.activation",
  ],
])("%s refuses %o", (cls, more, name) => {
  expect(() => parityModules[cls]!(request({ ...LEAST[cls], ...more }))).toThrow(
    new RegExp(`unsupported: argument "${name}"`),
  );
});

interface BertParts {
  readonly attention: { readonly causal: boolean };
  readonly mlp: { readonly gatedLayers: { readonly weight: { readonly shape: readonly number[] } } };
}

test("an option of another version of the class has no effect, as there", () => {
  const build = parityModules["src.models.sequence.hyena.HyenaOperator"]!;
  const args = { d_model: 4, l_max: 16, linear_mixer: true };
  const layers = (repo: string): number => {
    const { module } = build(request(args, repo)) as { module: { filterFn: { implicitFilter: unknown[] } } };
    return module.filterFn.implicitFilter.length;
  };
  expect(layers("HazyResearch/safari")).toBe(7);
  expect(layers("HazyResearch/hyena-dna")).toBe(1);
});

test("m2's BERT has dense channel mixers and reads both sides unless told", () => {
  const args = {
    vocab_size: 7,
    hidden_size: 4,
    num_hidden_layers: 1,
    intermediate_size: 6,
    max_position_embeddings: 8,
  };
  const layer = (more: Record<string, unknown>): BertParts => {
    const { module } = parityModules["src.bert_layers.BertForMaskedLM"]!(request({ ...args, ...more }));
    return (module as { bert: { encoder: { layer: BertParts[] } } }).bert.encoder.layer[0]!;
  };
  expect(layer({}).mlp.gatedLayers.weight.shape).toEqual([12, 4]);
  expect(layer({ use_monarch_mlp: true, monarch_mlp_nblocks: 2 }).mlp.gatedLayers.weight.shape).toEqual([
    2, 6, 2,
  ]);
  expect(layer({}).attention.causal).toBe(false);
  expect(layer({ bidirectional: false }).attention.causal).toBe(true);
});

test("attention after the first such layer is causal whatever the record says", () => {
  const { module } = parityModules["src.models.ssm_seq.SSMLMHeadModel"]!(
    request({
      ...LEAST["src.models.ssm_seq.SSMLMHeadModel"],
      n_layer: 3,
      attn_layer_idx: [0, 2],
      attn_cfg: { num_heads: 2, causal: false, rotary_emb_dim: 2 },
    }),
  ) as { module: { layers: { mixer: { causal: boolean } }[] } };
  expect(module.layers.map((b) => b.mixer.causal)).toEqual([
    false,
    undefined,
    true,
    undefined,
    true,
    undefined,
  ]);
});

test("null is the default, and values outside the list are told", () => {
  const known = { used: ["a"], only: { b: ["x", 2] } };
  expect(() => checkArguments({ a: 1, b: null }, known)).not.toThrow();
  expect(() => checkArguments({ b: "y" }, known, "cfg")).toThrow(
    /unsupported: argument "cfg.b": expected "x" or 2, got "y"/,
  );
});
