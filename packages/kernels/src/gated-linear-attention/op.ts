// Linear attention with a matrix-valued state and optional data-dependent decay (Katharopoulos et al. 2020; Yang et al. 2024).
// One recurrence serves forward and backward: the gradients of a scan are scans with roles exchanged, so they can be
// differentiated again. The derivation is in README.md.

import {
  ConfigError,
  add,
  broadcastTo,
  cast,
  checkOptions,
  concat,
  cumsum,
  defineOp,
  exp,
  matmul,
  mul,
  narrow,
  pad,
  permute,
  promote,
  reshape,
  flip,
  iota,
  lessEqual,
  sizeOf,
  sub,
  sum,
  transpose,
  unsqueeze,
  where,
  zeros,
  zerosLike,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { inOrder, named, need, needCompute, computeDtype, present } from "../inputs.ts";
import { linearScanReference } from "./reference.ts";

export type LinearScanInput = "a" | "b" | "c" | "g" | "initial";
export interface LinearScanParams {
  /** Runs from the last step to the first; decays act after the step instead of before it. */
  readonly reverse: boolean;
  /** Which side of the state `g` scales: that of `a` (rows) or of `b` (columns). */
  readonly decay: "rows" | "columns";
  readonly inputs: readonly LinearScanInput[];
}

/**
 * `(a [B, T, H, I], b [B, T, H, J], c [B, T, H, I], g? [B, T, H, I or J], initial? [B, H, I, J]) ->
 * (y [B, T, H, J], last state [B, H, I, J])`.
 */
export const linearScanOp: Op<LinearScanParams> = defineOp<LinearScanParams>({
  name: "linear-scan",
  shape: (inputs, params) => {
    const { a, b, c, g, initial } = named(params.inputs, inputs);
    const dtype = needCompute("linear-scan", "a", a!);
    need("linear-scan", "a", a!, [undefined, undefined, undefined, undefined], "[B, T, H, I]");
    const [batch, time, heads, rows] = a!.shape as [number, number, number, number];
    need("linear-scan", "b", b!, [batch, time, heads, undefined], "[B, T, H, J]", dtype);
    const columns = b!.shape[3]!;
    need("linear-scan", "c", c!, a!.shape, "[B, T, H, I]", dtype);
    if (g)
      need(
        "linear-scan",
        "g",
        g,
        [batch, time, heads, params.decay === "rows" ? rows : columns],
        `[B, T, H, ${params.decay}]`,
        dtype,
      );
    const state = [batch, heads, rows, columns];
    if (initial) need("linear-scan", "initial", initial, state, "[B, H, I, J]", dtype);
    return [
      { shape: b!.shape, dtype },
      { shape: state, dtype },
    ];
  },
  reference: linearScanReference,
  decompose: (inputs, params) => chunked(named(params.inputs, inputs), params, 64),
  vjp: ({ inputs, outputs, params, cotangents, needed }) => {
    const { a, b, c, g, initial } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const [y, last] = outputs as [Tensor, Tensor];
    const dy = cotangents[0] ?? zerosLike(y);
    const dlast = cotangents[1];
    const other = params.decay === "rows" ? "columns" : "rows";
    const reverse = !params.reverse;
    const turned = (t: Tensor | undefined): Tensor | undefined => t && transpose(t);
    // N, the gradient of the state, runs against time; M, the state itself, runs again as the forward pass did.
    const dc = run(
      { a: b!, b: a!, c: dy, g, initial: turned(initial) },
      { reverse: params.reverse, decay: other },
    )[0]!;
    const da = run({ a: dy, b: c!, c: b!, g, initial: turned(dlast) }, { reverse, decay: other })[0]!;
    const [db, dinitial] = run({ a: c!, b: dy, c: a!, g, initial: dlast }, { reverse, decay: params.decay });
    let dg: Tensor | undefined;
    if (want.g) {
      // Row sums of N o M telescope over time; see README.md.
      const rows = params.decay === "rows";
      const own = rows ? mul(a!, da) : mul(b!, db!);
      const read = rows ? mul(c!, dc) : mul(dy, y);
      const axis = rows ? -1 : -2;
      // What leaves the first state of the walk: the final state's cotangent forwards, the initial state reversed.
      const end = params.reverse
        ? initial && sum(mul(dinitial!, initial), axis)
        : dlast && sum(mul(dlast, last), axis);
      let terms = params.reverse ? sub(own, read) : sub(read, own);
      if (end) {
        const time = terms.shape[1]!;
        terms = add(
          terms,
          pad(unsqueeze(end, 1), [
            [time - 1, 0],
            [0, 0],
            [0, 0],
          ]),
        );
      }
      dg = cumsum(terms, 1, { reverse: true });
    }
    return inOrder(params.inputs, {
      a: da,
      b: db!,
      c: dc,
      ...(dg ? { g: dg } : {}),
      ...(initial ? { initial: dinitial! } : {}),
    });
  },
  batch: ({ inputs, mapped, size, apply }) => {
    if (!mapped.every(Boolean)) return undefined;
    const folded = inputs.map((t) => reshape(t, [size * t.shape[1]!, ...t.shape.slice(2)]));
    return apply(folded).map((y) => reshape(y, [size, y.shape[0]! / size, ...y.shape.slice(1)]));
  },
  cost: (inputs, outputs, params) => {
    const { a, b, g } = named(params.inputs, inputs);
    return { flops: (g ? 5 : 4) * sizeOf(a!.shape) * b!.shape[3]!, bytes: bytesMoved(inputs, outputs) };
  },
});

type Tensors = { readonly [K in LinearScanInput]?: Tensor | undefined };

function run(tensors: Tensors, params: Omit<LinearScanParams, "inputs">): Tensor[] {
  const { names, tensors: list } = present(tensors);
  return linearScanOp(list, { ...params, inputs: names });
}

/**
 * The same recurrence by chunks of `size` steps: within a chunk a masked product of all pairs, between chunks the state.
 * Decays enter as differences of running sums, so nothing grows beyond 1. Memory: T size entries per head (times I with
 * row decays).
 */
export function chunked(tensors: Tensors, params: Omit<LinearScanParams, "inputs">, size: number): Tensor[] {
  const [a, b, c] = [tensors.a!, tensors.b!, tensors.c!];
  const { g } = tensors;
  if (params.reverse) return reversedChunks(tensors, params, size);
  const [batch, time, heads, rows] = a.shape as [number, number, number, number];
  const columns = b.shape[3]!;
  const headFirst = (t: Tensor): Tensor => permute(t, [0, 2, 1, 3]);
  let state = tensors.initial ?? zeros([batch, heads, rows, columns], { dtype: a.dtype, device: a.device });
  const parts: Tensor[] = [];
  for (let from = 0; from < time; from += size) {
    const to = Math.min(from + size, time);
    const cut = (t: Tensor): Tensor => headFirst(narrow(t, 1, from, to));
    const [at, bt, ct] = [cut(a), cut(b), cut(c)];
    const n = to - from;
    const causal = lessEqual(iota([n, n], 1, { device: a.device }), iota([n, n], 0, { device: a.device }));
    if (!g) {
      const pairs = where(causal, matmul(ct, transpose(at)), 0);
      parts.push(add(matmul(ct, state), matmul(pairs, bt)));
      state = add(state, matmul(transpose(at), bt));
      continue;
    }
    const total = cumsum(cut(g), 2);
    const end = narrow(total, 2, n - 1, n);
    // decay from step s to step t >= s: exp(total_t - total_s), masked before exp so that no overflow arises
    const between = sub(unsqueeze(total, 3), unsqueeze(total, 2));
    const factor = exp(where(reshape(causal, [n, n, 1]), between, -Infinity));
    const toEnd = exp(sub(end, total));
    if (params.decay === "rows") {
      const pairs = sum(mul(mul(unsqueeze(ct, 3), unsqueeze(at, 2)), factor), -1);
      parts.push(add(matmul(mul(ct, exp(total)), state), matmul(pairs, bt)));
      state = add(mul(state, transpose(exp(end))), matmul(transpose(mul(at, toEnd)), bt));
    } else {
      const pairs = matmul(ct, transpose(at));
      const inner = sum(mul(mul(unsqueeze(pairs, -1), unsqueeze(bt, 2)), factor), 3);
      parts.push(add(mul(matmul(ct, state), exp(total)), inner));
      state = add(mul(state, exp(end)), matmul(transpose(at), mul(bt, toEnd)));
    }
  }
  const y = parts.length > 0 ? headFirst(concat(parts, 2)) : zerosLike(b);
  return [y, state];
}

/** Reversed in time, with decays one step later: a forward scan whose first decay acts on the (already decayed) start. */
function reversedChunks(tensors: Tensors, params: Omit<LinearScanParams, "inputs">, size: number): Tensor[] {
  const turn = (t: Tensor): Tensor => flip(t, 1);
  const { a, b, c, g, initial } = tensors;
  const time = a!.shape[1]!;
  // After the step at t the state decays by g_t: in turned time that is the decay before the next step.
  const later =
    g && time > 0 ? concat([zerosLike(narrow(g, 1, 0, 1)), narrow(turn(g), 1, 0, time - 1)], 1) : g;
  const [y, last] = chunked(
    { a: turn(a!), b: turn(b!), c: turn(c!), g: later, initial },
    { ...params, reverse: false },
    size,
  );
  if (!g || time === 0) return [turn(y!), last!];
  const first = exp(narrow(g, 1, 0, 1));
  const [batch, , heads, n] = first.shape as [number, number, number, number];
  const scale = reshape(first, params.decay === "rows" ? [batch, heads, n, 1] : [batch, heads, 1, n]);
  return [turn(y!), mul(last!, scale)];
}

export interface GatedLinearAttentionOptions {
  /** Logarithms of the decays, at most 0: `[B, T, H, K]`, or `[B, T, H, 1]` for one per head. Default: no decay. */
  readonly logDecay?: Tensor;
  /** Factor of the queries; default 1 / sqrt(K). */
  readonly scale?: number;
  /** State before the first step `[B, H, K, V]`; default zeros. */
  readonly initial?: Tensor;
  /**
   * `auto` (default) takes the device's kernel; `chunked` computes with matrix products over chunks, out of primitives. Equal
   * to rounding.
   */
  readonly form?: "auto" | "chunked";
  /** Steps per chunk of the chunked form. Default 64. */
  readonly chunk?: number;
}

/**
 * Linear attention with decay: `S_t = diag(exp(g_t)) S_(t-1) + k_t v_t^T`, `y_t = scale S_t^T q_t`.
 * @param q `[B, T, H, K]`
 * @param k `[B, T, H, K]`
 * @param v `[B, T, H, V]`
 * @returns `y` `[B, T, H, V]` in the promoted dtype, and the last state `[B, H, K, V]`
 */
export function gatedLinearAttention(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: GatedLinearAttentionOptions = {},
): { y: Tensor; state: Tensor } {
  checkOptions("gatedLinearAttention", options, ["logDecay", "scale", "initial", "form", "chunk"]);
  const { form = "auto", chunk = 64, scale = 1 / Math.sqrt(q.shape[3] ?? 1) } = options;
  if (form !== "auto" && form !== "chunked") {
    throw new ConfigError("gatedLinearAttention", "unknown form", {
      expected: "auto or chunked",
      got: String(form),
    });
  }
  if (!Number.isInteger(chunk) || chunk < 1) {
    throw new ConfigError("gatedLinearAttention", "chunk must be a positive integer", { got: `${chunk}` });
  }
  const dtype = promote(promote(q.dtype, k.dtype), v.dtype);
  const { logDecay, initial } = options;
  const compute = computeDtype([q, k, v, logDecay, initial]);
  const wide = (t: Tensor): Tensor => cast(t, compute);
  const perHead = logDecay && logDecay.shape[3] === 1 && q.shape[3] !== 1;
  const tensors = {
    a: wide(k),
    b: wide(v),
    c: mul(wide(q), scale),
    g: logDecay && (perHead ? broadcastTo(wide(logDecay), k.shape) : wide(logDecay)),
    initial: initial && wide(initial),
  };
  const params = { reverse: false, decay: "rows" as const };
  const [y, state] = form === "chunked" ? chunked(tensors, params, chunk) : run(tensors, params);
  return { y: cast(y!, dtype), state: state! };
}
