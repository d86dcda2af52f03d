// What the cases on the GPU share: random inputs made there, and what an H100 moves at most.

import { cast, compile, concat, device, mul, random, sizeOf, type DType, type Tensor } from "@everlong/core";

/** What an H100's memory moves at most. */
export const BYTES_PER_MS = 3.35e9;

export const drop = (tensors: readonly Tensor[]): void => tensors.forEach((t) => t[Symbol.dispose]());

/** Normal deviates made on the GPU, in parts: a draw needs twice its size in random words, which must fit in one tensor. */
export function drawn(shape: readonly number[], seed: number, dtype: DType = "f32", scale = 1): Tensor {
  const [first, ...rest] = shape;
  const parts = sizeOf(shape) > 2 ** 28 ? first! : 1;
  const make = compile(() =>
    concat(
      random
        .splitKey(random.key(seed, device("cuda")), parts)
        .map((k) => cast(mul(random.normal(k, [first! / parts, ...rest]), scale), dtype)),
      0,
    ),
  );
  const out = make() as Tensor;
  make.dispose();
  return out;
}

/** `part` a number of times along the first axis. */
export function repeated(part: Tensor, times: number): Tensor {
  const make = compile((t: Tensor) =>
    concat(
      Array.from({ length: times }, () => t),
      0,
    ),
  );
  const out = make(part) as Tensor;
  make.dispose();
  return out;
}
