// The delta rule (Schlag et al. 2021; Yang et al. 2024, arXiv 2406.06484) and its gated form (Yang et al. 2025,
// arXiv 2412.06464): a write first takes away what the memory holds under its key.

import {
  add,
  and,
  broadcastTo,
  cast,
  cumsum,
  equal,
  exp,
  eye,
  greater,
  iota,
  lessEqual,
  matmul,
  mul,
  narrow,
  permute,
  quotient,
  scan,
  squeeze,
  sub,
  transpose,
  unsqueeze,
  where,
  zeros,
  zerosLike,
  type Tensor,
} from "@everlong/core";
import { checkChunk, fromChunks, toChunks } from "./chunks.ts";
import { needOneOf } from "./linear-attention.ts";
import { RECURRENCE_FORMS, type RecurrenceOptions } from "./scalar-decay.ts";
import { wide } from "./wkv.ts";

/**
 * `S_t = exp(g_t) (I - beta_t k_t k_t^T) S_(t-1) + beta_t k_t v_t^T`, `y_t = S_t^T q_t`.
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`, of unit length for a stable recurrence
 * @param v `[B, T, H, V]`
 * @param beta `[B, T, H]`, in 0..1 (up to 2 for negative eigenvalues)
 * @param logDecay `g` `[B, T, H]`, at most 0; default no decay
 * @returns `y` `[B, T, H, V]` in the dtype of `v` and the last state `[B, H, K, V]`
 */
export function deltaRule(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  beta: Tensor,
  logDecay: Tensor | undefined,
  options: RecurrenceOptions = {},
): { y: Tensor; state: Tensor } {
  const { form = "chunked", chunk = 32 } = options;
  needOneOf("deltaRule", "form", form, RECURRENCE_FORMS);
  checkChunk("deltaRule", chunk);
  const [batch, , heads, columns] = v.shape as [number, number, number, number];
  const values = wide(v);
  const initial =
    options.initial ?? zeros([batch, heads, q.shape[3]!, columns], { dtype: values.dtype, device: v.device });
  const strength = wide(beta);
  const inputs: Inputs = {
    q: wide(q),
    k: wide(k),
    v: values,
    beta: strength,
    g: logDecay ? wide(logDecay) : zerosLike(strength),
  };
  const { y, state } = form === "recurrent" ? recurrent(inputs, initial) : chunked(inputs, initial, chunk);
  return { y: cast(y, v.dtype), state };
}

interface Inputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly beta: Tensor;
  readonly g: Tensor;
}

/** One position; `q`, `k` `[B, H, K]`, `v` `[B, H, V]`, `beta`, `g` `[B, H]`. */
export function deltaStep(state: Tensor, { q, k, v, beta, g }: Inputs): { y: Tensor; state: Tensor } {
  const kept = mul(state, exp(unsqueeze(unsqueeze(g, -1), -1)));
  const held = squeeze(matmul(unsqueeze(k, -2), kept), -2);
  const written = mul(sub(v, held), unsqueeze(beta, -1));
  const next = add(kept, mul(unsqueeze(k, -1), unsqueeze(written, -2)));
  return { y: squeeze(matmul(unsqueeze(q, -2), next), -2), state: next };
}

function recurrent(inputs: Inputs, initial: Tensor): { y: Tensor; state: Tensor } {
  const timeFirst = (t: Tensor): Tensor => permute(t, [1, 0, ...t.shape.slice(2).map((_, i) => i + 2)]);
  const [state, y] = scan(
    (s: Tensor, x: { q: Tensor; k: Tensor; v: Tensor; beta: Tensor; g: Tensor }) => {
      const next = deltaStep(s, x);
      return [next.state, next.y] as const;
    },
    initial,
    {
      q: timeFirst(inputs.q),
      k: timeFirst(inputs.k),
      v: timeFirst(inputs.v),
      beta: timeFirst(inputs.beta),
      g: timeFirst(inputs.g),
    },
  );
  return { y: timeFirst(y), state };
}

/**
 * Inside a chunk with running sums c of g, the state is `exp(c_t) S + sum_(s <= t) exp(c_t - c_s) k_s u_s^T`, where the written
 * values solve `(I + L) U = diag(beta) (V - diag(exp c) K S)`, `L_(ts) = beta_t exp(c_t - c_s) k_t . k_s` for s < t (the WY
 * form). The inverse is one per chunk and independent of S, so only products remain in the loop over chunks.
 */
function chunked(inputs: Inputs, initial: Tensor, size: number): { y: Tensor; state: Tensor } {
  const time = inputs.v.shape[1]!;
  const n = Math.min(size, Math.max(time, 1));
  const cut = (t: Tensor): Tensor => toChunks(t, n);
  const [q, k, v] = [cut(inputs.q), cut(inputs.k), cut(inputs.v)];
  const beta = unsqueeze(cut(inputs.beta), -1);
  const total = cumsum(cut(inputs.g), -1);
  const on = { device: v.device };
  const [row, column] = [iota([n, n], 0, on), iota([n, n], 1, on)];
  const causal = lessEqual(column, row);
  const between = exp(where(causal, sub(unsqueeze(total, -1), unsqueeze(total, -2)), -Infinity));
  const overlap = mul(mul(matmul(k, transpose(k)), between), beta);
  const inverse = unitLowerInverse(where(greater(row, column), overlap, 0));
  const since = unsqueeze(exp(total), -1);
  const own = matmul(inverse, mul(v, beta));
  const taken = matmul(inverse, mul(k, mul(since, beta)));
  const end = narrow(total, -1, n - 1, n);
  const toEnd = mul(k, unsqueeze(exp(sub(end, total)), -1));
  const decay = exp(unsqueeze(end, -1));
  const [last, pairs] = scan(
    (s: Tensor, x: { own: Tensor; taken: Tensor; toEnd: Tensor; decay: Tensor }) => {
      const written = sub(x.own, matmul(x.taken, s));
      return [add(mul(s, x.decay), matmul(transpose(x.toEnd), written)), { before: s, written }] as const;
    },
    initial,
    { own, taken, toEnd, decay },
  );
  const inside = matmul(mul(matmul(q, transpose(k)), between), pairs.written);
  const carried = matmul(mul(q, since), pairs.before);
  return { y: fromChunks(add(inside, carried), time), state: last };
}

/**
 * `(I + L)^-1` for strictly lower triangular L `[..., n, n]`, by blocks of doubling size: with the inverses X of the diagonal
 * blocks, those of twice the size are `X - X M X`, M the part of L between the halves. As stable as substitution, which
 * products of powers of L are not.
 */
export function unitLowerInverse(lower: Tensor): Tensor {
  const n = lower.shape[lower.rank - 1]!;
  const on = { device: lower.device };
  const [row, column] = [iota([n, n], 0, on), iota([n, n], 1, on)];
  let inverse = broadcastTo(eye(n, n, { dtype: lower.dtype, ...on }), lower.shape);
  for (let size = 1; size < n; size *= 2) {
    const block = (t: Tensor, by: number): Tensor => quotient(t, by);
    const sameDouble = equal(block(row, 2 * size), block(column, 2 * size));
    const otherHalf = greater(block(row, size), block(column, size));
    const between = where(and(sameDouble, otherHalf), lower, 0);
    inverse = size === 1 ? sub(inverse, between) : sub(inverse, matmul(matmul(inverse, between), inverse));
  }
  return inverse;
}
