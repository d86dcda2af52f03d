// The language models of safari and hyena-dna, and the standalone HyenaDNA model: pre-norm blocks of a mixer and an MLP.

import { ConfigError, iota, less, mean, random, tensor, unsqueeze, type Tensor } from "@everlong/core";
import { LanguageModel } from "../backbones/language-model.ts";
import type { LayerSpec } from "../backbones/block.ts";
import { Mlp } from "../channel/mlp.ts";
import { Linear } from "../layers/linear.ts";
import { SequenceHead, type Readout } from "../layers/sequence-head.ts";
import { MultiHeadAttention } from "../mixers/attention.ts";
import type { Hyena } from "../mixers/hyena.ts";
import type { ParityModule, ParityRequest } from "../parity-entry.ts";
import { booleanOr, numberOr, required, stringOr, type Arguments } from "./arguments.ts";
import { fullHyena, isDna, standaloneHyena } from "./hyena.ts";

type MakeHyena = (layer: Arguments, key: Tensor) => Hyena;

/** A nested record among the arguments. */
function record(args: Arguments, name: string): Arguments {
  const value = args[name] ?? {};
  if (typeof value !== "object" || Array.isArray(value))
    throw new ConfigError("parity", `"${name}" must be a record`);
  return value as Arguments;
}

/** The backbone with the embedding as output map; every block of the original is two of ours. */
function backbone(args: Arguments, makeHyena: MakeHyena): LanguageModel {
  const dim = required(args, "d_model");
  const layer: Arguments = { d_model: dim, ...record(args, "layer") };
  const attention = record(args, "attn_cfg");
  const attends = new Set((args["attn_layer_idx"] ?? []) as readonly number[]);
  const layers = Array.from({ length: required(args, "n_layer") }, (_, i): LayerSpec[] => [
    ({ key }) =>
      attends.has(i)
        ? new MultiHeadAttention({
            key,
            dim,
            heads: required(attention, "num_heads"),
            causal: booleanOr(attention, "causal", true),
            qkvBias: booleanOr(attention, "bias", true),
            shortConv: booleanOr(attention, "dwconv", false),
            ...(typeof attention["softmax_scale"] === "number" ? { scale: attention["softmax_scale"] } : {}),
          })
        : makeHyena(layer, key),
    ({ key }) => new Mlp({ key, dim, inner: numberOr(args, "d_inner", 4 * dim) }),
  ]).flat();
  const positions = numberOr(args, "max_position_embeddings", 0);
  const multiple = numberOr(args, "pad_vocab_size_multiple", 1);
  return new LanguageModel({
    key: random.key(0),
    vocabSize: Math.ceil(required(args, "vocab_size") / multiple) * multiple,
    dim,
    maxLength: positions > 0 ? positions : required(layer, "l_max"),
    layers,
    norm: "layer",
    normEps: numberOr(args, "layer_norm_epsilon", 1e-5),
    positions: positions > 0 ? "learned" : "none",
    tied: true,
    ...(booleanOr(args, "residual_in_fp32", false) ? { residualDtype: "f32" } : {}),
  });
}

/** Original names to ours; modules under gradient checkpointing have a `layer` in between. */
export function renameLanguageModel(key: string): string | undefined {
  if (key.startsWith("lm_head.")) return undefined;
  const outer: Readonly<Record<string, string>> = {
    "backbone.embeddings.word_embeddings.": "embedding.",
    "backbone.ln_f.": "norm.",
  };
  for (const [prefix, ours] of Object.entries(outer))
    if (key.startsWith(prefix)) return ours + key.slice(prefix.length);
  if (key === "backbone.embeddings.position_embeddings.weight") return "positions";
  const match = /^backbone\.layers\.(\d+)\.(norm1|norm2|mixer|mlp)\.(?:layer\.)?(.*)$/.exec(key);
  if (!match) return key;
  const [, index, part, rest] = match as unknown as [string, string, string, string];
  const at = 2 * Number(index) + (part === "norm2" || part === "mlp" ? 1 : 0);
  if (part === "norm1" || part === "norm2") return `layers.${at}.norm.${rest}`;
  const inner = rest
    .replace(/^Wqkv\./, "wqkv.")
    .replace(/^fc1\./, "fc.")
    .replace(/^fc2\./, "proj.");
  return `layers.${at}.mixer.${inner}`;
}

/** The language-model head of safari and hyena-dna. */
export function longConvLanguageModel({ args, json }: ParityRequest): ParityModule {
  const dna = isDna(json);
  const model = backbone(args, (layer, key) => fullHyena(layer, dna, key));
  return {
    module: model,
    rename: renameLanguageModel,
    call: ({ input_ids }) => ({ logits: model.forward(input_ids!) }),
  };
}

/** hyena-dna's standalone model: hidden states, or classes from the mean over all positions. */
export function hyenaDnaModel({ args }: ParityRequest): ParityModule {
  const model = backbone(args, (layer, key) => standaloneHyena(layer, 0.05, key));
  if (!booleanOr(args, "use_head", false)) {
    // Two passes, as the stored numbers were made: where the residual is rounded, so is the gradient of each pass alone.
    const call: ParityModule["call"] = ({ input_ids }) => ({
      hidden: model.hidden(input_ids!),
      logits: model.forward(input_ids!),
    });
    return { module: model, rename: renameLanguageModel, call };
  }
  const head = new Linear({ key: random.key(1), inputs: model.dim, outputs: numberOr(args, "n_classes", 2) });
  return {
    module: { model, head },
    rename: (key) => {
      if (key.startsWith("head.output_transform.")) return key.replace("output_transform.", "");
      const name = renameLanguageModel(key);
      return name === undefined ? undefined : `model.${name}`;
    },
    call: ({ input_ids }) => ({ logits: head.forward(mean(model.hidden(input_ids!), 1)) }),
  };
}

/** hyena-dna's decoder: several variants in one case, each with a state of its own. */
export function sequenceDecoder({ args, json }: ParityRequest): ParityModule {
  const variants = (json["variants"] ?? [{ i: 0, ...args }]) as readonly Arguments[];
  const heads = variants.map((v) => {
    const length = v["l_output"];
    const mode = stringOr(v, "mode", "last");
    return new SequenceHead({
      key: random.key(0),
      dim: required(args, "d_model"),
      ...(typeof args["d_output"] === "number" ? { outputs: args["d_output"] } : {}),
      readout: mode === "pool" ? "mean" : (mode as Readout),
      positions: typeof length !== "number" ? "all" : length === 0 ? "one" : length,
    });
  });
  return {
    module: heads,
    call: ({ x }) =>
      Object.fromEntries(
        variants.map((v, i) => {
          const lengths = v["lengths"];
          const device = { device: x!.device };
          const mask = Array.isArray(lengths)
            ? less(
                iota([x!.shape[0]!, x!.shape[1]!], 1, device),
                unsqueeze(tensor(lengths.map(Number), { dtype: "i32", ...device }), 1),
              )
            : undefined;
          return [`${numberOr(v, "i", i)}`, heads[i]!.forward(x!, mask ? { mask } : {})];
        }),
      ),
  };
}
