// The definition of the long convolution: direct sums in float64.

import type { HostArray } from "@everlong/core";
import { named, type Named } from "../inputs.ts";
import type { FftConvCachedParams, FftConvSpectrumParams } from "./cached-op.ts";
import type { FftConvBackwardParams, FftConvGradParams, FftConvInput, FftConvParams, Layout } from "./op.ts";
import { SPECTRUM_HEADER } from "./plain-spectrum.ts";

/** Sizes and element positions of the sequences `[B, D, L]` or `[B, L, D]`. */
export function sequenceIndex(
  layout: Layout,
  shape: readonly number[],
): { batch: number; channels: number; length: number; at: (b: number, d: number, t: number) => number } {
  const [batch, p, q] = shape as [number, number, number];
  const [channels, length] = layout === "bdl" ? [p, q] : [q, p];
  return {
    batch,
    channels,
    length,
    at:
      layout === "bdl"
        ? (b, d, t) => (b * channels + d) * length + t
        : (b, d, t) => (b * length + t) * channels + d,
  };
}

/** Element positions of the filters `[D, J]` or `[J, D]`. */
export const filterIndex =
  (layout: Layout, channels: number, taps: number): ((d: number, j: number) => number) =>
  (d, j) =>
    layout === "bdl" ? d * taps + j : j * channels + d;

/**
 * `y[t] = post[t] (sum_j k[j] z[t - j + origin] + skip z[t])` with `z = pre u`; circular: indices modulo L, else zeros
 * outside. Adjoint: `z[t + j - origin]`.
 */
export function fftConvReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: FftConvParams,
): void {
  const { u, k, skip, preGate, postGate } = named(params.inputs, inputs);
  const y = outputs[0]!.data;
  const { batch, channels, length, at } = sequenceIndex(params.layout, u!.shape);
  const taps = k!.shape[params.layout === "bdl" ? 1 : 0]!;
  const tap = filterIndex(params.layout, channels, taps);
  const direction = params.adjoint ? -1 : 1;
  const z = new Float64Array(length);
  for (let b = 0; b < batch; b++) {
    for (let d = 0; d < channels; d++) {
      for (let t = 0; t < length; t++) {
        z[t] = u!.data[at(b, d, t)]! * (preGate ? preGate.data[at(b, d, t)]! : 1);
      }
      for (let t = 0; t < length; t++) {
        let sum = skip ? skip.data[d]! * z[t]! : 0;
        for (let j = 0; j < taps; j++) {
          let s = t - direction * (j - params.origin);
          if (params.circular) s = ((s % length) + length) % length;
          if (s >= 0 && s < length) sum += k!.data[tap(d, j)]! * z[s]!;
        }
        y[at(b, d, t)] = postGate ? postGate.data[at(b, d, t)]! * sum : sum;
      }
    }
  }
}

/** `dk[j] = sum over b, t of (post dy)[t] (pre u)[t - j + origin]`. */
export function fftConvFilterGradReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: FftConvGradParams,
): void {
  const { u, dy, preGate, postGate } = named(params.inputs, inputs);
  const dk = outputs[0]!.data.fill(0);
  const { batch, channels, length, at } = sequenceIndex(params.layout, u!.shape);
  const tap = filterIndex(params.layout, channels, params.taps);
  for (let b = 0; b < batch; b++) {
    for (let d = 0; d < channels; d++) {
      for (let j = 0; j < params.taps; j++) {
        let sum = 0;
        for (let t = 0; t < length; t++) {
          let s = t - j + params.origin;
          if (params.circular) s = ((s % length) + length) % length;
          if (s < 0 || s >= length) continue;
          const p = at(b, d, t);
          const q = at(b, d, s);
          sum +=
            dy!.data[p]! *
            (postGate ? postGate.data[p]! : 1) *
            u!.data[q]! *
            (preGate ? preGate.data[q]! : 1);
        }
        dk[tap(d, j)]! += sum;
      }
    }
  }
}

/** Gradients by the two above; those of the gates are what they multiply, convolved, times the cotangent or the input. */
export function fftConvBackwardReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: FftConvBackwardParams,
): void {
  const { u, dy, k, skip, preGate, postGate } = named(params.inputs, inputs);
  const { adjoint, layout } = params;
  const convolve = (
    tensors: Named<FftConvInput, HostArray | undefined>,
    to: HostArray,
    transposed: boolean,
  ): void => {
    const given = Object.entries(tensors).filter((e): e is [FftConvInput, HostArray] => e[1] !== undefined);
    fftConvReference(
      given.map((e) => e[1]),
      [to],
      { ...params, adjoint: transposed, inputs: given.map((e) => e[0]) },
    );
  };
  params.wanted.forEach((name, i) => {
    const to = outputs[i]!;
    if (name === "u") convolve({ u: dy, k, skip, preGate: postGate, postGate: preGate }, to, !adjoint);
    if (name === "preGate") convolve({ u: dy, k, skip, preGate: postGate, postGate: u }, to, !adjoint);
    if (name === "postGate") convolve({ u, k, skip, preGate, postGate: dy }, to, adjoint);
    if (name === "k") {
      // The adjoint reads z[t + j - origin]: the roles of z and dc swap.
      const ordered = adjoint ? [dy, u, postGate, preGate] : [u, dy, preGate, postGate];
      const names = (["u", "dy", "preGate", "postGate"] as const).filter((_, n) => ordered[n]);
      const taps = k!.shape[layout === "bdl" ? 1 : 0]!;
      const given = ordered.filter((x): x is HostArray => x !== undefined);
      fftConvFilterGradReference(given, [to], { ...params, taps, inputs: names });
    }
  });
}

/** The taps `[D, J]` in plain form, skip weights added to those at lag 0. */
export function spectrumReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: FftConvSpectrumParams,
): void {
  const { k, skip } = named(params.inputs, inputs);
  const out = outputs[0]!.data.fill(0);
  const [channels, taps] = params.layout === "bdl" ? k!.shape : [k!.shape[1], k!.shape[0]];
  const tap = filterIndex(params.layout, channels!, taps!);
  for (let d = 0; d < channels!; d++) {
    const row = SPECTRUM_HEADER + d * taps!;
    for (let j = 0; j < taps!; j++) out[row + j] = k!.data[tap(d, j)]!;
    if (skip) out[row + params.origin]! += skip.data[d]!;
  }
}

/** {@link fftConvReference} with the taps of a plain spectrum. */
export function cachedReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  params: FftConvCachedParams,
): void {
  const { u, spectrum, preGate, postGate } = named(params.inputs, inputs);
  const { taps, layout } = params;
  const channels = u!.shape[layout === "bdl" ? 1 : 2]!;
  const rows = spectrum!.data.subarray(SPECTRUM_HEADER, SPECTRUM_HEADER + channels * taps);
  const k = {
    shape: layout === "bdl" ? [channels, taps] : [taps, channels],
    data: new Float64Array(rows.length),
  };
  const tap = filterIndex(layout, channels, taps);
  for (let d = 0; d < channels; d++) for (let j = 0; j < taps; j++) k.data[tap(d, j)] = rows[d * taps + j]!;
  const list = { u: u!, k, ...(preGate ? { preGate } : {}), ...(postGate ? { postGate } : {}) };
  const names = Object.keys(list) as FftConvInput[];
  fftConvReference(Object.values(list), outputs, { ...params, inputs: names });
}
