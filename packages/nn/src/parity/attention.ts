// The attention layers of hybrid language models, as flash-attention's and hyena-dna's standalone class are constructed.

import { ConfigError, type Tensor } from "@everlong/core";
import { MultiHeadAttention } from "../mixers/attention.ts";
import { rotaryFloat32 } from "./float32-math.ts";
import { booleanOr, checkArguments, numberOr, required, type Arguments } from "./arguments.ts";

/**
 * Builds layer i where `attn_layer_idx` names it. The originals take `causal` out of the shared record at the first such layer,
 * so that later ones are causal whatever it says.
 * @param standalone the class of hyena-dna's standalone file, without rotary positions
 */
export function originalAttention(
  args: Arguments,
  dim: number,
  standalone: boolean,
): (layer: number, key: Tensor) => MultiHeadAttention | undefined {
  const config = (args["attn_cfg"] ?? {}) as Arguments;
  const attends = (args["attn_layer_idx"] ?? []) as readonly number[];
  if (attends.length === 0) return () => undefined;
  checkArguments(
    config,
    {
      used: [
        "num_heads",
        "causal",
        "bias",
        "dwconv",
        "softmax_scale",
        ...(standalone
          ? ["embed_dim"]
          : [
              // Later versions of flash-attention have two biases and grouped keys.
              "qkv_proj_bias",
              "out_proj_bias",
              "num_heads_kv",
              "rotary_emb_dim",
              "rotary_emb_base",
              "rotary_emb_scale_base",
              "rotary_emb_interleaved",
            ]),
      ],
      withoutEffect: ["dropout", "use_flash_attn", "fused_bias_fc", "checkpointing", "device", "dtype"],
      only: { cross_attn: [false], return_residual: [false], use_alibi: [false] },
    },
    "attn_cfg",
  );
  const width = numberOr(config, "embed_dim", dim);
  if (width !== dim) {
    throw new ConfigError("parity", 'unsupported: argument "attn_cfg.embed_dim"', {
      expected: `${dim}`,
      got: `${width}`,
    });
  }
  const rotary = numberOr(config, "rotary_emb_dim", 0);
  const scaleBase = numberOr(config, "rotary_emb_scale_base", 0);
  const scale = config["softmax_scale"];
  const first = Math.min(...attends);
  return (layer, key) =>
    attends.includes(layer)
      ? new MultiHeadAttention({
          key,
          dim,
          heads: required(config, "num_heads"),
          causal: layer > first || booleanOr(config, "causal", true),
          headsKv: numberOr(config, "num_heads_kv", required(config, "num_heads")),
          qkvBias: booleanOr(config, "qkv_proj_bias", booleanOr(config, "bias", true)),
          outBias: booleanOr(config, "out_proj_bias", true),
          shortConv: booleanOr(config, "dwconv", false),
          ...(rotary > 0
            ? {
                rotaryDim: rotary,
                rotaryBase: numberOr(config, "rotary_emb_base", 10_000),
                rotaryMath: rotaryFloat32,
                rotaryInterleaved: booleanOr(config, "rotary_emb_interleaved", false),
              }
            : {}),
          ...(rotary > 0 && scaleBase > 0 ? { rotaryScaleBase: scaleBase } : {}),
          ...(typeof scale === "number" ? { scale } : {}),
        })
      : undefined;
}
