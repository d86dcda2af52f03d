// Reading constructor arguments under mad-lab's names.

import { ConfigError, nearest } from "@everlong/core";
import type { HyenaFilterSettings, Layer, LayerShape } from "@everlong/nn";

export type Arguments = Readonly<Record<string, unknown>>;

/** A layer as its original class constructs it. */
export interface OriginalLayer {
  readonly build: (shape: LayerShape) => Layer;
  /** Original state name to ours; undefined drops what ours lacks. */
  readonly rename: (key: string) => string | undefined;
}

/** Names that mad-lab's constructors know, of any layer: each drops what belongs to another. */
const KNOWN: ReadonlySet<string> = new Set(
  [
    // every layer, models
    "dim dim_inner max_length seq_len d_model dropout drop_rate bias act activation device dtype layer_idx return_residual",
    "vocab_size layers layer_cfgs norm position_embeds embed_drop_rate global_pool",
    // attention
    "causal n_heads rotary_emb_dim window_size num_heads_kv cross_attn qkv_proj_bias out_proj_bias softmax_scale dwconv",
    "rotary_emb_base rotary_emb_scale_base rotary_emb_interleaved use_alibi fused_bias_fc use_flash_attn",
    // linear attention
    "feature_map expand_k expand_v tie_feature_map_qk num_heads eps parallel_implementation norm_q norm_k output_norm",
    "gate_fn layernorm_eps gate_logit_normalizer gate_low_rank_dim mode clamp_min fuse_norm",
    // Hyena and its filters
    "order long_conv_cfg inner_factor proj_groups num_blocks outer_mixing nested post_order_ffn short_filter_order num_experts",
    "active_experts filter_cls filter_cfg filter_dropout",
    "state_size trunc_len num_a bidirectional flash_fft_conv init",
    // Mamba, RWKV, gated units
    "d_state d_conv expand dt_rank dt_min dt_max dt_init dt_scale dt_init_floor conv_bias use_fast_path multiple_of",
    "head_dim dim_att head_dim_divisor n_layer layer_id",
  ].flatMap((line) => line.split(" ")),
);

/**
 * Checks names of constructor arguments; mad-lab takes any. What its filters are configured with (`filter_cfg`) is left alone: settings of
 * other filters travel there.
 * @throws ConfigError for one that no class of mad-lab knows
 */
export function checkNames(cls: string, args: Arguments): void {
  for (const [name, value] of Object.entries(args)) {
    if (KNOWN.has(name)) continue;
    const near = nearest(name, [...KNOWN]);
    throw new ConfigError("mad layer", `unknown argument "${name}" of ${cls}`, {
      got: JSON.stringify(value),
      ...(near ? { hint: `Did you mean "${near}"?` } : {}),
    });
  }
}

/** A number, or the default where the argument is absent or null. */
export const number = (args: Arguments, name: string, otherwise: number): number => {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== "number")
    throw new ConfigError("mad layer", `"${name}" must be a number`, { got: JSON.stringify(value) });
  return value;
};

/** True or false, or the default where the argument is absent or null. */
export const flag = (args: Arguments, name: string, otherwise: boolean): boolean => {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== "boolean")
    throw new ConfigError("mad layer", `"${name}" must be true or false`, { got: JSON.stringify(value) });
  return value;
};

/** A nested record; empty when absent. */
export const record = (args: Arguments, name: string): Arguments => (args[name] ?? {}) as Arguments;

/** Activations travel as names: `GELU`, `gelu`, `tanh`-approximated or exact, `SiLU`. */
export function activation(value: unknown, otherwise: string): string {
  if (value === undefined || value === null) return otherwise;
  const text = (typeof value === "string" ? value : JSON.stringify(value)).toLowerCase();
  if (text.includes("gelu")) return text.includes("tanh") ? "gelu-tanh" : "gelu";
  if (["id", "linear", "glu", "none"].includes(text)) return text;
  for (const name of ["silu", "swish", "softplus", "relu", "sigmoid", "tanh", "identity"])
    if (text.includes(name)) return name;
  throw new ConfigError("mad layer", `unknown activation ${JSON.stringify(value)}`);
}

/** Settings of the implicit filter from its original `filter_cfg`. */
export function hyenaFilter(args: Arguments, bias: boolean): HyenaFilterSettings {
  return {
    embeddingDim: number(args, "emb_dim", 3),
    width: number(args, "order", 16),
    innerLayers: number(args, "depth_implicit", 2),
    frequency: number(args, "w", 1),
    modulate: flag(args, "modulate", true),
    fastDecay: number(args, "fast_decay_pct", 0.3),
    slowDecay: number(args, "slow_decay_pct", 1.5),
    target: number(args, "target", 0.01),
    shift: number(args, "shift", 0),
    normalized: flag(args, "normalized", false) ? "layer" : "none",
    bias,
    learningRate: number(args, "lr", 1e-3),
    weightDecay: number(args, "wd", 0),
    positionLearningRate: number(args, "lr_pos_emb", 1e-5),
    modulationLearningRate: number(args, "modulation_lr", 0),
  };
}
