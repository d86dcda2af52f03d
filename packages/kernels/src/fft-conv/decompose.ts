// The long convolution out of the FFT primitive, for devices without a kernel. Zero padding to the next length without
// large prime factors keeps linear convolutions free of wrap-around.

import {
  Complex,
  add,
  cast,
  fft,
  ifft,
  mul,
  narrow,
  pad,
  sum,
  transpose,
  unsqueeze,
  zerosLike,
  type Tensor,
} from "@everlong/core";
import { named, present, widened } from "../inputs.ts";
import type { FftConvCachedParams, FftConvSpectrumParams } from "./cached-op.ts";
import type { FftConvGradParams, FftConvParams } from "./op.ts";
import { plainSpectrum, rowsOfPlain, spectrumShape } from "./plain-spectrum.ts";

/** The smallest 2^a 3^b 5^c that is at least n. */
export function smoothLength(n: number): number {
  let best = 2 ** Math.ceil(Math.log2(Math.max(1, n)));
  for (let five = 1; five < best; five *= 5) {
    for (let three = five; three < best; three *= 3) {
      const rest = 2 ** Math.max(0, Math.ceil(Math.log2(n / three)));
      if (three * rest < best) best = three * rest;
    }
  }
  return best;
}

const transformed = (x: Tensor, n: number): Complex => fft(new Complex(x, zerosLike(x)), { n });

/** Moves tap `origin` to index 0 of a period of n: lag 0 first, negative lags at the end. */
function periodic(k: Tensor, origin: number, n: number): Tensor {
  const taps = k.shape[k.rank - 1]!;
  const ahead = narrow(k, -1, origin, taps);
  const wide = pad(ahead, [[0, n - (taps - origin)]]);
  return origin === 0 ? wide : add(wide, pad(narrow(k, -1, 0, origin), [[n - origin, 0]]));
}

export function fftConvByTransform(inputs: readonly Tensor[], params: FftConvParams): Tensor[] {
  const { u, k, skip, preGate, postGate } = named(params.inputs, inputs.map(widened));
  const toRows = (t: Tensor): Tensor => (params.layout === "bdl" ? t : transpose(t));
  const z = toRows(preGate ? mul(u!, preGate) : u!);
  const filter = toRows(k!);
  const length = z.shape[2]!;
  const taps = filter.shape[1]!;
  // Room for the longest lag on either side.
  const n = params.circular
    ? length
    : smoothLength(length + Math.max(taps - 1 - params.origin, params.origin));
  const spectrumK = transformed(periodic(filter, params.origin, n), n);
  const product = transformed(z, n).mul(params.adjoint ? spectrumK.conj() : spectrumK);
  let y = narrow(ifft(product).re, -1, 0, length);
  if (skip) y = add(y, mul(z, unsqueeze(skip, -1)));
  y = toRows(y);
  return [cast(postGate ? mul(y, postGate) : y, inputs[params.inputs.indexOf("u")]!.dtype)];
}

export function filterGradByTransform(inputs: readonly Tensor[], params: FftConvGradParams): Tensor[] {
  const { u, dy, preGate, postGate } = named(params.inputs, inputs.map(widened));
  const toRows = (t: Tensor): Tensor => (params.layout === "bdl" ? t : transpose(t));
  const z = toRows(preGate ? mul(u!, preGate) : u!);
  const dc = toRows(postGate ? mul(dy!, postGate) : dy!);
  const length = z.shape[2]!;
  const { origin, taps } = params;
  const n = params.circular ? length : smoothLength(length + Math.max(taps - 1 - origin, origin));
  const spectra = transformed(dc, n).mul(transformed(z, n).conj());
  const lags = ifft(spectra.map((t) => sum(t, 0))).re;
  // Index j - origin modulo n.
  const ahead = narrow(lags, -1, 0, taps - origin);
  if (origin === 0) return [toRows(ahead)];
  return [toRows(joinLags(narrow(lags, -1, n - origin, n), ahead))];
}

const joinLags = (behind: Tensor, ahead: Tensor): Tensor => {
  const [p, q] = [behind.shape[1]!, ahead.shape[1]!];
  return add(pad(behind, [[0, q]]), pad(ahead, [[p, 0]]));
};

/** The plain form: taps as they are, skip weights added to those at lag 0. */
export function spectrumByMoves(inputs: readonly Tensor[], params: FftConvSpectrumParams): Tensor[] {
  const { k, skip } = named(params.inputs, inputs);
  let rows = params.layout === "bdl" ? k! : transpose(k!);
  const [channels, taps] = rows.shape as [number, number];
  if (skip)
    rows = add(
      rows,
      pad(unsqueeze(skip, -1), [
        [0, 0],
        [params.origin, taps - 1 - params.origin],
      ]),
    );
  return [plainSpectrum(rows, spectrumShape(channels, params.length, params.half)[0])];
}

export function cachedByTransform(inputs: readonly Tensor[], params: FftConvCachedParams): Tensor[] {
  const { layout, taps } = params;
  const { u, spectrum, preGate, postGate } = named(params.inputs, inputs);
  const rows = rowsOfPlain(spectrum!, u!.shape[layout === "bdl" ? 1 : 2]!, taps);
  const { names, tensors } = present({ u, k: layout === "bdl" ? rows : transpose(rows), preGate, postGate });
  return fftConvByTransform(tensors, { ...params, inputs: names });
}
