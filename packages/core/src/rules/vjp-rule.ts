// What a gradient rule is given and gives.

import type { Primitive, PrimitiveParams } from "../primitives.ts";
import type { Tensor } from "../tensor.ts";

export interface VjpArgs<P extends Primitive> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly params: PrimitiveParams[P];
  /** Cotangent per output; undefined where nothing depends on it. */
  readonly cotangents: readonly (Tensor | undefined)[];
  /** Whether input i leads to a wanted gradient. */
  readonly needed: readonly boolean[];
  /** Reverse mode itself, for rules with bodies. */
  readonly gradients: (
    outputs: readonly Tensor[],
    wrt: readonly Tensor[],
    seeds: readonly (Tensor | undefined)[],
  ) => (Tensor | undefined)[];
}

/** A gradient per input; undefined where none is wanted or there is none. */
export type Gradients = (Tensor | undefined)[];
export type Rule<P extends Primitive> = (args: VjpArgs<P>) => Gradients;
