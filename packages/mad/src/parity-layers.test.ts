import { random, tensor, zeros } from "@everlong/core";
import { stateDict, type Module } from "@everlong/nn";
import { describe, expect, test } from "vitest";
import { layerFor } from "./models.ts";
import { partCases } from "./parity-layers.ts";
import { parityModules } from "./parity-modules.ts";

const linear = (name: string): string[] => [`${name}.weight`, `${name}.bias`];
const filter = [
  "long_conv.bias",
  "long_conv.filter.pos_emb.z",
  "long_conv.filter.pos_emb.t",
  ...linear("long_conv.filter.implicit_filter.0"),
  "long_conv.filter.implicit_filter.1.freq",
  ...linear("long_conv.filter.implicit_filter.2"),
  "long_conv.filter.implicit_filter.3.freq",
  ...linear("long_conv.filter.implicit_filter.4"),
  "long_conv.filter.implicit_filter.5.freq",
  "long_conv.filter.implicit_filter.6.weight",
  "long_conv.filter.modulation.deltas",
];
const hyena = [...linear("short_filter"), ...filter, ...linear("out_proj"), ...linear("in_proj")];
const conv = { bias: true, filter_cls: "implicit", filter_cfg: { order: 2 } };
const rwkvMaps = ["receptance", "key", "value", "output", "gate"].map((n) => `${n}.weight`);

/** Original class, arguments, and the names that its state has. */
const cases: readonly (readonly [string, Record<string, unknown>, readonly string[]])[] = [
  [
    "LinearAttention",
    { feature_map: "elementwise_product", num_heads: 2 },
    [
      ...["q", "k"].flatMap((side) => [
        ...linear(`feature_map_${side}.layer1`),
        ...linear(`feature_map_${side}.layer2`),
      ]),
      ...["proj_q", "proj_k", "proj_v", "out_proj"].map((n) => `${n}.weight`),
    ],
  ],
  [
    "GatedLinearAttention",
    { gate_fn: "swish" },
    [
      ...["q_proj", "k_proj", "v_proj", "g_proj", "gk_proj.0", "o_proj"].map((n) => `${n}.weight`),
      ...linear("gk_proj.1"),
      "g_norm_swish_gate.weight",
    ],
  ],
  [
    "Mamba",
    {},
    [
      "A_log",
      "D",
      ...linear("conv1d"),
      ...linear("dt_proj"),
      "in_proj.weight",
      "x_proj.weight",
      "out_proj.weight",
    ],
  ],
  ["MultiHeadHyenaOperator", { num_heads: 2, long_conv_cfg: { ...conv, num_heads: 2 } }, hyena],
  [
    "HyenaExpertsOperator",
    { num_experts: 2, active_experts: 1, dim_inner: 8, activation: "id", long_conv_cfg: conv },
    [...hyena, ...linear("router")],
  ],
  [
    "MoeMlp",
    { num_experts: 2, active_experts: 1, bias: false },
    ["gates", "up1.weight", "up2.weight", "down1.weight", ...linear("router")],
  ],
  [
    "TimeMixer_RWKV5",
    { dim_att: 16, head_dim: 4 },
    [
      "time_mix_k",
      "time_mix_v",
      "time_mix_r",
      "time_mix_g",
      "time_decay",
      "time_faaaa",
      ...rwkvMaps,
      ...linear("ln_x"),
    ],
  ],
  [
    "TimeMixer_RWKV6",
    { dim_att: 16, head_dim: 4 },
    [
      ...["x", "w", "k", "v", "r", "g", "w1", "w2"].map((n) => `time_maa_${n}`),
      "time_decay",
      "time_decay_w1",
      "time_decay_w2",
      "time_faaaa",
      ...rwkvMaps,
      ...linear("ln_x"),
    ],
  ],
  [
    "ChannelMixer_RWKV5",
    { dim_inner: 8 },
    ["time_mix_k", "time_mix_r", "key.weight", "receptance.weight", "value.weight"],
  ],
  [
    "ChannelMixer_RWKV6",
    { dim_inner: 8 },
    ["time_maa_k", "time_maa_r", "key.weight", "receptance.weight", "value.weight"],
  ],
];

describe.each(cases)("%s", (cls, args, names) => {
  test("maps every name of the original's state to one of ours", () => {
    const { build, rename } = layerFor(cls, args);
    const layer: Module = build({ key: random.key(0), dim: 16, maxLength: 12 });
    const mapped = names.map(rename).filter((n) => n !== undefined);
    // The filter's sine is one tensor under three names.
    const ours = new Set(stateDict(layer).keys());
    const aliases = /implicit_filter\.[35]\.freq$/;
    expect(new Set(mapped.filter((n) => !aliases.test(n)))).toEqual(
      new Set([...ours].filter((n) => !aliases.test(n))),
    );
  });

  test("is a case of its own", () => {
    const known = Object.keys({ ...parityModules });
    expect(known.some((name) => name.endsWith(`.${cls}`))).toBe(true);
  });
});

test("filters and orders that the original cannot run are errors", () => {
  const of = (args: Record<string, unknown>): unknown => layerFor("MultiHeadHyenaOperator", args);
  expect(() => of({ long_conv_cfg: { filter_cls: "rtf" } })).toThrow(/filter "rtf"/);
  expect(() => of({ order: 3, long_conv_cfg: conv })).toThrow(/order 2 only/);
});

test("RWKV's kernel case brings its own gradients", async () => {
  const run = partCases["mad/model/layers/rwkv/cuda/wkv6_cuda.cu"]!;
  const { call } = run({ args: { H: 1 }, json: {}, shapes: new Map() });
  const row = (...x: number[]): ReturnType<typeof tensor> => tensor(x, [1, 2, 1]);
  // y_0 = r_0 u k_0 v_0, y_1 = r_1 (k_0 v_0 + u k_1 v_1): the first write is read before any decay.
  const results = call({
    r: row(1, 2),
    k: row(3, 5),
    v: row(7, 11),
    w: zeros([1, 2, 1]),
    u: tensor([[0.5]]),
    gy: row(1, 1),
  });
  expect(Array.from(await results["y"]!.data(), Number)).toEqual([10.5, 2 * (21 + 27.5)]);
  expect(Array.from(await results["grad_in.r"]!.data(), Number)).toEqual([10.5, 48.5]);
});

test("what a layer drops, a model around it drops too", () => {
  const layer_cfgs = [{ dim: 4, max_length: 4, num_experts: 2, active_experts: 1, dim_inner: 2 }];
  const args = { vocab_size: 5, dim: 4, max_length: 4, layers: ["MoeMlp"], layer_cfgs };
  for (const [cls, prefix] of [
    ["LanguageModel", "model"],
    ["AutoEncoder", "encoder"],
  ] as const) {
    const { rename } = parityModules[`mad.model.${cls}`]!({ args, json: {}, shapes: new Map() });
    expect(rename!(`${prefix}.0.1.gates`)).toBeUndefined();
    expect(rename!(`${prefix}.0.0.weight`)).toBe("layers.0.norm.weight");
    expect(rename!("unembed.1.bias")).toBe("head.bias");
  }
});

test("arguments that no class of mad-lab knows are errors, those of other classes are dropped as there", () => {
  expect(() => layerFor("SwiGLU", { dim: 4, mutliple_of: 2 })).toThrow(
    /unknown argument "mutliple_of" of SwiGLU.*Did you mean "multiple_of"/s,
  );
  expect(() => layerFor("SwiGLU", { dim: 4, num_heads: 2 })).not.toThrow();
});
