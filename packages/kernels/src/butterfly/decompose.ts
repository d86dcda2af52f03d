// Butterflies out of matrix products, for devices without a kernel and for second derivatives.

import {
  add,
  cast,
  concat,
  cos,
  greater,
  iota,
  matmul,
  mod,
  mul,
  narrow,
  neg,
  pad,
  permute,
  reshape,
  sin,
  squeeze,
  sub,
  sum,
  transpose,
  zerosLike,
  type Tensor,
} from "@everlong/core";
import type { ButterflyAdjointParams, ButterflyParams } from "./op.ts";

interface Pair {
  readonly re: Tensor;
  readonly im: Tensor;
}

/** Stages on rows `[R, N]`: matrix, and twiddles `[m, n]`. */
interface Stage {
  readonly m: number;
  readonly n: number;
  readonly blocks: number;
  readonly w: Pair;
  readonly twiddle: Pair;
}

function stagesOf(radices: readonly number[], matrices: readonly Tensor[]): Stage[] {
  let n = radices.reduce((a, b) => a * b, 1);
  let blocks = 1;
  return radices.map((m, i) => {
    n /= m;
    const w = matrices[i]!;
    const part = (j: number): Tensor => squeeze(narrow(w, 0, j, j + 1), 0);
    // Recorded arithmetic: decompositions hold no values of their own. Angles are those of the exact remainders, within half a turn.
    const on = { device: w.device };
    const size = m * n;
    const turns = mod(mul(iota([m, n], 0, on), iota([m, n], 1, on)), size);
    const nearest = sub(turns, mul(cast(greater(turns, size / 2), "i32"), size));
    const angles = mul(cast(nearest, w.dtype), (-2 * Math.PI) / size);
    const twiddle = { re: cos(angles), im: sin(angles) };
    const stage = { m, n, blocks, w: { re: part(0), im: part(1) }, twiddle };
    blocks *= m;
    return stage;
  });
}

const times = (a: Pair, b: Pair): Pair => ({
  re: sub(mul(a.re, b.re), mul(a.im, b.im)),
  im: add(mul(a.re, b.im), mul(a.im, b.re)),
});
const conjugate = ({ re, im }: Pair): Pair => ({ re, im: neg(im) });
const product = (w: Pair, x: Pair): Pair => ({
  re: sub(matmul(w.re, x.re), matmul(w.im, x.im)),
  im: add(matmul(w.re, x.im), matmul(w.im, x.re)),
});
const both = (fn: (t: Tensor) => Tensor, { re, im }: Pair): Pair => ({ re: fn(re), im: fn(im) });

/** Rows `[R, N]` as `[R, blocks, m, n]`. */
const cut = (s: Stage, x: Pair): Pair => both((t) => reshape(t, [t.shape[0]!, s.blocks, s.m, s.n]), x);
const joined = (x: Pair): Pair => both((t) => reshape(t, [t.shape[0]!, t.size / t.shape[0]!]), x);

const forward = (x: Pair, s: Stage): Pair => joined(times(product(s.w, cut(s, x)), s.twiddle));
const untwiddled = (y: Pair, s: Stage): Pair => times(cut(s, y), conjugate(s.twiddle));
const backward = (t: Pair, s: Stage): Pair => joined(product(conjugate(both(transpose, s.w)), t));

/** Sequences as rows `[B D, L]`. */
function rowsOf(x: Tensor, layout: "bdl" | "bld"): Tensor {
  const first = layout === "bdl" ? x : permute(x, [0, 2, 1]);
  return reshape(first, [first.shape[0]! * first.shape[1]!, first.shape[2]!]);
}

/** Spectra `[B, N, D]` as rows `[B D, N]`, and back. */
const rowsOfSpectrum = (t: Tensor): Tensor => rowsOf(t, "bld");
const spectrumOf = (t: Tensor, batch: number): Tensor =>
  permute(reshape(t, [batch, t.shape[0]! / batch, t.shape[1]!]), [0, 2, 1]);

function start(x: Tensor, params: ButterflyParams): Pair {
  const rows = rowsOf(x, params.layout);
  const size = params.radices.reduce((a, b) => a * b, 1);
  const re = pad(rows, [[0, size - rows.shape[1]!]]);
  return { re, im: zerosLike(re) };
}

export function transformByProducts(inputs: readonly Tensor[], params: ButterflyParams): Tensor[] {
  const [x, ...matrices] = inputs as [Tensor, ...Tensor[]];
  const y = stagesOf(params.radices, matrices).reduce(forward, start(x, params));
  return [spectrumOf(y.re, x.shape[0]!), spectrumOf(y.im, x.shape[0]!)];
}

export function adjointByProducts(inputs: readonly Tensor[], params: ButterflyAdjointParams): Tensor[] {
  const [re, im, ...matrices] = inputs as [Tensor, Tensor, ...Tensor[]];
  const given = { re: rowsOfSpectrum(re), im: rowsOfSpectrum(im) };
  const stages = stagesOf(params.radices, matrices).toReversed();
  const y = stages.reduce((t, s) => backward(untwiddled(t, s), s), given);
  const batch = re.shape[0]!;
  const rows = narrow(y.re, 1, 0, params.length);
  const sequences = reshape(rows, [batch, rows.shape[0]! / batch, params.length]);
  return [params.layout === "bdl" ? sequences : permute(sequences, [0, 2, 1])];
}

export function matrixGradByProducts(inputs: readonly Tensor[], params: ButterflyParams): Tensor[] {
  const [x, re, im, ...matrices] = inputs as [Tensor, Tensor, Tensor, ...Tensor[]];
  const stages = stagesOf(params.radices, matrices);
  const before = [start(x, params)];
  for (const s of stages) before.push(forward(before.at(-1)!, s));
  let cotangent: Pair = { re: rowsOfSpectrum(re), im: rowsOfSpectrum(im) };
  const out: Tensor[] = [];
  for (let i = stages.length - 1; i >= 0; i--) {
    const s = stages[i]!;
    const t = untwiddled(cotangent, s);
    const dw = product(t, conjugate(both(transpose, cut(s, before[i]!))));
    out.unshift(
      concat(
        [dw.re, dw.im].map((p) => reshape(sum(p, [0, 1]), [1, s.m, s.m])),
        0,
      ),
    );
    cotangent = backward(t, s);
  }
  return out;
}
