// The form of a kept filter where a device has no kernel for it, and of its cotangent everywhere: the taps themselves.

import { narrow, pad, reshape, type Tensor } from "@everlong/core";

/** Floats in front, for a device to say what it put there. */
export const SPECTRUM_HEADER = 16;
/** Channels are rounded up to a multiple of this. */
const CHANNELS = 8;
const SHORTEST = 16;
/** Shortest transform of half-precision kernels. */
const SHORTEST_HALF = 1024;

/**
 * Shape of the kept spectra of `channels` filters for sequences of `length`: a header and, for every channel (rounded up to
 * a multiple of 8), the complex points of a transform of the next power of two, at least 16 (1024 for halves).
 */
export function spectrumShape(channels: number, length: number, half = false): [number] {
  const points = Math.max(half ? SHORTEST_HALF : SHORTEST, 2 ** Math.ceil(Math.log2(length)));
  return [SPECTRUM_HEADER + CHANNELS * Math.ceil(channels / CHANNELS) * 2 * points];
}

/** Taps `[D, J]` behind a header of zeros and before further ones. */
export function plainSpectrum(rows: Tensor, size: number): Tensor {
  const taps = reshape(rows, [-1]);
  return pad(taps, [[SPECTRUM_HEADER, size - SPECTRUM_HEADER - taps.shape[0]!]]);
}

/** The taps `[D, J]` in a plain spectrum. */
export const rowsOfPlain = (spectrum: Tensor, channels: number, taps: number): Tensor =>
  reshape(narrow(spectrum, 0, SPECTRUM_HEADER, SPECTRUM_HEADER + channels * taps), [channels, taps]);
