// Hyena as safari, its standalone file, hyena-dna and hyena-dna's standalone file construct it.

import { random, unsqueeze, type Tensor } from "@everlong/core";
import type { ParityModule, ParityRequest } from "../parity-entry.ts";
import { Hyena } from "../mixers/hyena.ts";
import type { HyenaFilterSettings } from "../mixers/hyena-filter.ts";
import { booleanOr, checkArguments, numberOr, required, stringOr, type Arguments } from "./arguments.ts";

/** What filters read; the originals pass everything else on to a constructor that drops it. */
const FILTER_ARGUMENTS = [
  "emb_dim",
  "filter_order",
  "num_inner_mlps",
  "w",
  "modulate",
  "fast_decay_pct",
  "slow_decay_pct",
  "target",
  "shift",
  "normalized",
  "bias",
  "lr",
  "wd",
  "lr_pos_emb",
  "modulation_lr",
];

/** Kernels, precision, training and construction; `seq_len` and `channels` would be given twice. */
const WITHOUT_EFFECT = [
  "_name_",
  "dropout",
  "filter_dropout",
  "fused_fft_conv",
  "fused_bias_fc",
  "use_flashfftconv",
  "jit_filter",
  "return_state",
  "layer_idx",
  "device",
  "dtype",
];

interface Variant {
  readonly packing: "channel-major" | "order-major";
  /** Default of the window's shift. */
  readonly shift: number;
  /** Whether `normalized` has an effect. */
  readonly normalizes: boolean;
  /** Whether `linear_mixer` has. */
  readonly linear: boolean;
}

/** Arguments of the filter, which the operators pass on. */
function filterSettings(args: Arguments, variant: Variant): HyenaFilterSettings {
  return {
    embeddingDim: numberOr(args, "emb_dim", 3),
    width: numberOr(args, "filter_order", 64),
    innerLayers: numberOr(args, "num_inner_mlps", 2),
    frequency: numberOr(args, "w", 1),
    linear: variant.linear && booleanOr(args, "linear_mixer", false),
    modulate: booleanOr(args, "modulate", true),
    fastDecay: numberOr(args, "fast_decay_pct", 0.3),
    slowDecay: numberOr(args, "slow_decay_pct", 1.5),
    target: numberOr(args, "target", 0.01),
    shift: numberOr(args, "shift", variant.shift),
    normalized: variant.normalizes && booleanOr(args, "normalized", false) ? "l1" : "none",
    // The standalone files use the bias whatever the argument says.
    bias: variant.packing === "order-major" || booleanOr(args, "bias", true) ? true : "zeroed",
    learningRate: numberOr(args, "lr", 1e-3),
    weightDecay: numberOr(args, "wd", 0),
    positionLearningRate: numberOr(args, "lr_pos_emb", 1e-5),
    modulationLearningRate: numberOr(args, "modulation_lr", 0),
  };
}

function outputs(module: Hyena): ParityModule {
  return {
    module,
    call: ({ x }) => {
      const taps = Math.min(x!.shape[1]!, module.maxLength);
      return { y: module.forward(x!), kernel: unsqueeze(module.filterFn.forward(taps), 0) };
    },
  };
}

/** The operator of safari and hyena-dna (`dna`), with the original's behaviour. */
export function fullHyena(args: Arguments, dna: boolean, key: Tensor, inside = ""): Hyena {
  checkArguments(
    args,
    {
      used: [
        "d_model",
        "l_max",
        "order",
        "num_heads",
        "inner_factor",
        "num_blocks",
        "outer_mixing",
        "post_order_ffn",
        "short_filter_order",
        "activation",
        ...FILTER_ARGUMENTS,
        ...(dna ? ["linear_mixer", "bidirectional"] : []),
      ],
      withoutEffect: [...WITHOUT_EFFECT, ...(dna ? [] : ["linear_mixer", "bidirectional"])],
      only: { filter_cls: ["hyena-filter"] },
    },
    inside,
  );
  return new Hyena({
    key,
    dim: required(args, "d_model"),
    maxLength: required(args, "l_max"),
    order: numberOr(args, "order", 2),
    heads: numberOr(args, "num_heads", 1),
    innerFactor: numberOr(args, "inner_factor", 1),
    blocks: numberOr(args, "num_blocks", 1),
    outerMixing: booleanOr(args, "outer_mixing", false),
    postOrderMixing: booleanOr(args, "post_order_ffn", false),
    shortFilterOrder: numberOr(args, "short_filter_order", 3),
    activation: stringOr(args, "activation", "id"),
    bidirectional: dna && booleanOr(args, "bidirectional", false),
    packing: "channel-major",
    filter: filterSettings(args, { packing: "channel-major", shift: 0, normalizes: true, linear: dna }),
    compat: ["truncate", "wrapped-blocks", "aliased-two-sided"],
  });
}

/** The operator of the standalone files; hyena-dna's shifts its windows by default. */
export function standaloneHyena(args: Arguments, shift: number, key: Tensor, inside = ""): Hyena {
  checkArguments(
    args,
    {
      used: ["d_model", "l_max", "order", ...FILTER_ARGUMENTS],
      // Options of the complete operator, which this one drops; its short filter has three taps.
      withoutEffect: [...WITHOUT_EFFECT, "linear_mixer", "bidirectional", "short_filter_order"],
    },
    inside,
  );
  return new Hyena({
    key,
    dim: required(args, "d_model"),
    maxLength: required(args, "l_max"),
    order: numberOr(args, "order", 2),
    packing: "order-major",
    filter: filterSettings(args, { packing: "order-major", shift, normalizes: false, linear: false }),
    compat: ["truncate"],
  });
}

/** Whether a case comes from hyena-dna, whose modules have safari's paths. */
export const isDna = (json: ParityRequest["json"]): boolean =>
  JSON.stringify(json["repo"]).includes("hyena-dna");

export const fullOperator = ({ args, json }: ParityRequest): ParityModule =>
  outputs(fullHyena(args, isDna(json), random.key(0)));

export const standaloneOperator =
  (shift: number) =>
  ({ args }: ParityRequest): ParityModule =>
    outputs(standaloneHyena(args, shift, random.key(0)));
