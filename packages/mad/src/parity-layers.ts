// mad-lab's recurrent layers and experts: how each is built from its original arguments, and how its state names map.

import { LINEAR_ATTENTION_COMPAT, LinearAttention } from "@everlong/nn";
import { flag, number, type Arguments, type OriginalLayer } from "./original-arguments.ts";

const same = (key: string): string => key;

function linearAttention(args: Arguments): OriginalLayer {
  return {
    build: ({ key, dim }) =>
      new LinearAttention({
        key,
        dim,
        heads: number(args, "num_heads", 16),
        featureMap: String(args["feature_map"]),
        expandK: number(args, "expand_k", 1),
        expandV: number(args, "expand_v", 1),
        tieFeatureMaps: flag(args, "tie_feature_map_qk", false),
        normQ: flag(args, "norm_q", false),
        normK: flag(args, "norm_k", false),
        eps: number(args, "eps", 1e-12),
        compat: LINEAR_ATTENTION_COMPAT,
      }),
    rename: same,
  };
}

/** By class name of the original. */
export const recurrentLayers: Readonly<Record<string, (args: Arguments) => OriginalLayer>> = {
  LinearAttention: linearAttention,
};
