// The order of layers in StripedHyena 2 (Ku et al. 2025, arXiv 2503.01868, section 3): convolutions at three scales in turn,
// some of them replaced by attention, each followed by a channel mixer.

import { ConfigError, checkOptions } from "@everlong/core";
import type { OptionValue } from "../registry-entry.ts";
import type { LayerSpec } from "./block.ts";

/** Letters of a pattern, and the registry's names. */
const STRIPE_LAYERS: Readonly<Record<string, string>> = {
  S: "hyena-se",
  M: "hyena-mr",
  L: "hyena-li",
  A: "mh-attention",
};

export interface StripedLayersOptions {
  /** Sequence mixers. */
  readonly count: number;
  /** Repeated to the count: S, M and L for the convolutions, A for attention. Default "SMLASML", Evo 2's. */
  readonly pattern?: string;
  /** Follows every sequence mixer; null: none. Default "swiglu". */
  readonly channelMixer?: LayerSpec | null;
  /** Options of the layers by letter, `groups` for one. */
  readonly options?: Readonly<Record<string, Readonly<Record<string, OptionValue>>>>;
}

/**
 * Layers for a backbone.
 * @example new LanguageModel({ key, vocabSize: 512, dim: 4096, maxLength: 8192, layers: stripedLayers({ count: 32 }), norm: "rms" })
 */
export function stripedLayers(options: StripedLayersOptions): LayerSpec[] {
  checkOptions("stripedLayers", options, ["count", "pattern", "channelMixer", "options"]);
  const { count, pattern = "SMLASML", channelMixer = "swiglu", options: byLetter = {} } = options;
  if (!Number.isInteger(count) || count < 1)
    throw new ConfigError("stripedLayers", "count must be a positive integer", { got: `${count}` });
  checkOptions("stripedLayers", byLetter, Object.keys(STRIPE_LAYERS));
  return Array.from({ length: count }, (_, i): LayerSpec[] => {
    const letter = pattern[i % pattern.length] ?? "";
    const layer = STRIPE_LAYERS[letter];
    if (layer === undefined) {
      throw new ConfigError("stripedLayers", "unknown letter in the pattern", {
        expected: Object.keys(STRIPE_LAYERS).join(", "),
        got: `"${letter}" in "${pattern}"`,
      });
    }
    const mixer = { layer, options: byLetter[letter] ?? {} };
    return channelMixer === null ? [mixer] : [mixer, channelMixer];
  }).flat();
}
