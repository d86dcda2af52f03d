// Convolution with filters of which only low frequencies are kept. Bilinear and its own gradient: with respect to the sequence it is
// transposed, with respect to the filter the sequence and the cotangent take the places of filter and sequence.

import {
  ConfigError,
  ShapeError,
  defineOp,
  mul,
  narrow,
  reshape,
  show,
  sum,
  transpose,
  type Op,
  type Tensor,
} from "@everlong/core";
import { foldIntoBatch } from "../batch-rows.ts";
import { axesOf, checkSequences, convolutionCost, type Layout } from "../fft-conv/sequences.ts";
import { inOrder, named, need, present, wideDtype, widened } from "../inputs.ts";
import { lowFrequencyByWaves } from "./decompose.ts";
import { lowFrequencyConvReference } from "./reference.ts";

export type LowFrequencyConvInput = "u" | "k" | "preGate" | "postGate";
export interface LowFrequencyConvParams {
  readonly layout: Layout;
  /** How many of the L + 1 frequencies of 2 L points are kept, from 0 on: 1 .. L. */
  readonly bins: number;
  /** The transposed operator: lags change their sign. */
  readonly adjoint: boolean;
  readonly inputs: readonly LowFrequencyConvInput[];
}

/**
 * `(u, k, preGate?, postGate?) -> y` with `u [B, D, L]`, `k [D, J]` (or `[B, L, D]`, `[J, D]`), J at most L:
 * `y = postGate irfft(rfft(preGate u, 2L) rfft(k, 2L) [bin < bins])`, the first L points.
 */
export const lowFrequencyConvOp: Op<LowFrequencyConvParams> = defineOp<LowFrequencyConvParams>({
  name: "low-frequency-conv",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    const { time, channel } = axesOf(params.layout);
    const u = types.u!;
    const taps = types.k!.shape[time - 1] ?? 0;
    checkSequences("low-frequency-conv", { ...params, circular: false, origin: 0 }, types, taps);
    const shape = params.layout === "bdl" ? [u.shape[channel]!, taps] : [taps, u.shape[channel]!];
    const letters = params.layout === "bdl" ? "[D, J]" : "[J, D]";
    need("low-frequency-conv", "k", types.k!, shape, letters, wideDtype(u.dtype));
    const length = u.shape[time]!;
    if (!Number.isInteger(params.bins) || params.bins < 1 || params.bins > length)
      throw new ConfigError("low-frequency-conv", "no such number of frequencies", {
        expected: `an integer from 1 to ${length}`,
        got: `${params.bins}`,
      });
    if (taps > length)
      throw new ShapeError("low-frequency-conv", "the filter is longer than the sequence", {
        expected: `at most ${length} taps`,
        got: show(types.k!.shape),
      });
    return [u];
  },
  reference: lowFrequencyConvReference,
  decompose: lowFrequencyByWaves,
  vjp: ({ inputs, params, cotangents, needed }) => {
    const dy = cotangents[0]!;
    const { u, k, preGate, postGate } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const out: { [K in LowFrequencyConvInput]?: Tensor } = {};
    if (want.u || want.preGate) {
      const gate = want.preGate ? undefined : preGate;
      const dz = call(
        { u: dy, k, preGate: postGate, postGate: gate },
        { ...params, adjoint: !params.adjoint },
      );
      if (want.preGate) out.preGate = mul(dz, u!);
      if (want.u) out.u = want.preGate && preGate ? mul(dz, preGate) : dz;
    }
    if (want.k) {
      const z = preGate ? mul(u!, preGate) : u!;
      const dc = postGate ? mul(dy, postGate) : dy;
      out.k = filterGradient(params.adjoint ? z : dc, params.adjoint ? dc : z, k!, params);
    }
    if (want.postGate) out.postGate = mul(dy, call({ u, k, preGate, postGate: undefined }, params));
    return inOrder(params.inputs, out);
  },
  batch: (context) =>
    foldIntoBatch(
      context,
      context.params.inputs.map((name) => name === "k"),
    ),
  cost: (inputs, outputs, params) => {
    const u = named(params.inputs, inputs).u!;
    const share = Math.min(1, (1.5 * params.bins) / u.shape[axesOf(params.layout).time]!);
    const dense = convolutionCost(u, params.layout, 3, [...inputs, ...outputs]);
    return { flops: share * dense.flops + 36 * u.shape.reduce((a, b) => a * b, 1), bytes: dense.bytes };
  },
});

/** Sum over the batch of `x` correlated with `filters`, sequences both: every row is a channel of its own. */
function filterGradient(
  x: Tensor,
  filters: Tensor,
  k: Tensor,
  { layout, bins }: LowFrequencyConvParams,
): Tensor {
  const rowsOf = (t: Tensor): Tensor => (layout === "bdl" ? t : transpose(t));
  const [batch, channels, length] = rowsOf(x).shape as [number, number, number];
  const all = reshape(rowsOf(x), [1, batch * channels, length]);
  const each = widened(reshape(rowsOf(filters), [batch * channels, length]));
  const lags = call(
    { u: all, k: each, preGate: undefined, postGate: undefined },
    { layout: "bdl", bins, adjoint: true },
  );
  const total = sum(widened(reshape(lags, [batch, channels, length])), 0);
  const taps = k.shape[layout === "bdl" ? 1 : 0]!;
  const kept = narrow(total, 1, 0, taps);
  return layout === "bdl" ? kept : transpose(kept);
}

const call = (
  tensors: { readonly [K in LowFrequencyConvInput]: Tensor | undefined },
  { layout, bins, adjoint }: Omit<LowFrequencyConvParams, "inputs">,
): Tensor => {
  const { names, tensors: list } = present(tensors);
  return lowFrequencyConvOp(list, { layout, bins, adjoint, inputs: names })[0]!;
};
