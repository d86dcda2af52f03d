// Long depthwise convolution with gates and a skip, and its gradient with respect to the filter. Both are linear in each
// of their inputs, and every gradient is one of the two again: they can be differentiated any number of times.

import {
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  concat,
  cast,
  defineOp,
  flip,
  mul,
  narrow,
  pad,
  show,
  sum,
  zeros,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { inOrder, named, need, needCompute, present, computeDtype, inOneDtype } from "../inputs.ts";
import { batchRule, foldSequences, unfoldFilters } from "./batch.ts";
import { fftConvByTransform, filterGradByTransform } from "./decompose.ts";
import { fftConvFilterGradReference, fftConvReference } from "./reference.ts";

/** Order of axes: `[B, D, L]` with filters `[D, J]`, or `[B, L, D]` with filters `[J, D]`. */
export type Layout = "bdl" | "bld";

export type FftConvInput = "u" | "k" | "skip" | "preGate" | "postGate";
export interface FftConvParams {
  readonly layout: Layout;
  /** Indices modulo L instead of zeros outside. */
  readonly circular: boolean;
  /** Which tap acts at lag 0; tap j acts at lag j - origin. Causal: 0. */
  readonly origin: number;
  /** The transposed operator: lags change their sign. */
  readonly adjoint: boolean;
  /** Names of the inputs, in order. */
  readonly inputs: readonly FftConvInput[];
}

export type FftConvGradInput = "u" | "dy" | "preGate" | "postGate";
export interface FftConvGradParams {
  readonly layout: Layout;
  readonly circular: boolean;
  readonly origin: number;
  /** Length J of the filter. */
  readonly taps: number;
  readonly inputs: readonly FftConvGradInput[];
}

const axesOf = (layout: Layout): { time: number; channel: number } =>
  layout === "bdl" ? { time: 2, channel: 1 } : { time: 1, channel: 2 };

function checkSequences(
  op: string,
  params: { readonly layout: Layout; readonly circular: boolean; readonly origin: number },
  types: Readonly<Record<string, TensorType | undefined>>,
  taps: number,
): void {
  const u = types["u"]!;
  const letters = params.layout === "bdl" ? "[B, D, L]" : "[B, L, D]";
  need(op, "u", u, [undefined, undefined, undefined], letters);
  const dtype = needCompute(op, "u", u);
  const length = u.shape[axesOf(params.layout).time]!;
  if (length === 0) throw new ShapeError(op, "sequences are empty", { got: show(u.shape) });
  for (const name of ["dy", "preGate", "postGate"]) {
    const t = types[name];
    if (t) need(op, name, t, u.shape, letters, dtype);
  }
  const skip = types["skip"];
  if (skip) need(op, "skip", skip, [u.shape[axesOf(params.layout).channel]], "[D]", dtype);
  const { origin } = params;
  const fits = params.circular
    ? origin === 0 && taps <= length
    : origin < length && taps - 1 - origin < length;
  if (taps < 1 || origin < 0 || origin >= taps || !fits) {
    throw new ShapeError(op, "the filter reaches beyond the sequence", {
      expected: params.circular ? `1..${length} taps` : `lags within ${1 - length}..${length - 1}`,
      got: `${taps} taps, lag 0 at tap ${origin}`,
    });
  }
}

// A transform-based count: two forward and one inverse real FFT of length 2L per row, and the pointwise work.
const transformFlops = (rows: number, length: number): number =>
  rows * length * (5 * Math.log2(2 * length) * 3 + 12);

const bytesOf = (types: readonly TensorType[]): number =>
  types.reduce((n, t) => n + t.shape.reduce((a, b) => a * b, 1) * (t.dtype === "f64" ? 8 : 4), 0);

export const fftConvOp: Op<FftConvParams> = defineOp<FftConvParams>({
  name: "fft-conv",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    const { time, channel } = axesOf(params.layout);
    const k = types.k!;
    need(
      "fft-conv",
      "k",
      k,
      [undefined, undefined],
      params.layout === "bdl" ? "[D, J]" : "[J, D]",
      types.u!.dtype,
    );
    checkSequences("fft-conv", params, types, k.shape[time - 1]!);
    const channels = types.u!.shape[channel]!;
    if (k.shape[channel - 1] !== channels) {
      throw new ShapeError("fft-conv", "u and k differ in channels", {
        expected: `${channels} filters`,
        got: `k ${show(k.shape)} in layout "${params.layout}"`,
      });
    }
    return [types.u!];
  },
  reference: fftConvReference,
  decompose: fftConvByTransform,
  vjp: ({ inputs, params, cotangents, needed }) => {
    const dy = cotangents[0]!;
    const { u, k, skip, preGate, postGate } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const out: { [K in FftConvInput]?: Tensor } = {};
    const { layout, circular, origin } = params;
    const shared = { layout, circular, origin };
    if (want.u || want.preGate) {
      // dz = adjoint of the convolution, applied to the gated cotangent; when only du is wanted the gate fuses too.
      const gate = want.preGate ? undefined : preGate;
      const dz = call(
        { u: dy, k, skip, preGate: postGate, postGate: gate },
        { ...shared, adjoint: !params.adjoint },
      );
      if (want.preGate) out.preGate = mul(dz, u!);
      if (want.u) out.u = want.preGate && preGate ? mul(dz, preGate) : dz;
    }
    if (want.k) {
      // The adjoint reads z[t + j - origin]: the roles of z and dc swap.
      const taps = k!.shape[axesOf(layout).time - 1]!;
      out.k = params.adjoint
        ? filterGrad({ u: dy, dy: u, preGate: postGate, postGate: preGate }, { ...shared, taps })
        : filterGrad({ u, dy, preGate, postGate }, { ...shared, taps });
    }
    if (want.skip) {
      const z = preGate ? mul(u!, preGate) : u!;
      const dc = postGate ? mul(dy, postGate) : dy;
      out.skip = sum(mul(z, dc), [0, axesOf(layout).time]);
    }
    if (want.postGate) {
      const c = call({ u, k, skip, preGate, postGate: undefined }, { ...shared, adjoint: params.adjoint });
      out.postGate = mul(dy, c);
    }
    return inOrder(params.inputs, out);
  },
  batch: (context) => batchRule(context, ["k", "skip"], context.params.layout),
  cost: (inputs, outputs, params) => {
    const { u } = named(params.inputs, inputs);
    const { time } = axesOf(params.layout);
    const length = u!.shape[time]!;
    const rows = (u!.shape[0]! * u!.shape[1]! * u!.shape[2]!) / length;
    return { flops: transformFlops(rows, length), bytes: bytesOf([...inputs, ...outputs]) };
  },
});

export const fftConvFilterGradOp: Op<FftConvGradParams> = defineOp<FftConvGradParams>({
  name: "fft-conv-filter-grad",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    checkSequences("fft-conv-filter-grad", params, types, params.taps);
    const channels = types.u!.shape[axesOf(params.layout).channel]!;
    const shape = params.layout === "bdl" ? [channels, params.taps] : [params.taps, channels];
    return [{ shape, dtype: types.u!.dtype }];
  },
  reference: fftConvFilterGradReference,
  decompose: filterGradByTransform,
  vjp: ({ inputs, params, cotangents, needed }) => {
    // dk[j] = sum dc[t] z[t - j + origin]: bilinear, so its gradients are convolutions with the cotangent as filter.
    const g = cotangents[0]!;
    const { u, dy, preGate, postGate } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const { layout, circular, origin } = params;
    const shared = { layout, circular, origin };
    const out: { [K in FftConvGradInput]?: Tensor } = {};
    const side = (
      name: "u" | "dy",
      gateName: "preGate" | "postGate",
      x: Tensor,
      gate: Tensor | undefined,
      other: Tensor,
      otherGate: Tensor | undefined,
      adjoint: boolean,
    ): void => {
      if (!want[name] && !want[gateName]) return;
      const fused = want[gateName] ? undefined : gate;
      const dz = call(
        { u: other, k: g, skip: undefined, preGate: otherGate, postGate: fused },
        { ...shared, adjoint },
      );
      if (want[gateName]) out[gateName] = mul(dz, x);
      if (want[name]) out[name] = want[gateName] && gate ? mul(dz, gate) : dz;
    };
    side("dy", "postGate", dy!, postGate, u!, preGate, false);
    side("u", "preGate", u!, preGate, dy!, postGate, true);
    return inOrder(params.inputs, out);
  },
  batch: (context) => {
    // Every mapped example has its own filter: the new axis becomes channels.
    const { inputs, mapped, size, params } = context;
    const folded = inputs.map((t, i) => foldSequences(t, mapped[i]!, size, params.layout));
    const [dk] = context.apply(folded);
    return [unfoldFilters(dk!, size, params.layout)];
  },
  cost: (inputs, outputs, params) => {
    const { u } = named(params.inputs, inputs);
    const length = u!.shape[axesOf(params.layout).time]!;
    const rows = (u!.shape[0]! * u!.shape[1]! * u!.shape[2]!) / length;
    return { flops: transformFlops(rows, length), bytes: bytesOf([...inputs, ...outputs]) };
  },
});

const call = (
  tensors: { readonly [K in FftConvInput]: Tensor | undefined },
  params: Omit<FftConvParams, "inputs">,
): Tensor => {
  const { names, tensors: list } = present(tensors);
  return fftConvOp(list, { ...params, inputs: names })[0]!;
};

const filterGrad = (
  tensors: { readonly [K in FftConvGradInput]: Tensor | undefined },
  params: Omit<FftConvGradParams, "inputs">,
): Tensor => {
  const { names, tensors: list } = present(tensors);
  return fftConvFilterGradOp(list, { ...params, inputs: names })[0]!;
};

export interface FftConvOptions {
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
  /** Multiplies the input, shape of `u`. */
  readonly preGate?: Tensor;
  /** Multiplies the output, shape of `u`. */
  readonly postGate?: Tensor;
}

/**
 * Depthwise convolution over time with filters as long as the sequence:
 * `y = postGate * (conv(preGate * u, k) + skip * preGate * u)`.
 *
 * @param u `[B, D, L]`, or `[B, L, D]` with layout `bld`; any length.
 * @param k `[D, J]` (`[J, D]` with layout `bld`), any J: shorter filters are zero beyond, taps that reach no input have
 *   no effect (circular: they wrap around).
 * @returns the shape and dtype of `u`. Half precision is stored only: everything is computed in f32 and rounded once.
 * @throws ShapeError, DTypeError, ConfigError
 */
export function fftConv(u: Tensor, k: Tensor, options: FftConvOptions = {}): Tensor {
  const known = ["mode", "backward", "firstBackwardLag", "layout", "skip", "preGate", "postGate"];
  checkOptions("fftConv", options, known);
  const { mode = "causal", layout = "bdl" } = options;
  if (layout !== "bdl" && layout !== "bld") {
    throw new ConfigError("fftConv", "unknown layout", { expected: '"bdl" or "bld"', got: String(layout) });
  }
  if (u.rank !== 3 || k.rank !== 2) {
    throw new ShapeError("fftConv", "wrong ranks", {
      expected: layout === "bdl" ? "u [B, D, L] and k [D, J]" : "u [B, L, D] and k [J, D]",
      got: `${show(u.shape)} and ${show(k.shape)}`,
    });
  }
  const { time } = axesOf(layout);
  const length = u.shape[time]!;
  const { skip, preGate, postGate, backward } = options;
  const dtype = computeDtype([u, k, backward, skip, preGate, postGate]);
  const { filter, origin } = lagFilter(cast(k, dtype), options, mode, time - 1, length);
  const { names, tensors } = inOneDtype({ u, k: filter, skip, preGate, postGate });
  const params = { layout, circular: mode === "circular", origin, adjoint: false, inputs: names };
  return cast(fftConvOp(tensors, params)[0]!, u.dtype);
}

/** One filter over all lags that reach an input, and the tap at lag 0. */
function lagFilter(
  k: Tensor,
  options: FftConvOptions,
  mode: string,
  axis: number,
  length: number,
): { filter: Tensor; origin: number } {
  const { backward, firstBackwardLag } = options;
  if (mode !== "two-sided" && (backward || firstBackwardLag !== undefined)) {
    throw new ConfigError("fftConv", "a backward filter needs the two-sided mode", { got: `mode "${mode}"` });
  }
  const taps = k.shape[axis]!;
  if (mode === "causal") return { filter: taps > length ? narrow(k, axis, 0, length) : k, origin: 0 };
  if (mode === "circular") return { filter: taps > length ? wrap(k, axis, length) : k, origin: 0 };
  if (mode !== "two-sided") {
    throw new ConfigError("fftConv", "unknown mode", {
      expected: "causal, circular or two-sided",
      got: `"${mode}"`,
    });
  }
  if (!backward || (firstBackwardLag !== 0 && firstBackwardLag !== -1)) {
    throw new ConfigError("fftConv", "the two-sided mode needs `backward` and `firstBackwardLag`", {
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
