// Sequences cut into chunks of equal length, and the state that passes between them.

import { ConfigError, add, mul, pad, permute, reshape, scan, narrow, type Tensor } from "@everlong/core";

/** Sequences as chunks, heads before time: `[N, B, H, C, ...]`, zeros behind the end. */
export function toChunks(x: Tensor, size: number): Tensor {
  const [batch, time, heads, ...rest] = x.shape as [number, number, number, ...number[]];
  const count = Math.ceil(time / size);
  const whole = pad(x, [[0, 0], [0, count * size - time], ...x.shape.slice(2).map(() => [0, 0] as const)]);
  const cut = reshape(whole, [batch, count, size, heads, ...rest]);
  return permute(cut, [1, 0, 3, 2, ...rest.map((_, i) => 4 + i)]);
}

/** Inverse of {@link toChunks}: `[N, B, H, C, V]` to `[B, time, H, V]`. */
export function fromChunks(x: Tensor, time: number): Tensor {
  const [count, batch, heads, size, width] = x.shape as [number, number, number, number, number];
  return narrow(reshape(permute(x, [1, 0, 3, 2, 4]), [batch, count * size, heads, width]), 1, 0, time);
}

/**
 * States in front of every chunk, `S_(n+1) = decay_n S_n + increment_n`.
 * @param increments `[N, B, H, K, V]`
 * @param decays `[N, B, H, 1 or K, 1]`
 */
export function statesBefore(
  initial: Tensor,
  increments: Tensor,
  decays: Tensor,
): { readonly before: Tensor; readonly last: Tensor } {
  const [last, before] = scan(
    (s: Tensor, x: { increment: Tensor; decay: Tensor }) => [add(mul(s, x.decay), x.increment), s] as const,
    initial,
    { increment: increments, decay: decays },
  );
  return { before, last };
}

/** @throws ConfigError unless `chunk` is a positive integer. */
export function checkChunk(op: string, chunk: number): void {
  if (!Number.isInteger(chunk) || chunk < 1)
    throw new ConfigError(op, "chunk must be a positive integer", { got: `${chunk}` });
}
