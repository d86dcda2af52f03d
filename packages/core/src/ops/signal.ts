// Fourier transforms of any length on pairs of real tensors, and depthwise convolution made of primitives.

import { ShapeError } from "../errors.ts";
import { record } from "../record.ts";
import { normalizeAxis, show } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { Complex } from "./complex.ts";
import { add, mul, neg, toFloat } from "./elementwise.ts";
import { concat, flip, narrow, pad, reshape, transpose } from "./movement.ts";
import { zerosLike } from "./creation.ts";

export interface FftOptions {
  /** Default: the last. */
  readonly axis?: number;
  /** Length of the transform: the input is cut or zero-padded to it. Default: the input's. */
  readonly n?: number;
}

const resize = (x: Tensor, n: number): Tensor => {
  const have = x.shape[x.rank - 1]!;
  return n === have ? x : n < have ? narrow(x, -1, 0, n) : pad(x, [[0, n - have]]);
};

function onLastAxis(z: Complex, options: FftOptions, fn: (z: Complex) => Complex): Complex {
  const axis = normalizeAxis("fft", options.axis ?? -1, z.re.rank);
  if (axis === z.re.rank - 1) return fn(z);
  return fn(z.map((t) => transpose(t, axis, -1))).map((t) => transpose(t, axis, -1));
}

function transform(z: Complex, inverse: boolean, n?: number): Complex {
  const size = n ?? z.re.shape[z.re.rank - 1]!;
  if (!Number.isInteger(size) || size < 1)
    throw new ShapeError("fft", "needs at least one point", { got: `n = ${size}` });
  const [re, im] = record("fft", { inverse }, [resize(toFloat(z.re), size), resize(toFloat(z.im), size)]);
  const out = new Complex(re!, im!);
  return inverse ? out.map((t) => mul(t, 1 / size)) : out;
}

/** Discrete Fourier transform, any length. A real tensor counts as complex with zero imaginary part. */
export const fft = (x: Tensor | Complex, options: FftOptions = {}): Complex =>
  onLastAxis(Complex.from(x), options, (z) => transform(z, false, options.n));

/** Inverse transform, scaled by 1/n. */
export const ifft = (x: Tensor | Complex, options: FftOptions = {}): Complex =>
  onLastAxis(Complex.from(x), options, (z) => transform(z, true, options.n));

/** Transform of real input: the first `floor(n/2) + 1` bins. */
export const rfft = (x: Tensor, options: FftOptions = {}): Complex =>
  onLastAxis(new Complex(x, zerosLike(x)), options, (z) => {
    const n = options.n ?? z.re.shape[z.re.rank - 1]!;
    return transform(z, false, n).map((t) => narrow(t, -1, 0, Math.floor(n / 2) + 1));
  });

/**
 * Inverse of {@link rfft}: real output of length `n` (default `2 (bins - 1)`). The imaginary parts of bin 0 and, for even
 * n, of bin n/2 have no effect, as in numpy and torch.
 */
export function irfft(z: Complex, options: FftOptions = {}): Tensor {
  return onLastAxis(z, options, (half) => {
    const bins = half.re.shape[half.re.rank - 1]!;
    const n = options.n ?? 2 * (bins - 1);
    if (!Number.isInteger(n) || n < 1)
      throw new ShapeError("irfft", "needs at least one point", { got: `n = ${n}` });
    const need = Math.floor(n / 2) + 1;
    const cut = half.map((t) => resize(t, need));
    const mirrored = (t: Tensor): Tensor => flip(narrow(t, -1, 1, need - (n % 2 === 0 ? 1 : 0)), -1);
    const re = concat([cut.re, mirrored(cut.re)], -1);
    const edge = (t: Tensor): Tensor => {
      // Bins that are their own mirror image are real.
      const middle = narrow(t, -1, 1, need - (n % 2 === 0 && need > 1 ? 1 : 0));
      return pad(middle, [[1, need - 1 - middle.shape[middle.rank - 1]!]]);
    };
    const imHalf = edge(cut.im);
    const im = concat([imHalf, neg(mirrored(imHalf))], -1);
    return transform(new Complex(re, im), true);
  }).re;
}

/**
 * Depthwise causal-or-not correlation over time, made of shifts: `y[b, t, d] = sum_j w[d, j] x[b, t + j - left, d]`
 * with zeros outside; `x` `[B, T, D]`, `w` `[D, W]`, `left` zeros in front (default W - 1: causal).
 */
export function depthwiseConv1d(x: Tensor, w: Tensor, options: { readonly left?: number } = {}): Tensor {
  const [, time, channels] = x.shape;
  const width = w.shape[1]!;
  if (x.rank !== 3 || w.rank !== 2 || w.shape[0] !== channels) {
    throw new ShapeError("depthwiseConv1d", "expected x [B, T, D] and w [D, W]", {
      got: `${show(x.shape)} and ${show(w.shape)}`,
    });
  }
  const left = options.left ?? width - 1;
  if (left < 0 || left >= width)
    throw new ShapeError("depthwiseConv1d", "left out of range", {
      expected: `0..${width - 1}`,
      got: `${left}`,
    });
  const wide = pad(x, [
    [0, 0],
    [left, width - 1 - left],
    [0, 0],
  ]);
  let out: Tensor | undefined;
  for (let j = 0; j < width; j++) {
    const term = mul(narrow(wide, 1, j, j + time!), reshape(narrow(w, 1, j, j + 1), [1, 1, channels!]));
    out = out ? add(out, term) : term;
  }
  return out!;
}
