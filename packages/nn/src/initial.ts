// Initial values of parameters, as the original frameworks draw them.

import { random, type Shape, type Tensor } from "@everlong/core";

/** PyTorch's default for linear and convolution weights and biases: uniform in +-1/sqrt(fan in). */
export function fanInUniform(key: Tensor, shape: Shape, fanIn: number): Tensor {
  const bound = fanIn > 0 ? 1 / Math.sqrt(fanIn) : 0;
  return random.uniform(key, shape, { low: -bound, high: bound });
}

/** Normal with mean 0. */
export const gaussian = (key: Tensor, shape: Shape, std: number): Tensor =>
  random.normal(key, shape, { std });

/** Glorot & Bengio 2010: uniform with variance `gain^2 2 / (rows + columns)` for a matrix. */
export function xavierUniform(key: Tensor, shape: readonly [number, number], gain = 1): Tensor {
  const bound = gain * Math.sqrt(6 / (shape[0] + shape[1]));
  return random.uniform(key, shape, { low: -bound, high: bound });
}
