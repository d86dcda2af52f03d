// Attention out of primitives: holds all scores at once. For devices without a kernel, for second derivatives, and for
// those who want to look at the probabilities.

import {
  abs,
  add,
  and,
  broadcastTo,
  exp,
  full,
  iota,
  less,
  lessEqual,
  greaterEqual,
  logSumExp,
  matmul,
  mul,
  permute,
  reshape,
  square,
  sub,
  sum,
  tanh,
  unsqueeze,
  where,
  cast,
  clamp,
  cumsum,
  greater,
  narrow,
  repeat,
  scatterAdd,
  zeros,
  type Tensor,
} from "@everlong/core";
import { named, wideDtype, type Named } from "../inputs.ts";
import type { AttentionGradParams, AttentionInput, AttentionParams } from "./op.ts";

type Common = Omit<AttentionParams, "inputs">;
type Inputs = { readonly [K in AttentionInput]?: Tensor };

// [B, T, H, K] -> [B, Hk, G, T, K]: query heads beside the key head they share.
const queryRows = (t: Tensor, keyHeads: number): Tensor => {
  const [b, time, h, k] = t.shape as [number, number, number, number];
  return permute(reshape(t, [b, time, keyHeads, h / keyHeads, k]), [0, 2, 3, 1, 4]);
};
// [B, T, Hk, K] -> [B, Hk, 1, T, K]
const keyRows = (t: Tensor): Tensor => unsqueeze(permute(t, [0, 2, 1, 3]), 2);
const fromRows = (t: Tensor): Tensor => {
  const [b, hk, g, time, k] = t.shape as [number, number, number, number, number];
  return reshape(permute(t, [0, 3, 1, 2, 4]), [b, time, hk * g, k]);
};
const transposed = (t: Tensor): Tensor => permute(t, [0, 1, 2, 4, 3]);

/** Scores `[B, Hk, G, Tq, Tk]` (0 where hidden), which of them are visible, and the slope of the soft cap. */
function scores(t: Inputs, params: Common): { value: Tensor; mask: Tensor; capSlope: Tensor | undefined } {
  const [q, k] = [t.q!, t.k!];
  const [b, queries, heads] = q.shape as [number, number, number];
  const [keys, keyHeads] = k.shape.slice(1) as [number, number];
  const shape = [b, keyHeads, heads / keyHeads, queries, keys];
  let value = mul(matmul(queryRows(q, keyHeads), transposed(keyRows(k))), params.scale);
  let capSlope: Tensor | undefined;
  if (params.softCap > 0) {
    const bent = tanh(mul(value, 1 / params.softCap));
    value = mul(bent, params.softCap);
    capSlope = sub(1, square(bent));
  }
  const on = { device: q.device };
  const lengthOf = (lengths: Tensor | undefined, size: number): Tensor =>
    lengths
      ? reshape(clamp(lengths, 0, size), [b, 1, 1, 1, 1])
      : full([1, 1, 1, 1, 1], size, { dtype: "i32", ...on });
  const keyLength = lengthOf(t.keyLengths, keys);
  const queryLength = lengthOf(t.queryLengths, queries);
  const i = iota([1, 1, 1, queries, 1], 3, on);
  const j = iota([1, 1, 1, 1, keys], 4, on);
  const own = add(i, sub(keyLength, queryLength));
  let mask = and(less(j, keyLength), less(i, queryLength));
  if (params.left >= 0) mask = and(mask, greaterEqual(j, sub(own, params.left)));
  if (params.right >= 0) mask = and(mask, lessEqual(j, add(own, params.right)));
  if (t.slopes) {
    const slopes = reshape(t.slopes, [t.slopes.rank === 2 ? b : 1, keyHeads, heads / keyHeads, 1, 1]);
    value = sub(value, mul(slopes, cast(abs(sub(own, j)), q.dtype)));
  }
  if (t.blockStarts) mask = and(mask, listedPairs(t, params.blockSize!, shape));
  mask = broadcastTo(mask, shape);
  return { value: where(mask, value, 0), mask, capSlope };
}

/** Where the lists of blocks let queries `[.., Hk, G, Tq, Tk]` see keys. */
function listedPairs(t: Inputs, size: readonly [number, number], shape: readonly number[]): Tensor {
  const [starts, columns] = [t.blockStarts!, t.blockColumns!];
  const [, keyHeads, group, queries, keys] = shape as [number, number, number, number, number];
  const [patterns, rows] = [starts.shape[0]!, starts.shape[1]! - 1];
  const width = Math.ceil(keys / size[1]);
  const on = { dtype: "i32" as const, device: starts.device };
  const entries = columns.shape[0]!;
  // the row of an entry is the number of lists that end before it
  const ends = reshape(narrow(starts, 1, 1, rows + 1), [patterns * rows]);
  const ended = scatterAdd(zeros([entries + 1], on), ends, full([patterns * rows], 1, on));
  const row = narrow(cumsum(ended, 0), 0, 0, entries);
  const nowhere = patterns * rows * width;
  const at = where(less(columns, width), add(mul(row, width), columns), nowhere);
  const listed = scatterAdd(zeros([nowhere], on), at, full([entries], 1, on));
  const grid = reshape(greater(listed, 0), [patterns, rows, width]);
  const pairs = repeat(narrow(repeat(grid, size[0], 1), 1, 0, queries), size[1], 2);
  const heads = patterns === 1 ? [1, 1, 1] : [1, keyHeads, group];
  return reshape(narrow(pairs, 2, 0, keys), [...heads, queries, keys]);
}

const hide = (value: Tensor, mask: Tensor): Tensor => where(mask, value, -Infinity);

/** Halves as f32; integers as they are. */
const widen = <N extends string>(t: Named<N, Tensor>): Named<N, Tensor> =>
  Object.fromEntries(
    Object.entries<Tensor>(t as never).map(([name, x]) => [name, cast(x, wideDtype(x.dtype))]),
  ) as Named<N, Tensor>;

/** Softmax weights `[B, H, Tq, Tk]`; zeros in rows that see nothing. */
export function probabilities(t: Inputs, params: Common): Tensor {
  const { value, mask } = scores(widen(t), params);
  const lse = logSumExp(hide(value, mask), -1, { keepDims: true });
  const seen = greaterEqual(lse, -3e38);
  const p = where(mask, exp(sub(value, where(seen, lse, 0))), 0);
  const [b, hk, g, queries, keys] = p.shape as [number, number, number, number, number];
  return reshape(p, [b, hk * g, queries, keys]);
}

export function decomposeAttention(inputs: readonly Tensor[], params: AttentionParams): Tensor[] {
  const t = widen(named(params.inputs, inputs));
  const { value, mask } = scores(t, params);
  const lse = logSumExp(hide(value, mask), -1);
  const seen = greaterEqual(lse, -3e38);
  const p = where(mask, exp(sub(value, unsqueeze(where(seen, lse, 0), -1))), 0);
  const y = fromRows(matmul(p, keyRows(t.v!)));
  const [b, queries, heads] = t.q!.shape as [number, number, number];
  return [cast(y, inputs[0]!.dtype), reshape(lse, [b, heads, queries])];
}

export function decomposeAttentionGrad(inputs: readonly Tensor[], params: AttentionGradParams): Tensor[] {
  const { dy, lse, delta, ...t } = widen(named(params.inputs, inputs));
  const { value, mask, capSlope } = scores(t, params);
  const keyHeads = t.k!.shape[2]!;
  const [b, queries, heads] = t.q!.shape as [number, number, number];
  const column = (x: Tensor): Tensor => reshape(x, [b, keyHeads, heads / keyHeads, queries, 1]);
  const seen = greaterEqual(lse!, -3e38);
  const p = where(mask, exp(sub(value, column(where(seen, lse!, 0)))), 0);
  const dyRows = queryRows(dy!, keyHeads);
  const dp = matmul(dyRows, transposed(keyRows(t.v!)));
  let ds = mul(mul(p, sub(dp, column(delta!))), params.scale);
  if (capSlope) ds = mul(ds, capSlope);
  // Gradients of shared key heads add up over the query heads that use them.
  const overGroup = (x: Tensor): Tensor => permute(sum(x, 2), [0, 2, 1, 3]);
  return [
    fromRows(matmul(ds, keyRows(t.k!))),
    overGroup(matmul(transposed(ds), queryRows(t.q!, keyHeads))),
    overGroup(matmul(transposed(p), dyRows)),
  ].map((x) => cast(x, inputs[0]!.dtype));
}
