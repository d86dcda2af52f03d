// Sparse long convolutions (Fu et al. 2023, "FlashFFTConv", section 3.3): filters cut to fewer taps, which slide over inputs of any
// length, and filters whose high frequencies are dropped.

import {
  ConfigError,
  ShapeError,
  add,
  cast,
  checkOptions,
  mul,
  narrow,
  pad,
  permute,
  reshape,
  show,
  unsqueeze,
  type Tensor,
} from "@everlong/core";
import { computeDtype, present } from "../inputs.ts";
import { lowFrequencyByWaves } from "../low-frequency-conv/decompose.ts";
import { lowFrequencyConvOp } from "../low-frequency-conv/op.ts";
import { fftConv, type FftConvGates } from "./fft-conv.ts";
import { axesOf, type Layout } from "./sequences.ts";

export interface SparseConvOptions extends FftConvGates {
  /** Order of axes: `[B, D, L]` with filters `[D, J]` (default), or `[B, L, D]` with filters `[J, D]`. */
  readonly layout?: Layout;
  /** `[D]`: weight of the input itself. */
  readonly skip?: Tensor;
}

export interface PartialConvOptions extends SparseConvOptions {
  /** Positions taken at a time, at least `taps`. Default: all at once up to 2^21, then half of that; 0: all at once. */
  readonly block?: number;
}

const OPTIONS = ["layout", "skip", "preGate", "postGate"];

/** Pads or narrows one axis. */
const fitAxis = (t: Tensor, axis: number, size: number): Tensor => {
  const have = t.shape[axis]!;
  if (have >= size) return narrow(t, axis, 0, size);
  return pad(
    t,
    t.shape.map((_, i) => (i === axis ? [0, size - have] : [0, 0])),
  );
};

/** Beyond this length inputs are taken in blocks, which no transform's length limits. Shorter ones are faster at once (measured). */
const AT_ONCE = 2 ** 21;
const blockFor = (length: number, taps: number): number =>
  length <= AT_ONCE || taps > AT_ONCE / 4 ? 0 : AT_ONCE / 2;

/**
 * Causal convolution with the first `taps` taps of the filters: a partial convolution. A model trained with filters of `taps`
 * slides over longer inputs by it; no work or memory depends on what was cut.
 * @param u `[B, D, L]`, or `[B, L, D]`; any L
 * @param k `[D, J]`, or `[J, D]`
 */
export function partialConv(u: Tensor, k: Tensor, taps: number, options: PartialConvOptions = {}): Tensor {
  checkOptions("partialConv", options, [...OPTIONS, "block"]);
  const { layout = "bdl", skip, preGate, postGate } = options;
  if (!Number.isInteger(taps) || taps < 1)
    throw new ConfigError("partialConv", "taps must be a positive integer", { got: `${taps}` });
  const { time, channel } = axesOf(layout);
  const length = u.shape[time]!;
  const kept = Math.min(taps, k.shape[time - 1]!, length);
  const filter = narrow(k, time - 1, 0, kept);
  const block = options.block ?? blockFor(length, kept);
  if (block === 0 || block >= length)
    return fftConv(u, filter, {
      layout,
      ...(skip ? { skip } : {}),
      ...(preGate ? { preGate } : {}),
      ...(postGate ? { postGate } : {}),
    });
  if (!Number.isInteger(block) || block < kept)
    throw new ConfigError("partialConv", "a block must hold the filter", {
      expected: `an integer of at least ${kept}`,
      got: `${block}`,
    });
  const [batch, channels] = [u.shape[0]!, u.shape[channel]!];
  const count = Math.ceil(length / block);
  const x = fitAxis(preGate ? mul(u, preGate) : u, time, count * block);
  const rows =
    layout === "bld"
      ? reshape(x, [batch * count, block, channels])
      : reshape(permute(reshape(x, [batch, channels, count, block]), [0, 2, 1, 3]), [
          batch * count,
          channels,
          block,
        ]);
  const wide = fftConv(fitAxis(rows, time, block + kept - 1), filter, { layout, ...(skip ? { skip } : {}) });
  const y = overlapped(wide, { batch, count, block, time });
  const joined =
    layout === "bld"
      ? reshape(y, [batch, count * block, channels])
      : reshape(permute(y, [0, 2, 1, 3]), [batch, channels, count * block]);
  const out = narrow(joined, time, 0, length);
  return postGate ? mul(out, postGate) : out;
}

/** Blocks `[B n, .., block + tail, ..]`, every tail added to the front of the block that follows: `[B, n, .., block, ..]`. */
function overlapped(
  wide: Tensor,
  { batch, count, block, time }: { batch: number; count: number; block: number; time: number },
): Tensor {
  const split = reshape(wide, [batch, count, ...wide.shape.slice(1)]);
  const axis = time + 1;
  const front = narrow(split, axis, 0, block);
  const tail = split.shape[axis]! - block;
  if (tail === 0) return front;
  const tails = narrow(narrow(split, axis, block, block + tail), 1, 0, count - 1);
  const moved = pad(
    tails,
    tails.shape.map((_, i) => (i === 1 ? [1, 0] : i === axis ? [0, block - tail] : [0, 0])),
  );
  return add(front, moved);
}

/**
 * Convolution with filters of which the lowest `bins` of the L + 1 frequencies of 2L points are kept. Such filters reach into the
 * future: the result is two-sided (`y = irfft(rfft(u) rfft(k) [bin < bins])`, 2L points, the first L). Taps from 2L on have no effect.
 * @param u `[B, D, L]`, or `[B, L, D]`
 * @param k `[D, J]`, or `[J, D]`
 */
export function lowFrequencyConv(
  u: Tensor,
  k: Tensor,
  bins: number,
  options: SparseConvOptions = {},
): Tensor {
  checkOptions("lowFrequencyConv", options, OPTIONS);
  const { layout = "bdl", skip, preGate, postGate } = options;
  const { time } = axesOf(layout);
  if (!Number.isInteger(bins) || bins < 1)
    throw new ConfigError("lowFrequencyConv", "bins must be a positive integer", { got: `${bins}` });
  if (u.rank !== 3 || k.rank !== 2)
    throw new ShapeError("lowFrequencyConv", "wrong ranks", {
      expected: layout === "bdl" ? "u [B, D, L] and k [D, J]" : "u [B, L, D] and k [J, D]",
      got: `${show(u.shape)} and ${show(k.shape)}`,
    });
  const length = u.shape[time]!;
  const sums = computeDtype([u, k, skip, preGate, postGate]);
  const wide = (t: Tensor | undefined): Tensor | undefined => t && cast(t, sums);
  const taps = Math.min(k.shape[time - 1]!, 2 * length);
  const x = wide(u)!;
  const { names, tensors } = present({
    u: x,
    k: wide(narrow(k, time - 1, 0, taps)),
    preGate: wide(preGate),
    postGate: skip ? undefined : wide(postGate),
  });
  const params = { layout, bins: Math.min(bins, length + 1), adjoint: false, inputs: names };
  // kernels are for fewer than all frequencies and filters no longer than the sequence
  const special = bins > length || taps > length;
  const y = (special ? lowFrequencyByWaves : lowFrequencyConvOp)(tensors, params)[0]!;
  if (!skip) return cast(y, u.dtype);
  const z = preGate ? mul(x, wide(preGate)!) : x;
  const weights = layout === "bdl" ? unsqueeze(wide(skip)!, -1) : wide(skip)!;
  const all = add(y, mul(z, weights));
  return cast(postGate ? mul(all, wide(postGate)!) : all, u.dtype);
}
