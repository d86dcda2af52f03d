// Products with the powers of many complex numbers, as two short tables of powers and a matrix product in place of one
// table as long as the sequence.

import {
  Complex,
  concat,
  flip,
  iota,
  matmul,
  mul,
  narrow,
  neg,
  pad,
  permute,
  reshape,
  sum,
  unsqueeze,
  type Tensor,
} from "@everlong/core";

/** `exp(z (first + step l))` for l < count: `[H, N]` to `[H, count, N]`. */
function powers(z: Complex, count: number, step: number): Complex {
  const l = reshape(iota([count], 0, { device: z.re.device, dtype: z.re.dtype }), [1, count, 1]);
  return z.map((t) => mul(unsqueeze(t, 1), mul(l, step))).exp();
}

const blockOf = (length: number): number => Math.max(1, Math.ceil(Math.sqrt(length)));

/**
 * `y[.., h, l] = Re sum_n w[.., h, n] exp(z[h, n] l)` for l < `length`.
 * @param w weights `[X, H, N]`
 * @param z logarithms of the modes `[H, N]`
 * @returns `[X, H, length]`
 */
export function vandermonde(w: Complex, z: Complex, length: number): Tensor {
  const [sets, heads, modes] = w.shape as [number, number, number];
  const block = blockOf(length);
  const blocks = Math.ceil(length / block);
  // l = q block + r: (w e^(z block q)) meets e^(z r).
  const outer = powers(z, blocks, block).map((t) => unsqueeze(t, 0));
  const weighted = w.map((t) => unsqueeze(t, 2)).mul(outer);
  const inner = powers(z, block, 1);
  const left = permute(concat([weighted.re, neg(weighted.im)], -1), [1, 0, 2, 3]);
  const right = permute(concat([inner.re, inner.im], -1), [0, 2, 1]);
  const y = matmul(reshape(left, [heads, sets * blocks, 2 * modes]), right);
  const rows = permute(reshape(y, [heads, sets, blocks * block]), [1, 0, 2]);
  return narrow(rows, 2, 0, length);
}

/**
 * `s[b, h, n] = sum_l u[b, h, T - 1 - l] exp(z[h, n] l)`: the state that a recurrence with these modes reaches.
 * @param u `[B, H, T]`
 * @param z `[H, N]`
 * @returns `[B, H, N]`
 */
export function vandermondeTranspose(u: Tensor, z: Complex): Complex {
  const [batch, heads, time] = u.shape as [number, number, number];
  const modes = z.shape[1]!;
  const block = blockOf(time);
  const blocks = Math.ceil(time / block);
  const reversed = pad(flip(u, 2), [[0, blocks * block - time]]);
  const rows = reshape(permute(reversed, [1, 0, 2]), [heads, batch * blocks, block]);
  const inner = powers(z, block, 1);
  const outer = powers(z, blocks, block).map((t) => unsqueeze(t, 1));
  const part = new Complex(matmul(rows, inner.re), matmul(rows, inner.im)).map((t) =>
    reshape(t, [heads, batch, blocks, modes]),
  );
  return part
    .mul(outer)
    .map((t) => sum(t, 2))
    .map((t) => permute(t, [1, 0, 2]));
}
