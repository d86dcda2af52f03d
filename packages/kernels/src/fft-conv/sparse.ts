// Sparse long convolutions (Fu et al. 2023, "FlashFFTConv", section 3.3): filters cut to fewer taps, which slide over inputs of any
// length, and filters whose high frequencies are dropped.

import {
  ConfigError,
  ShapeError,
  add,
  broadcastTo,
  checkOptions,
  mul,
  narrow,
  pad,
  permute,
  reshape,
  show,
  squeeze,
  tensor,
  unsqueeze,
  type Tensor,
} from "@everlong/core";
import { computeDtype } from "../inputs.ts";
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

/** `1/n sum over |b| <= last of exp(2 pi i b t / n)`, a Dirichlet kernel. */
function sumOfWaves(n: number, last: number): Float64Array {
  return Float64Array.from({ length: n }, (_, t) =>
    t === 0
      ? (2 * last + 1) / n
      : Math.sin(((2 * last + 1) * Math.PI * t) / n) / (n * Math.sin((Math.PI * t) / n)),
  );
}

/**
 * Convolution with filters of which the lowest `bins` of the L + 1 frequencies of 2L points are kept. Such filters reach into the
 * future: the result is two-sided (`y = irfft(rfft(u) rfft(k) [bin < bins])`, 2L points, the first L).
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
  const { layout = "bdl" } = options;
  const { time } = axesOf(layout);
  const length = u.shape[time]!;
  if (!Number.isInteger(bins) || bins < 1)
    throw new ConfigError("lowFrequencyConv", "bins must be a positive integer", { got: `${bins}` });
  if (k.rank !== 2)
    throw new ShapeError("lowFrequencyConv", "wrong filters", {
      expected: "[D, J] or [J, D]",
      got: show(k.shape),
    });
  // the filters alone are filtered, once for the whole batch: circularly, by the sum of the kept waves
  const rows = layout === "bdl" ? k : permute(k, [1, 0]);
  const n = 2 * length;
  const [channels, taps] = rows.shape as [number, number];
  const wide = fitAxis(narrow(rows, 1, 0, Math.min(taps, n)), 1, n);
  const waves = tensor(sumOfWaves(n, bins - 1), [1, n], { dtype: computeDtype([k]), device: k.device });
  const period =
    bins > length
      ? wide
      : squeeze(fftConv(unsqueeze(wide, 0), broadcastTo(waves, [channels, n]), { mode: "circular" }), 0);
  const turn = (t: Tensor): Tensor => (layout === "bdl" ? t : permute(t, [1, 0]));
  const ahead = turn(narrow(period, 1, 0, length));
  if (length === 1) return fftConv(u, ahead, options);
  const behind = turn(narrow(period, 1, length + 1, n).flip(1));
  return fftConv(u, ahead, { ...options, mode: "two-sided", backward: behind, firstBackwardLag: -1 });
}
