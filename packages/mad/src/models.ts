// mad-lab's layer classes: how each is built from its original arguments, and how its state names map to ours.

import { ConfigError, nearest } from "@everlong/core";
import { GatedLinearUnit, Hyena, Mlp, MultiHeadAttention, rotaryFloat32 } from "@everlong/nn";
import {
  activation,
  checkNames,
  flag,
  hyenaFilter,
  number,
  record,
  type Arguments,
  type OriginalLayer,
} from "./original-arguments.ts";
import { recurrentLayers } from "./parity-layers.ts";

export type { Arguments, OriginalLayer } from "./original-arguments.ts";

const same = (key: string): string => key;

function attention(args: Arguments): OriginalLayer {
  const [left, right] = (args["window_size"] ?? [-1, -1]) as [number, number];
  const heads = number(args, "n_heads", 16);
  const scaleBase = args["rotary_emb_scale_base"];
  const scale = args["softmax_scale"];
  return {
    build: ({ key, dim }) =>
      new MultiHeadAttention({
        key,
        dim,
        heads,
        headsKv: number(args, "num_heads_kv", heads),
        causal: flag(args, "causal", true),
        window: [left, right],
        rotaryDim: Math.trunc(number(args, "rotary_emb_dim", 0)),
        rotaryBase: number(args, "rotary_emb_base", 10_000),
        rotaryInterleaved: flag(args, "rotary_emb_interleaved", false),
        ...(typeof scaleBase === "number" ? { rotaryScaleBase: scaleBase } : {}),
        rotaryMath: rotaryFloat32,
        alibi: flag(args, "use_alibi", false),
        qkvBias: flag(args, "qkv_proj_bias", true),
        outBias: flag(args, "out_proj_bias", true),
        ...(typeof scale === "number" ? { scale } : {}),
        shortConv: flag(args, "dwconv", false),
        cross: flag(args, "cross_attn", false),
      }),
    rename: (key) => key.replace(/^W(qkv|q|kv)\./, "w$1."),
  };
}

/** The original's `activation`, `outer_mixing`, `post_order_ffn` and `num_blocks` have no effect; `nested` neither. */
function hyena(args: Arguments): OriginalLayer {
  const conv = record(args, "long_conv_cfg");
  const filter = conv["filter_cls"] ?? "rtf";
  if (filter !== "implicit") {
    throw new ConfigError("HyenaOperator", `filter ${JSON.stringify(filter)} is not available`, {
      expected: '"implicit"',
    });
  }
  if (number(args, "order", 2) !== 2) {
    throw new ConfigError("HyenaOperator", "mad-lab's operator runs with order 2 only", {
      hint: "Build Hyena itself for higher orders.",
    });
  }
  return {
    build: ({ key, dim, maxLength }) =>
      new Hyena({
        key,
        dim,
        maxLength,
        order: 2,
        heads: number(args, "num_heads", 1),
        innerFactor: number(args, "inner_factor", 2),
        projectionGroups: number(args, "proj_groups", 4),
        shortFilterOrder: number(args, "short_filter_order", 3),
        filter: hyenaFilter(record(conv, "filter_cfg"), flag(conv, "bias", true)),
        compat: ["truncate"],
      }),
    rename: (key) =>
      key.replace(/^long_conv\.filter\./, "filter_fn.").replace(/^long_conv\.bias$/, "filter_fn.bias"),
  };
}

function mlp(args: Arguments): OriginalLayer {
  const inner = args["dim_inner"];
  return {
    build: ({ key, dim }) =>
      new Mlp({
        key,
        dim,
        ...(typeof inner === "number" ? { inner } : {}),
        activation: activation(args["act"], "gelu-tanh"),
        bias: flag(args, "bias", true),
      }),
    rename: same,
  };
}

/** `dim_inner` has no effect in the original. */
const gated =
  (gate: string) =>
  (args: Arguments): OriginalLayer => ({
    build: ({ key, dim }) =>
      new GatedLinearUnit({
        key,
        dim,
        activation: gate === "silu" ? "silu" : activation(args["act"], gate),
        bias: flag(args, "bias", false),
        multipleOf: number(args, "multiple_of", 16),
      }),
    rename: same,
  });

const layers: Readonly<Record<string, (args: Arguments) => OriginalLayer>> = {
  Attention: attention,
  HyenaOperator: hyena,
  Mlp: mlp,
  GLU: gated("sigmoid"),
  SwiGLU: gated("silu"),
  ...recurrentLayers,
};

/** The layer that mad-lab's class `cls` makes of `args`. */
export function layerFor(cls: string, args: Arguments): OriginalLayer {
  const make = layers[cls];
  if (make) {
    checkNames(cls, args);
    return make(args);
  }
  const near = nearest(cls, Object.keys(layers));
  throw new ConfigError("mad layer", `unknown class "${cls}"`, {
    expected: Object.keys(layers).join(", "),
    ...(near ? { hint: `Did you mean "${near}"?` } : {}),
  });
}
