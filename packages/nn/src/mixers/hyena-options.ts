// Options of the Hyena operator.

import type { Tensor } from "@everlong/core";
import type { BlockFftOptions } from "../filters/block-fft.ts";
import type { HyenaFilterSettings } from "./hyena-filter.ts";

/**
 * Behaviour of the original code that differs from its description:
 * - `truncate`: inputs longer than `maxLength` are cut; the output is shorter.
 * - `wrapped-blocks`: with `blocks`, the whole filter enters each block's transform and wraps inside it (not causal).
 * - `aliased-two-sided`: `bidirectional` pads the input by half on both sides of a transform without room for it
 *   (hyena-dna); not a two-sided convolution.
 */
export const HYENA_COMPAT = ["truncate", "wrapped-blocks", "aliased-two-sided"] as const;
export type HyenaCompat = (typeof HYENA_COMPAT)[number];

export interface HyenaOptions {
  readonly key: Tensor;
  /** Width D. */
  readonly dim: number;
  /** Longest input; filters are scaled to it. */
  readonly maxLength: number;
  /** Depth of the recurrence: order - 1 long convolutions. At least 2. Default 2. */
  readonly order?: number;
  /** Heads that share one set of filters. Default 1. */
  readonly heads?: number;
  /** Inner width over D. Default 1. */
  readonly innerFactor?: number;
  /** The input projection makes 1/groups of its channels, repeated before the short convolution. Default 1. */
  readonly projectionGroups?: number;
  /** Blocks of `maxLength / blocks` positions that the long convolution treats alone. Default 1. */
  readonly blocks?: number;
  /** Gates are summed over a head's channels (an outer product of gate and value, summed). Default false. */
  readonly outerMixing?: boolean;
  /** A learned map over heads after each convolution. Default false. */
  readonly postOrderMixing?: boolean;
  /** Taps of the short convolution. Default 3. */
  readonly shortFilterOrder?: number;
  /** Between the recurrence and the output projection. Default identity. */
  readonly activation?: string;
  /** Of gated values. Default 0. */
  readonly dropout?: number;
  /** Second filters for the future. Default false. */
  readonly bidirectional?: boolean;
  /** Where tap 0 of the second filters acts: lag -1 (default), or lag 0 as safari's reference convolution has it. */
  readonly firstBackwardLag?: 0 | -1;
  /**
   * Which index of a filter channel runs faster, for order above 2: that of the recurrence (`channel-major`, safari and
   * hyena-dna; default) or that of the channel (`order-major`, the standalone files). Same names and shapes, other function.
   */
  readonly packing?: "channel-major" | "order-major";
  readonly filter?: HyenaFilterSettings;
  readonly compat?: readonly HyenaCompat[];
  /** Convolves through a `BlockFft`. With learned matrices the layer is not causal. Default: the FFT. */
  readonly blockFft?: Omit<BlockFftOptions, "key">;
}

export const HYENA_OPTIONS: readonly (keyof HyenaOptions)[] = [
  "key",
  "dim",
  "maxLength",
  "order",
  "heads",
  "innerFactor",
  "projectionGroups",
  "blocks",
  "outerMixing",
  "postOrderMixing",
  "shortFilterOrder",
  "activation",
  "dropout",
  "bidirectional",
  "firstBackwardLag",
  "packing",
  "filter",
  "compat",
  "blockFft",
];
