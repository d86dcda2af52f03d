// Scaled dot-product attention with an online softmax (Dao et al. 2022): scores live in tiles only. The forward pass keeps
// the log-sum-exp of each row, from which the gradient computes the tiles again.

import {
  ConfigError,
  ShapeError,
  cast,
  checkOptions,
  defineOp,
  mul,
  permute,
  promote,
  show,
  sub,
  sum,
  zerosLike,
  type BatchContext,
  type Op,
  type OpSpec,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { foldIntoBatch } from "../batch-rows.ts";
import { bytesMoved } from "../cost.ts";
import {
  computeDtype,
  inOrder,
  named,
  need,
  needFloat,
  present,
  widened,
  wideDtype,
  type Named,
} from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { checkLists, listedPairs, type AttentionBlocks } from "./block-lists.ts";
import { decomposeAttention, decomposeAttentionGrad, probabilities } from "./decompose.ts";
import { attentionGradReference, attentionReference } from "./reference.ts";

export {
  attentionBlocks,
  attentionBlocksOf,
  type AttentionBlocks,
  type BlockLists,
  type BlockSize,
} from "./block-lists.ts";

/** Which keys a query sees around its own position; -1 is no limit. Causal attention has `right` 0. */
export interface Visibility {
  readonly left: number;
  readonly right: number;
}

export type AttentionInput =
  | "q"
  | "k"
  | "v"
  | "slopes"
  | "keyLengths"
  | "queryLengths"
  | "blockStarts"
  | "blockColumns";
export interface AttentionParams extends Visibility {
  readonly scale: number;
  /** `cap tanh(score / cap)`; 0 is none. */
  readonly softCap: number;
  /** Queries and keys of a block, where lists of blocks are among the inputs. */
  readonly blockSize?: readonly [queries: number, keys: number];
  /** Whether the gradient's sums must keep their order; absent: they need not. */
  readonly deterministic?: boolean;
  readonly inputs: readonly AttentionInput[];
}

export type AttentionGradInput = AttentionInput | "dy" | "lse" | "delta";
export interface AttentionGradParams extends Visibility {
  readonly scale: number;
  readonly softCap: number;
  readonly blockSize?: readonly [queries: number, keys: number];
  readonly deterministic?: boolean;
  readonly inputs: readonly AttentionGradInput[];
}

function check(
  op: string,
  types: Readonly<Record<string, TensorType | undefined>>,
  params: { readonly blockSize?: readonly [number, number] },
): void {
  const { q, k, v } = types as Record<"q" | "k" | "v", TensorType>;
  const dtype = needFloat(op, "q", q);
  const wide = wideDtype(dtype);
  need(op, "q", q, [undefined, undefined, undefined, undefined], "[B, Tq, H, K]");
  const [b, queries, heads, keyDim] = q.shape as [number, number, number, number];
  need(op, "k", k, [b, undefined, undefined, keyDim], "[B, Tk, Hk, K]", dtype);
  const [, keys, keyHeads] = k.shape as [number, number, number];
  need(op, "v", v, [b, keys, keyHeads, undefined], "[B, Tk, Hk, V]", dtype);
  if (keyHeads === 0 || heads % keyHeads !== 0) {
    throw new ShapeError(op, "query heads do not group over key heads", {
      expected: "a multiple of the key heads",
      got: `${heads} query heads, ${keyHeads} key heads`,
    });
  }
  const { slopes, keyLengths, queryLengths, dy, lse, delta } = types;
  if (slopes) {
    const batched = slopes.shape.length === 2;
    need(op, "slopes", slopes, batched ? [b, heads] : [heads], batched ? "[B, H]" : "[H]", wide);
  }
  if (keyLengths) need(op, "keyLengths", keyLengths, [b], "[B]", "i32");
  if (queryLengths) need(op, "queryLengths", queryLengths, [b], "[B]", "i32");
  checkLists(op, types, heads, queries, params.blockSize);
  if (dy) need(op, "dy", dy, [b, queries, heads, v.shape[3]], "[B, Tq, H, V]", dtype);
  if (lse) need(op, "lse", lse, [b, heads, queries], "[B, H, Tq]", wide);
  if (delta) need(op, "delta", delta, [b, heads, queries], "[B, H, Tq]", wide);
}

/** Pairs of a query and a key that see each other, without padding. */
export function visiblePairs(queries: number, keys: number, { left, right }: Visibility): number {
  let pairs = 0;
  for (let i = 0; i < queries; i++) {
    const own = i + keys - queries;
    const from = left < 0 ? 0 : Math.max(0, own - left);
    const to = right < 0 ? keys : Math.min(keys, own + right + 1);
    pairs += Math.max(0, to - from);
  }
  return pairs;
}

function flops(types: Named<AttentionInput, TensorType>, params: Omit<AttentionParams, "inputs">): number {
  const [b, queries, heads, keyDim] = types.q!.shape as [number, number, number, number];
  const pairs = visiblePairs(queries, types.k!.shape[1]!, params);
  const listed = types.blockStarts
    ? listedPairs(types.blockStarts, types.blockColumns!, params.blockSize!)
    : pairs;
  return 2 * b * heads * Math.min(pairs, listed) * (keyDim + types.v!.shape[3]!);
}

const forwardSpec = (name: string): OpSpec<AttentionParams> => ({
  name,
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check(name, types, params);
    const [b, queries, heads] = types.q!.shape as [number, number, number];
    const { dtype } = types.q!;
    return [
      { shape: [b, queries, heads, types.v!.shape[3]!], dtype },
      { shape: [b, heads, queries], dtype: wideDtype(dtype) },
    ];
  },
  reference: attentionReference,
  decompose: decomposeAttention,
  vjp: (context) => {
    const { inputs, outputs, params, cotangents, needed } = context;
    const t = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    if (want.slopes) return gradientsThrough(decomposeAttention, context);
    const [y, lse] = outputs as [Tensor, Tensor];
    const dy = cotangents[0] ?? zerosLike(y);
    // d lse / d score = p, so its cotangent joins the row's constant with the opposite sign.
    let delta = permute(sum(mul(widened(dy), widened(y)), -1), [0, 2, 1]);
    if (cotangents[1]) delta = sub(delta, cotangents[1]);
    const { names, tensors } = present({ ...t, dy, lse, delta });
    const gradOp = params.blockSize ? blockSparseAttentionGradOp : attentionGradOp;
    const [q, k, v] = gradOp(tensors, { ...params, inputs: names });
    return inOrder(params.inputs, { q: q!, k: k!, v: v! });
  },
  batch: (context) => foldBatch(context),
  cost: (inputs, outputs, params) => {
    const types = named(params.inputs, inputs);
    return { flops: flops(types, params), bytes: bytesMoved(inputs, outputs) };
  },
});

const gradSpec = (name: string): OpSpec<AttentionGradParams> => ({
  name,
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check(name, types, params);
    return [types.q!, types.k!, types.v!];
  },
  reference: attentionGradReference,
  decompose: decomposeAttentionGrad,
  vjp: (context) => {
    const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? zerosLike(t));
    return gradientsThrough(decomposeAttentionGrad, { ...context, cotangents });
  },
  batch: (context) => foldBatch(context),
  cost: (inputs, outputs, params) => {
    const types = named(params.inputs, inputs);
    return { flops: 2.5 * flops(types, params), bytes: bytesMoved(inputs, outputs) };
  },
});

/**
 * `(q [B, Tq, H, K], k [B, Tk, Hk, K], v [B, Tk, Hk, V], ...) -> (y [B, Tq, H, V], log-sum-exp [B, H, Tq])`. q, k, v and y may be
 * half precision; sums, slopes and the log-sum-exp are f32 then.
 */
export const attentionOp: Op<AttentionParams> = defineOp(forwardSpec("attention"));

/** `(q, k, v, dy, lse, delta, ...) -> (dq, dk, dv)`, with `delta[b, h, t] = dy . y - dlse`. */
export const attentionGradOp: Op<AttentionGradParams> = defineOp(gradSpec("attention-grad"));

/** {@link attentionOp} over lists of blocks: `blockStarts` and `blockColumns` are among the inputs, see {@link AttentionBlocks}. */
export const blockSparseAttentionOp: Op<AttentionParams> = defineOp(forwardSpec("block-sparse-attention"));
export const blockSparseAttentionGradOp: Op<AttentionGradParams> = defineOp(
  gradSpec("block-sparse-attention-grad"),
);

/** Inputs that the batch shares. */
const SHARED: readonly string[] = ["slopes", "blockStarts", "blockColumns"];

/** The mapped axis joins the batch; per-head slopes `[H]` are shared, anything else of them runs once per example. */
function foldBatch<P extends { readonly inputs: readonly string[] }>(
  context: BatchContext<P>,
): Tensor[] | undefined {
  const { inputs, params } = context;
  // slopes [B, H] belong to examples of the inner batch
  if (params.inputs.some((name, i) => name === "slopes" && inputs[i]!.rank !== 1)) return undefined;
  return foldIntoBatch(
    context,
    params.inputs.map((name) => SHARED.includes(name)),
  );
}

export interface AttentionOptions {
  /** Query i sees no key after its own position. Default false. */
  readonly causal?: boolean;
  /** `[left, right]`: how many keys before and after its own position a query sees; -1 is no limit (default). */
  readonly window?: readonly [number, number];
  /** Factor of the scores; default 1 / sqrt(K). */
  readonly scale?: number;
  /** Bends scores into `(-cap, cap)` by `cap tanh(score / cap)`. Default none. */
  readonly softCap?: number;
  /** ALiBi slopes `[H]` or `[B, H]`: `-slope |own position - j|` joins the score (Press et al. 2022). */
  readonly alibiSlopes?: Tensor;
  /** i32 `[B]`: keys from this one on are padding. */
  readonly keyLengths?: Tensor;
  /** i32 `[B]`: rows from this one on are padding and give zeros. Default: `keyLengths` where Tq = Tk, else Tq. */
  readonly queryLengths?: Tensor;
  /**
   * Blocks of queries and keys that meet (Dao et al. 2022, section 3.3); all else is hidden and costs nothing. What a window or
   * causality hides within them stays hidden.
   */
  readonly blocks?: AttentionBlocks;
  /**
   * Whether the gradient of q has the same bits every run, also where a device adds it up faster in any order (half precision over more than
   * 128 keys on CUDA's sm_90; all else has the same bits anyway). Default false.
   */
  readonly deterministic?: boolean;
}

const OPTIONS = [
  "causal",
  "window",
  "scale",
  "softCap",
  "alibiSlopes",
  "keyLengths",
  "queryLengths",
  "blocks",
  "deterministic",
] as const satisfies readonly (keyof AttentionOptions)[];

const isWindow = (x: unknown): x is readonly [number, number] =>
  Array.isArray(x) && x.length === 2 && x.every((n) => Number.isInteger(n) && n >= -1);

function prepare(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions,
): {
  tensors: { [K in AttentionInput]: Tensor | undefined };
  params: Omit<AttentionParams, "inputs">;
  dtype: Tensor["dtype"];
} {
  checkOptions("attention", options, OPTIONS);
  for (const [name, t] of Object.entries({ q, k, v })) {
    if (t.rank !== 4) {
      throw new ShapeError("attention", `${name} has the wrong shape`, {
        expected: "[B, T, H, K]",
        got: show(t.shape),
      });
    }
  }
  const window: unknown = options.window ?? [-1, -1];
  if (!isWindow(window)) {
    throw new ConfigError("attention", "not a window", {
      expected: "two integers, -1 or more",
      got: Array.isArray(window) ? `[${window.join(", ")}]` : String(window),
    });
  }
  const [left, right] = window;
  const { softCap = 0, scale } = options;
  if (scale !== undefined && !Number.isFinite(scale))
    throw new ConfigError("attention", "not a scale", { expected: "a finite number", got: `${scale}` });
  if (!Number.isFinite(softCap) || softCap < 0)
    throw new ConfigError("attention", "not a soft cap", {
      expected: "a finite number above 0, or 0 for none",
      got: `${softCap}`,
    });
  const dtype = promote(promote(q.dtype, k.dtype), v.dtype);
  const slopes = options.alibiSlopes;
  const compute = dtype === "f32" && slopes ? computeDtype([slopes, q]) : dtype;
  const { keyLengths, blocks } = options;
  const queryLengths = options.queryLengths ?? (q.shape[1] === k.shape[1] ? keyLengths : undefined);
  return {
    dtype,
    tensors: {
      q: cast(q, compute),
      k: cast(k, compute),
      v: cast(v, compute),
      slopes: slopes && cast(slopes, wideDtype(compute)),
      keyLengths,
      queryLengths,
      blockStarts: blocks?.starts,
      blockColumns: blocks?.columns,
    },
    params: {
      ...(blocks ? { blockSize: [blocks.queries, blocks.keys] as const } : {}),
      ...(options.deterministic ? { deterministic: true } : {}),
      left,
      right: options.causal ? (right < 0 ? 0 : Math.min(right, 0)) : right,
      scale: scale ?? 1 / Math.sqrt(q.shape[3]!),
      softCap,
    },
  };
}

/**
 * `softmax(scale q k^T) v` per head, without ever holding the scores of all pairs.
 *
 * Query i stands at key `i + keyLength - queryLength`: where the lengths differ, the last query sees the last key. A row
 * that sees no key gives zeros.
 * @param q `[B, Tq, H, K]`
 * @param k `[B, Tk, Hk, K]`, H a multiple of Hk (grouped heads share keys and values)
 * @param v `[B, Tk, Hk, V]`
 * @returns `[B, Tq, H, V]` in the promoted dtype; half precision is stored and multiplied, sums are f32.
 */
export const attention = (q: Tensor, k: Tensor, v: Tensor, options: AttentionOptions = {}): Tensor =>
  attentionWithLogSumExp(q, k, v, options).y;

/** As {@link attention}, with the log-sum-exp of each row's scores `[B, H, Tq]` (for merging partial results). */
export function attentionWithLogSumExp(
  q: Tensor,
  k: Tensor,
  v: Tensor,
  options: AttentionOptions = {},
): { y: Tensor; logSumExp: Tensor } {
  const { tensors, params, dtype } = prepare(q, k, v, options);
  const { names, tensors: list } = present(tensors);
  const op = params.blockSize ? blockSparseAttentionOp : attentionOp;
  const [y, lse] = op(list, { ...params, inputs: names });
  return { y: cast(y!, dtype), logSumExp: lse! };
}

/** The softmax weights `[B, H, Tq, Tk]` themselves, for inspection: memory grows with Tq Tk. */
export function attentionProbabilities(q: Tensor, k: Tensor, options: AttentionOptions = {}): Tensor {
  const { tensors, params } = prepare(q, k, k, options);
  return probabilities(
    present(tensors).names.reduce((all, name) => ({ ...all, [name]: tensors[name] }), {}),
    params,
  );
}

/**
 * ALiBi's slopes for a number of heads: `2^(-8 i / n)` for powers of two; others take every other slope of the next power
 * (Press, Smith & Lewis 2022).
 */
export function alibiSlopes(heads: number): number[] {
  const power = 2 ** Math.floor(Math.log2(heads));
  const geometric = (n: number): number[] => Array.from({ length: n }, (_, i) => 2 ** ((-8 * (i + 1)) / n));
  if (power === heads) return geometric(heads);
  const between = geometric(2 * power).filter((_, i) => i % 2 === 0);
  return [...geometric(power), ...between.slice(0, heads - power)];
}
