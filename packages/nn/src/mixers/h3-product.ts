// The heart of H3: keys and values multiplied, filtered along time, and read by queries. Shared by H3 and H3Conv.

import { mul, permute, reshape, sum, unsqueeze, type Tensor } from "@everlong/core";

/** A filter over time applied to `[B, T, H]`, with gates that multiply its input and its output. */
export type HeadConv = (u: Tensor, gates?: { readonly preGate: Tensor; readonly postGate: Tensor }) => Tensor;

/**
 * Per head h with sizes P = `headDim`: `y[t, b, h] = sum_a q[t, h, a] conv(k[., h, a] v[., h, b])[t]`. Channels of `q`, `k`,
 * `v` `[B, T, D]` are numbered head first (`h P + a`), those of the result channel first (`b H + h`), as in the original.
 * @param conv applied to rows `[.., T, H]`, one filter for each head
 */
export function h3Product(q: Tensor, k: Tensor, v: Tensor, headDim: number, conv: HeadConv): Tensor {
  if (headDim === 1) return conv(v, { preGate: k, postGate: q });
  const [batch, time, dim] = q.shape as [number, number, number];
  const heads = dim / headDim;
  // [B, P, T, H]
  const byHead = (t: Tensor): Tensor => permute(reshape(t, [batch, time, heads, headDim]), [0, 3, 1, 2]);
  const [qh, kh, vh] = [byHead(q), byHead(k), byHead(v)];
  const outer = mul(unsqueeze(kh, 2), unsqueeze(vh, 1));
  const filtered = conv(reshape(outer, [batch * headDim * headDim, time, heads]));
  const read = mul(reshape(filtered, outer.shape), unsqueeze(qh, 2));
  return reshape(permute(sum(read, 1), [0, 2, 1, 3]), [batch, time, dim]);
}
