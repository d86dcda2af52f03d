// Fitted filters as recurrences of layers: a state of fixed size in place of everything that came before.

import { Complex, add, mul, permute, sub, sum, unsqueeze, type Tensor } from "@everlong/core";
import { vandermondeTranspose } from "../ssm/vandermonde.ts";

/**
 * `s' = exp(z) s + u`, `y = first u + Re sum_n weights_n s_n`: a filter with taps `first` and then
 * `Re sum_n weights_n exp(z_n t)`, t = 0, 1, ...
 */
export interface ModalRecurrence {
  /** `[C]`: the filter's first tap and the weight of the input itself. */
  readonly first: Tensor;
  /** `[C, M]`. */
  readonly z: Complex;
  /** `[C, M]`. */
  readonly weights: Complex;
  /** Relative error of each channel's taps, in the Euclidean norm. */
  readonly errors: Float64Array;
}

/** The state `[B, C, M]` after inputs `[B, T, C]`. */
export const modalState = (u: Tensor, filter: ModalRecurrence): Complex =>
  vandermondeTranspose(permute(u, [0, 2, 1]), filter.z);

/** One position: `u` and `y` `[B, C]`. */
export function modalStep(
  u: Tensor,
  state: Complex,
  filter: ModalRecurrence,
): { readonly y: Tensor; readonly state: Complex } {
  const { first, z, weights } = filter;
  const past = sum(sub(mul(weights.re, state.re), mul(weights.im, state.im)), -1);
  const turned = state.mul(z.exp());
  return {
    y: add(mul(u, first), past),
    state: new Complex(add(turned.re, unsqueeze(u, -1)), turned.im),
  };
}

/** Bytes of the states of `rows` sequences of a filter's channels, in f32. */
export const modalBytes = (filter: ModalRecurrence, rows = 1): number => 8 * rows * filter.z.re.size;
