// Linear attention with one decay per head and position: retention (Sun et al. 2023) and the state-space duality of Mamba 2
// (Dao & Gu 2024, arXiv 2405.21060). With one number to decay by, a chunk is matrix products.

import {
  add,
  cast,
  cumsum,
  exp,
  iota,
  lessEqual,
  matmul,
  mul,
  narrow,
  permute,
  repeat,
  scan,
  squeeze,
  sub,
  transpose,
  unsqueeze,
  where,
  zeros,
  type Tensor,
} from "@everlong/core";
import { checkChunk, fromChunks, statesBefore, toChunks } from "./chunks.ts";
import { needOneOf } from "./linear-attention.ts";
import { wide } from "./wkv.ts";

export const RECURRENCE_FORMS = ["chunked", "recurrent"] as const;
/** How the same numbers are computed: by products over chunks, or position by position. */
export type RecurrenceForm = (typeof RECURRENCE_FORMS)[number];

export interface RecurrenceOptions {
  /** State before the first position `[B, H, K, V]`; default zeros. */
  readonly initial?: Tensor;
  /** Default "chunked". */
  readonly form?: RecurrenceForm;
  /** Positions per chunk. Default 32. */
  readonly chunk?: number;
}

/**
 * `S_t = exp(g_t) S_(t-1) + k_t v_t^T`, `y_t = S_t^T q_t`.
 * @param q `[B, T, G, K]`, G dividing H: group g serves heads `g H / G` and on
 * @param k as `q`
 * @param v `[B, T, H, V]`
 * @param logDecay `g` `[B, T, H]`, at most 0
 * @returns `y` `[B, T, H, V]` in the dtype of `v` and the last state `[B, H, K, V]`
 */
export function scalarDecayAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  logDecay: Tensor,
  options: RecurrenceOptions = {},
): { y: Tensor; state: Tensor } {
  const { form = "chunked", chunk = 32 } = options;
  needOneOf("scalarDecayAttention", "form", form, RECURRENCE_FORMS);
  checkChunk("scalarDecayAttention", chunk);
  const [batch, , heads, columns] = v.shape as [number, number, number, number];
  const values = wide(v);
  const initial =
    options.initial ?? zeros([batch, heads, q.shape[3]!, columns], { dtype: values.dtype, device: v.device });
  const inputs: Inputs = { q: wide(q), k: wide(k), v: values, g: wide(logDecay) };
  const { y, state } = form === "recurrent" ? recurrent(inputs, initial) : chunked(inputs, initial, chunk);
  return { y: cast(y, v.dtype), state };
}

interface Inputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly g: Tensor;
}

/** One position; `q`, `k` `[B, G, K]`, `v` `[B, H, V]`, `g` `[B, H]`. */
export function scalarDecayStep(state: Tensor, { q, k, v, g }: Inputs): { y: Tensor; state: Tensor } {
  const share = v.shape[1]! / q.shape[1]!;
  const [qh, kh] = [repeat(q, share, 1), repeat(k, share, 1)];
  const decay = exp(unsqueeze(unsqueeze(g, -1), -1));
  const next = add(mul(state, decay), mul(unsqueeze(kh, -1), unsqueeze(v, -2)));
  return { y: squeeze(matmul(unsqueeze(qh, -2), next), -2), state: next };
}

function recurrent(inputs: Inputs, initial: Tensor): { y: Tensor; state: Tensor } {
  const timeFirst = (t: Tensor): Tensor => permute(t, [1, 0, ...t.shape.slice(2).map((_, i) => i + 2)]);
  const [state, y] = scan(
    (s: Tensor, x: { q: Tensor; k: Tensor; v: Tensor; g: Tensor }) => {
      const next = scalarDecayStep(s, x);
      return [next.state, next.y] as const;
    },
    initial,
    {
      q: timeFirst(inputs.q),
      k: timeFirst(inputs.k),
      v: timeFirst(inputs.v),
      g: timeFirst(inputs.g),
    },
  );
  return { y: timeFirst(y), state };
}

/**
 * With running sums c of g inside a chunk: `y_t = exp(c_t) S^T q_t + sum_(s <= t) exp(c_t - c_s) (q_t . k_s) v_s`, the
 * differences masked before the exponential, so that nothing exceeds 1.
 */
function chunked({ q, k, v, g }: Inputs, initial: Tensor, size: number): { y: Tensor; state: Tensor } {
  const [, time, heads] = v.shape as [number, number, number, number];
  const n = Math.min(size, Math.max(time, 1));
  const share = heads / q.shape[2]!;
  const [qc, kc, vc] = [toChunks(q, n), toChunks(k, n), toChunks(v, n)];
  const total = cumsum(toChunks(g, n), -1);
  const on = { device: v.device };
  const causal = lessEqual(iota([n, n], 1, on), iota([n, n], 0, on));
  const between = exp(where(causal, sub(unsqueeze(total, -1), unsqueeze(total, -2)), -Infinity));
  const scores = repeat(matmul(qc, transpose(kc)), share, 2);
  const inside = matmul(mul(scores, between), vc);
  const end = narrow(total, -1, n - 1, n);
  const [queries, keys] = [repeat(qc, share, 2), repeat(kc, share, 2)];
  const toEnd = mul(keys, unsqueeze(exp(sub(end, total)), -1));
  const { before, last } = statesBefore(initial, matmul(transpose(toEnd), vc), exp(unsqueeze(end, -1)));
  const carried = matmul(mul(queries, unsqueeze(exp(total), -1)), before);
  return { y: fromChunks(add(inside, carried), time), state: last };
}
