// Safari's normalisation with one gain and one shift for all features, which stands among its activations as `ln`.

import {
  add,
  div,
  mean,
  mul,
  ones,
  sqrt,
  square,
  sub,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { parameter } from "../layer.ts";

/** `(s / std) (x - mean + m)` over one axis, without an epsilon. */
export class ScalarNorm {
  readonly m: Variable = parameter(zeros([1]));
  readonly s: Variable = parameter(ones([1]));
  readonly #axis: number;

  /** @param axis that the original's second one is here: features, or time where features come last there too. */
  constructor(axis: number) {
    this.#axis = axis;
  }

  forward(x: Tensor): Tensor {
    const centred = sub(x, mean(x, this.#axis, { keepDims: true }));
    const deviation = sqrt(mean(square(centred), this.#axis, { keepDims: true }));
    return mul(div(this.s.value, deviation), add(centred, this.m.value));
  }
}
