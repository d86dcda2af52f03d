import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import type { AttentionGradParams, AttentionParams, Visibility } from "./op.ts";

interface Sizes {
  readonly batch: number;
  readonly heads: number;
  /** Query heads per key head. */
  readonly group: number;
  readonly queries: number;
  readonly keys: number;
  readonly keyDim: number;
  readonly valueDim: number;
}

function sizesOf(q: HostArray, k: HostArray, v: HostArray): Sizes {
  const [batch, queries, heads, keyDim] = q.shape as [number, number, number, number];
  return {
    batch,
    heads,
    group: heads / k.shape[2]!,
    queries,
    keys: k.shape[1]!,
    keyDim,
    valueDim: v.shape[3]!,
  };
}

interface Optional {
  readonly slopes?: HostArray;
  readonly keyLengths?: HostArray;
  readonly queryLengths?: HostArray;
  readonly blockStarts?: HostArray;
  readonly blockColumns?: HostArray;
}

/** Which columns of blocks query i of head h sees, or undefined without lists. */
function listedBlocks(
  o: Optional,
  size: readonly [number, number] | undefined,
  h: number,
  i: number,
): ReadonlySet<number> | undefined {
  if (!o.blockStarts || !size) return undefined;
  const [patterns, width] = o.blockStarts.shape as [number, number];
  const at = (patterns === 1 ? 0 : h) * width + Math.floor(i / size[0]);
  return new Set(o.blockColumns!.data.subarray(o.blockStarts.data[at], o.blockStarts.data[at + 1]));
}

/** The keys `from <= j < to` that the lists leave. */
function* keysOf(
  from: number,
  to: number,
  listed: ReadonlySet<number> | undefined,
  size: readonly [number, number] | undefined,
): Generator<number> {
  for (let j = from; j < to; j++) if (!listed || listed.has(Math.floor(j / size![1]))) yield j;
}

/** The range of keys that query `i` of example `b` sees, and the key that stands at its own position. */
function visible(
  s: Sizes,
  o: Optional,
  v: Visibility,
  b: number,
  i: number,
): { from: number; to: number; own: number } {
  const keyLength = Math.min(Math.max(o.keyLengths ? o.keyLengths.data[b]! : s.keys, 0), s.keys);
  const queryLength = Math.min(Math.max(o.queryLengths ? o.queryLengths.data[b]! : s.queries, 0), s.queries);
  const own = i + keyLength - queryLength;
  if (i >= queryLength) return { from: 0, to: 0, own };
  const from = v.left < 0 ? 0 : Math.max(0, own - v.left);
  const to = v.right < 0 ? keyLength : Math.min(keyLength, own + v.right + 1);
  return { from, to, own };
}

/** Score of query row `qAt` with key row `kAt`, before the softmax; and the slope of the soft cap there. */
function score(
  q: HostArray,
  qAt: number,
  k: HostArray,
  kAt: number,
  s: Sizes,
  params: { readonly scale: number; readonly softCap: number },
): { value: number; slope: number } {
  let dot = 0;
  for (let c = 0; c < s.keyDim; c++) dot += q.data[qAt + c]! * k.data[kAt + c]!;
  dot *= params.scale;
  if (params.softCap === 0) return { value: dot, slope: 1 };
  const t = Math.tanh(dot / params.softCap);
  return { value: params.softCap * t, slope: 1 - t * t };
}

const slopeOf = (o: Optional, s: Sizes, b: number, h: number): number =>
  o.slopes ? o.slopes.data[(o.slopes.shape.length === 2 ? b * s.heads : 0) + h]! : 0;

/** Softmax over the visible keys; rows that see none give zeros and a log-sum-exp of -inf. */
export function attentionReference(
  inputs: readonly HostArray[],
  [y, lse]: readonly HostArray[],
  params: AttentionParams,
): void {
  const { q, k, v, ...optional } = named(params.inputs, inputs);
  const s = sizesOf(q!, k!, v!);
  const scores = new Float64Array(s.keys);
  y!.data.fill(0);
  for (let b = 0; b < s.batch; b++) {
    for (let h = 0; h < s.heads; h++) {
      const hk = Math.floor(h / s.group);
      const slope = slopeOf(optional, s, b, h);
      for (let i = 0; i < s.queries; i++) {
        const { from, to, own } = visible(s, optional, params, b, i);
        const qAt = ((b * s.queries + i) * s.heads + h) * s.keyDim;
        const rowAt = ((b * s.queries + i) * s.heads + h) * s.valueDim;
        let top = -Infinity;
        const listed = listedBlocks(optional, params.blockSize, h, i);
        const seen = [...keysOf(from, to, listed, params.blockSize)];
        for (const j of seen) {
          const kAt = ((b * s.keys + j) * (s.heads / s.group) + hk) * s.keyDim;
          scores[j] = score(q!, qAt, k!, kAt, s, params).value - slope * Math.abs(own - j);
          top = Math.max(top, scores[j]!);
        }
        let total = 0;
        for (const j of seen) total += Math.exp(scores[j]! - top);
        lse!.data[(b * s.heads + h) * s.queries + i] = seen.length > 0 ? top + Math.log(total) : -Infinity;
        for (const j of seen) {
          const p = Math.exp(scores[j]! - top) / total;
          const vAt = ((b * s.keys + j) * (s.heads / s.group) + hk) * s.valueDim;
          for (let c = 0; c < s.valueDim; c++) y!.data[rowAt + c]! += p * v!.data[vAt + c]!;
        }
      }
    }
  }
}

/** `p = exp(score - lse)`, `ds = p (dy . v - delta)`; `dv += p dy`, `dq += scale ds k`, `dk += scale ds q`. */
export function attentionGradReference(
  inputs: readonly HostArray[],
  [dq, dk, dv]: readonly HostArray[],
  params: AttentionGradParams,
): void {
  const { q, k, v, dy, lse, delta, ...optional } = named(params.inputs, inputs);
  const s = sizesOf(q!, k!, v!);
  for (const t of [dq!, dk!, dv!]) t.data.fill(0);
  for (let b = 0; b < s.batch; b++) {
    for (let h = 0; h < s.heads; h++) {
      const hk = Math.floor(h / s.group);
      const slope = slopeOf(optional, s, b, h);
      for (let i = 0; i < s.queries; i++) {
        const { from, to, own } = visible(s, optional, params, b, i);
        const row = (b * s.heads + h) * s.queries + i;
        const qAt = ((b * s.queries + i) * s.heads + h) * s.keyDim;
        const yAt = ((b * s.queries + i) * s.heads + h) * s.valueDim;
        const listed = listedBlocks(optional, params.blockSize, h, i);
        for (const j of keysOf(from, to, listed, params.blockSize)) {
          const kRow = (b * s.keys + j) * (s.heads / s.group) + hk;
          const { value, slope: capSlope } = score(q!, qAt, k!, kRow * s.keyDim, s, params);
          const p = Math.exp(value - slope * Math.abs(own - j) - lse!.data[row]!);
          let dp = 0;
          for (let c = 0; c < s.valueDim; c++) {
            dp += dy!.data[yAt + c]! * v!.data[kRow * s.valueDim + c]!;
            dv!.data[kRow * s.valueDim + c]! += p * dy!.data[yAt + c]!;
          }
          const ds = p * (dp - delta!.data[row]!) * capSlope * params.scale;
          for (let c = 0; c < s.keyDim; c++) {
            dq!.data[qAt + c]! += ds * k!.data[kRow * s.keyDim + c]!;
            dk!.data[kRow * s.keyDim + c]! += ds * q!.data[qAt + c]!;
          }
        }
      }
    }
  }
}
