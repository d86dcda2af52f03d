// Initial values of RWKV's interpolation weights, decays and bonuses, which depend on the depth of the layer
// (BlinkDL, RWKV-LM, RWKV-v5; Peng et al. 2024, arXiv 2404.05892, appendix).

import { ConfigError, tensor, type Tensor } from "@everlong/core";

/** Where a layer stands: it forgets faster and looks back less the deeper it is. */
export interface Depth {
  /** From 0. */
  readonly layer: number;
  readonly layers: number;
}

/** @throws ConfigError unless 0 <= layer < layers. */
export function checkDepth(op: string, { layer, layers }: Depth): void {
  if (!Number.isInteger(layer) || !Number.isInteger(layers) || layer < 0 || layer >= layers) {
    throw new ConfigError(op, "the layer's number must lie below the number of layers", {
      got: `layer ${layer} of ${layers}`,
    });
  }
}

const fromFirst = ({ layer, layers }: Depth): number => (layers < 2 ? 0 : layer / (layers - 1));
const toLast = ({ layer, layers }: Depth): number => 1 - layer / layers;

const row = (size: number, like: Tensor, fn: (i: number) => number, shape: readonly number[]): Tensor =>
  tensor(
    Float64Array.from({ length: size }, (_, i) => fn(i)),
    shape,
    { device: like.device },
  );

/** Weight of the present position in a channel's interpolation, `[1, 1, D]`: `(i / D)^(power * depth)`, plus a part of the depth. */
export const presentShare = (
  dim: number,
  depth: Depth,
  power: number,
  raised: number,
  like: Tensor,
): Tensor =>
  row(dim, like, (i) => (i / dim) ** (power * toLast(depth)) + raised * fromFirst(depth), [1, 1, dim]);

/** The same as weight of the previous position. */
export const previousShare = (
  dim: number,
  depth: Depth,
  power: number,
  raised: number,
  like: Tensor,
): Tensor =>
  row(dim, like, (i) => 1 - ((i / dim) ** (power * toLast(depth)) + raised * fromFirst(depth)), [1, 1, dim]);

/** `w` of the decays `exp(-exp w)`: from -6 to -1. */
export const decaySpeed = (width: number, depth: Depth, shape: readonly number[], like: Tensor): Tensor =>
  row(
    width,
    like,
    (i) => -6 + 5 * (width < 2 ? 0 : i / (width - 1)) ** (0.7 + 1.3 * fromFirst(depth)),
    shape,
  );

/** Bonus of the present. */
export const presentBonus = (width: number, depth: Depth, shape: readonly number[], like: Tensor): Tensor =>
  row(
    width,
    like,
    (i) => fromFirst(depth) * (1 - (width < 2 ? 0 : i / (width - 1))) + (((i + 1) % 3) - 1) * 0.1,
    shape,
  );
