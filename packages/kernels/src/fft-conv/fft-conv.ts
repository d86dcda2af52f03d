// The long convolution as users call it: modes, lags and dtypes become the ops' parameters.

import {
  ConfigError,
  ShapeError,
  Tensor,
  add,
  cast,
  checkOptions,
  concat,
  flip,
  narrow,
  pad,
  show,
  zeros,
  type DType,
} from "@everlong/core";
import { computeDtype, inOneDtype, isHalf, needFloat, present } from "../inputs.ts";
import { fftConvCachedOp, fftConvSpectrumOp } from "./cached-op.ts";
import { fftConvOp } from "./op.ts";
import { axesOf, type Layout } from "./sequences.ts";

/** How filters act and how axes are ordered. */
export interface FftConvFilterOptions {
  /**
   * - `causal`: tap j at lag j (default).
   * - `circular`: the same, indices modulo L; taps beyond L wrap around.
   * - `two-sided`: `k` at lags 0, 1, ... and `backward` at `firstBackwardLag`, one further back each.
   */
  readonly mode?: "causal" | "circular" | "two-sided";
  /** Taps that act on the future, of the filter's layout. Required by, and only for, `two-sided`. */
  readonly backward?: Tensor;
  /**
   * Where tap 0 of `backward` acts: at lag 0 too, as in Hyena's filter with a reverse kernel, or at lag -1, as in S4ND,
   * long convolutions and M2. Required by `two-sided`: the two differ and neither is the obvious one.
   */
  readonly firstBackwardLag?: 0 | -1;
  /** Default `bdl`. */
  readonly layout?: Layout;
  /** `[D]`: weight of the input itself, added to lag 0. */
  readonly skip?: Tensor;
}

export interface FftConvCacheOptions extends FftConvFilterOptions {
  /** Dtype of the sequences; spectra for halves serve f16 and bf16. Default: that of k. */
  readonly dtype?: DType;
}

export interface FftConvGates {
  /** Multiplies the input, shape of `u`. */
  readonly preGate?: Tensor;
  /** Multiplies the output, shape of `u`. */
  readonly postGate?: Tensor;
}

export interface FftConvOptions extends FftConvFilterOptions, FftConvGates {}

/** Filters made ready for many convolutions by {@link fftConvFilter}. */
export interface FftConvFilter {
  /** Opaque; belongs to the device it was made on. */
  readonly spectrum: Tensor;
  readonly channels: number;
  /** Length L of the sequences. */
  readonly length: number;
  readonly taps: number;
  readonly origin: number;
  readonly circular: boolean;
  readonly layout: Layout;
  /** Whether it is for f16 or bf16 sequences. */
  readonly half: boolean;
}

const FILTER_OPTIONS = ["mode", "backward", "firstBackwardLag", "layout", "skip"];
const GATES = ["preGate", "postGate"];

/**
 * Depthwise convolution over time with filters as long as the sequence:
 * `y = postGate * (conv(preGate * u, k) + skip * preGate * u)`.
 *
 * @param u `[B, D, L]`, or `[B, L, D]` with layout `bld`; any length, of any float dtype.
 * @param k `[D, J]` (`[J, D]` with layout `bld`), any J: shorter filters are zero beyond, taps that reach no input have
 *   no effect (circular: they wrap around). Or a filter made ready by {@link fftConvFilter}: only gates are options then.
 * @returns the shape and dtype of `u`. Half-precision sequences are computed in f32 and rounded once, or on tensor cores in scaled f16
 *   (relative error about 1e-3); filters and skips then count as f32.
 * @throws ShapeError, DTypeError, ConfigError
 */
export function fftConv(u: Tensor, k: Tensor, options?: FftConvOptions): Tensor;
export function fftConv(u: Tensor, k: FftConvFilter, options?: FftConvGates): Tensor;
export function fftConv(u: Tensor, k: Tensor | FftConvFilter, options: FftConvOptions = {}): Tensor {
  needTensor("fftConv", "u", u);
  // Sums of integers would be cut off on their way back.
  needFloat("fftConv", "u", u);
  if (!(k instanceof Tensor)) return withFilter(u, k, options);
  checkOptions("fftConv", options, [...FILTER_OPTIONS, ...GATES]);
  const layout = layoutOf("fftConv", options);
  if (u.rank !== 3 || k.rank !== 2)
    throw wrongRanks("fftConv", layout, `${show(u.shape)} and ${show(k.shape)}`);
  const { skip, preGate, postGate, backward } = options;
  const dtype = computeDtype([u, k, backward, skip, preGate, postGate]);
  const length = u.shape[axesOf(layout).time]!;
  const { filter, origin } = lagFilter("fftConv", cast(k, dtype), options, length);
  const stored = storedDtype(dtype, [u, preGate, postGate]);
  const { names, tensors } = present({
    u: cast(u, stored),
    k: filter,
    skip: skip && cast(skip, dtype),
    preGate: preGate && cast(preGate, stored),
    postGate: postGate && cast(postGate, stored),
  });
  const params = { layout, circular: options.mode === "circular", origin, adjoint: false, inputs: names };
  return cast(fftConvOp(tensors, params)[0]!, u.dtype);
}

/** Sequences stay in half precision where all of them are; otherwise they have the dtype of the sums. */
const storedDtype = (sums: DType, sequences: readonly (Tensor | undefined)[]): DType => {
  const { dtype } = sequences[0]!;
  const alike = sequences.every((t) => !t || t.dtype === dtype);
  return sums === "f32" && alike ? dtype : sums;
};

/**
 * Makes filters ready for many convolutions of sequences of one length: what `fftConv` does with `k` and `skip` is done
 * once. For filters that stay (inference); training is faster without. The result belongs to its device, and on the CPU to the
 * width of its vectors (`cpu.enableWide` comes before). Gradients reach `k` and `skip` as ever.
 *
 * @param k `[D, J]` (`[J, D]` with layout `bld`), as in {@link fftConv}.
 * @param length L of the sequences.
 * @example
 * const filter = fftConvFilter(k, 1024, { skip });
 * const y = fftConv(u, filter, { postGate });
 */
export function fftConvFilter(k: Tensor, length: number, options: FftConvCacheOptions = {}): FftConvFilter {
  needTensor("fftConvFilter", "k", k);
  checkOptions("fftConvFilter", options, [...FILTER_OPTIONS, "dtype"]);
  const layout = layoutOf("fftConvFilter", options);
  if (k.rank !== 2) throw wrongRanks("fftConvFilter", layout, show(k.shape));
  if (!Number.isInteger(length) || length < 1) {
    throw new ShapeError("fftConvFilter", "bad length", { expected: "an integer from 1", got: `${length}` });
  }
  const { skip, backward } = options;
  const { filter, origin } = lagFilter(
    "fftConvFilter",
    cast(k, computeDtype([k, backward, skip])),
    options,
    length,
  );
  const { names, tensors } = inOneDtype({ k: filter, skip });
  const circular = options.mode === "circular";
  const half = isHalf(options.dtype ?? k.dtype);
  const [spectrum] = fftConvSpectrumOp(tensors, { layout, circular, origin, length, half, inputs: names });
  const { time, channel } = axesOf(layout);
  const [channels, taps] = [filter.shape[channel - 1]!, filter.shape[time - 1]!];
  return { spectrum: spectrum!, channels, length, taps, origin, circular, layout, half };
}

const kindOf = (x: unknown): string => (Array.isArray(x) ? "array" : x === null ? "null" : typeof x);

function needTensor(op: string, name: string, x: unknown): void {
  if (x instanceof Tensor) return;
  throw new ConfigError(op, `${name} is no tensor`, { expected: "a tensor", got: kindOf(x) });
}

function withFilter(u: Tensor, filter: FftConvFilter, options: FftConvGates): Tensor {
  if (!((filter as FftConvFilter | undefined)?.spectrum instanceof Tensor)) {
    throw new ConfigError("fftConv", "k is no filter", {
      expected: "a tensor, or what fftConvFilter gives",
      got: kindOf(filter),
    });
  }
  checkOptions("fftConv", options, GATES);
  const { spectrum, channels, length, taps, origin, circular, layout, half } = filter;
  const want = layout === "bdl" ? [channels, length] : [length, channels];
  if (u.rank !== 3 || u.shape[1] !== want[0] || u.shape[2] !== want[1]) {
    throw new ShapeError("fftConv", "the filter was made for other sequences", {
      expected: `u [B, ${want.join(", ")}]`,
      got: show(u.shape),
    });
  }
  const { preGate, postGate } = options;
  const dtype = computeDtype([u, spectrum, preGate, postGate]);
  const stored = half ? storedDtype(dtype, [u, preGate, postGate]) : dtype;
  if (half && !isHalf(stored)) {
    throw new ConfigError("fftConv", "the filter was made for half precision", {
      expected: "u and gates all f16 or all bf16",
      got: [u, preGate, postGate].flatMap((t) => (t ? [t.dtype] : [])).join(", "),
      hint: "Make it with dtype: u.dtype.",
    });
  }
  const { names, tensors } = present({
    u: cast(u, stored),
    spectrum: cast(spectrum, dtype),
    preGate: preGate && cast(preGate, stored),
    postGate: postGate && cast(postGate, stored),
  });
  const params = { layout, circular, origin, taps, adjoint: false, inputs: names };
  return cast(fftConvCachedOp(tensors, params)[0]!, u.dtype);
}

function layoutOf(op: string, { layout = "bdl" }: FftConvFilterOptions): Layout {
  if (layout === "bdl" || layout === "bld") return layout;
  throw new ConfigError(op, "unknown layout", { expected: '"bdl" or "bld"', got: String(layout) });
}

const wrongRanks = (op: string, layout: Layout, got: string): ShapeError =>
  new ShapeError(op, "wrong ranks", {
    expected: layout === "bdl" ? "u [B, D, L] and k [D, J]" : "u [B, L, D] and k [J, D]",
    got,
  });

/** One filter over all lags that reach an input, and the tap at lag 0. */
function lagFilter(
  op: string,
  k: Tensor,
  options: FftConvFilterOptions,
  length: number,
): { filter: Tensor; origin: number } {
  const { mode = "causal", layout = "bdl", backward, firstBackwardLag } = options;
  const axis = axesOf(layout).time - 1;
  if (mode !== "two-sided" && (backward || firstBackwardLag !== undefined)) {
    throw new ConfigError(op, "a backward filter needs the two-sided mode", { got: `mode "${mode}"` });
  }
  const taps = k.shape[axis]!;
  if (mode === "causal") return { filter: taps > length ? narrow(k, axis, 0, length) : k, origin: 0 };
  if (mode === "circular") return { filter: taps > length ? wrap(k, axis, length) : k, origin: 0 };
  if (mode !== "two-sided") {
    throw new ConfigError(op, "unknown mode", {
      expected: "causal, circular or two-sided",
      got: `"${String(mode)}"`,
    });
  }
  if (!backward || (firstBackwardLag !== 0 && firstBackwardLag !== -1)) {
    throw new ConfigError(op, "the two-sided mode needs `backward` and `firstBackwardLag`", {
      expected: "firstBackwardLag 0 (Hyena) or -1 (S4ND, long convolutions)",
      got: `${backward ? "a filter" : "no filter"}, ${firstBackwardLag}`,
    });
  }
  const back = cast(backward, k.dtype);
  const reach = Math.min(back.shape[axis]!, firstBackwardLag === 0 ? length : length - 1);
  const behind = flip(narrow(back, axis, 0, reach), axis);
  const ahead = narrow(k, axis, 0, Math.min(taps, length));
  if (reach === 0) return { filter: ahead, origin: 0 };
  if (firstBackwardLag === -1) return { filter: concat([behind, ahead], axis), origin: reach };
  // Both have a tap at lag 0: they add up there.
  const widths = (before: number, after: number): [number, number][] =>
    axis === 0
      ? [
          [before, after],
          [0, 0],
        ]
      : [
          [0, 0],
          [before, after],
        ];
  const forward = pad(ahead, widths(reach - 1, 0));
  return { filter: add(forward, pad(behind, widths(0, ahead.shape[axis]! - 1))), origin: reach - 1 };
}

/** Adds taps beyond `length` to those they coincide with. */
function wrap(k: Tensor, axis: number, length: number): Tensor {
  const taps = k.shape[axis]!;
  let out = zeros(
    k.shape.map((n, i) => (i === axis ? length : n)),
    { dtype: k.dtype, device: k.device },
  );
  for (let from = 0; from < taps; from += length) {
    const part = narrow(k, axis, from, Math.min(from + length, taps));
    const lack = length - part.shape[axis]!;
    out = add(
      out,
      axis === 0
        ? pad(part, [
            [0, lack],
            [0, 0],
          ])
        : pad(part, [
            [0, 0],
            [0, lack],
          ]),
    );
  }
  return out;
}
