// Backward passes of half-precision convolutions on the tensor cores: plans, and those whose rows are too long for one pass (cuda-tensor-backward-pass.ts).

import type { CudaLowering, CudaStep, CudaTarget, CudaView, CudaWord } from "../cuda-step.ts";
import { sizesOf, type FilterViews, type InputView } from "./cuda-call.ts";
import { RowMaker, type Sequences } from "./cuda-rows.ts";
import {
  columnBackStep,
  fromChannel,
  further,
  longParts,
  rowBytes,
  rowsIn,
  type LongCall,
} from "./cuda-tensor-long.ts";
import { peakBytes, toRowSteps } from "./cuda-tensor-measured.ts";
import {
  backwardStep,
  clusterSteps,
  itemsFor,
  newSums,
  shortSteps,
  type RowCall,
  type Sums,
} from "./cuda-tensor-backward-pass.ts";
import { gradientSteps, planTensorBackward, spectrumSteps, type TensorPlan } from "./cuda-tensor-plan.ts";
import type { Layout } from "./sequences.ts";

export interface BackwardCall {
  readonly u: InputView;
  readonly dy: InputView;
  readonly preGate: InputView | undefined;
  readonly postGate: InputView | undefined;
  /** Not needed where only dk is wanted. */
  readonly filter: FilterViews | undefined;
  readonly layout: Layout;
  readonly circular: boolean;
  readonly adjoint: boolean;
  readonly taps: number;
  readonly origin: number;
  /** Which outputs are wanted, and their numbers. */
  readonly results: { readonly [K in "u" | "k" | "preGate" | "postGate"]?: number };
}

/** Passes over columns of both, over rows, and over columns back. */
function longSteps(call: RowCall, plan: TensorPlan, target: CudaTarget, temps: number[]): [CudaStep[], Sums] {
  const temp = (bytes: number): CudaWord => ({ temp: temps.push(bytes) - 1 });
  const rounds = longParts({ ...call, plan }, 2);
  const largest = rounds[0]!;
  const [uPeaks, dyPeaks] = [temp(peakBytes(call.batch, largest)), temp(peakBytes(call.batch, largest))];
  const [uRows, dyRows] = [temp(rowBytes(plan, largest)), temp(rowBytes(plan, largest))];
  const exponents = temp(4 * largest.channels * largest.count);
  const items = itemsFor(largest.count, largest.channels * plan.split, plan.factor, true, target);
  const partsOf = (count: number): number => Math.ceil(count / items);
  // All rounds of a channel follow each other.
  const ofOne = rounds.filter((r) => r.channel === 0);
  const all = ofOne.reduce((n, { count }) => n + partsOf(count), 0);
  const sums = newSums(call.channels * plan.split, plan.points / plan.split, all, temps);
  const steps = rounds.flatMap((round) => {
    const { channel, channels, first, count } = round;
    const here = <S extends Sequences | undefined>(s: S): S => fromChannel(s, channel);
    const [u, dy] = [here(call.u), here(call.dy)];
    const long: LongCall = { ...call, plan, channels };
    const [uGated, dyGated] = [
      { of: u, gate: here(call.preGate) },
      { of: dy, gate: here(call.postGate) },
    ];
    const [uPlane, dyPlane] = [rowsIn(uRows, long), rowsIn(dyRows, long)];
    const gains = further(call.gains, 4 * channel);
    const back = (
      rows: CudaWord,
      peaks: CudaWord,
      of: Sequences | undefined,
      gate: Sequences | undefined,
    ): CudaStep[] =>
      of ? [columnBackStep(long, { rows, peaks, gains }, { of: here(of), gate }, round)] : [];
    const before = ofOne.filter((r) => r.first < first).reduce((n, r) => n + partsOf(r.count), 0);
    return [
      ...toRowSteps(long, dyGated, dyPeaks, dyRows, round, target),
      ...toRowSteps(long, uGated, uPeaks, uRows, round, target, { peaks: dyPeaks, exponents }),
      backwardStep(
        {
          ...call,
          u: uPlane,
          dy: dyPlane,
          preGate: undefined,
          postGate: undefined,
          du: (call.du ?? call.dpre) && dyPlane,
          dpre: undefined,
          dpost: call.dpost && uPlane,
          dtype: "f16",
          batch: 2 * count,
          channels: channels * plan.split,
          length: plan.points / plan.split,
          spectrum: further(call.spectrum, 4 * plan.points * channel),
          gains,
        },
        { ...plan, paired: true },
        {
          sums: further(sums.sums, 4 * plan.points * all * channel),
          exponents: further(sums.exponents, 4 * plan.split * all * channel),
          parts: all,
          items,
          before,
        },
        target,
        { count: plan.split, exponents },
      ),
      ...back(dyRows, dyPeaks, call.du, uGated.gate),
      ...back(dyRows, dyPeaks, call.dpre, u),
      ...back(uRows, uPeaks, call.dpost, dy),
    ];
  });
  return [steps, sums];
}

/** The launches of a backward pass, or the reason why there are none. */
export function lowerTensorBackward(
  call: BackwardCall,
  outputs: readonly CudaView[],
  target: CudaTarget,
): CudaLowering | string {
  const { u, layout, circular, adjoint, taps, origin, filter, results } = call;
  const rowwise = layout === "bdl";
  const [batch, channels, length] = sizesOf(u.view.shape, layout);
  const { dtype } = u.view;
  if (dtype !== "f16" && dtype !== "bf16") return `no tensor-core kernel for ${dtype}`;
  if (results.k === undefined) return "the filter's gradient is not wanted";
  const gated = call.preGate ?? call.postGate;
  const plan = planTensorBackward(length, circular && !gated, target);
  if (typeof plan === "string") return plan;
  if (channels === 0 || batch === 0) return "nothing to add up";
  const temps: number[] = [];
  const rows = new RowMaker([batch, channels, length], temps);
  const sequences = (x: InputView | undefined): Sequences | undefined => {
    if (!x) return undefined;
    const { strides } = x.view;
    const word = { input: x.index };
    return rowwise ? { word, batch: strides[0]!, channel: strides[1]! } : rows.toRows(word, strides);
  };
  const result = (output: number | undefined): Sequences | undefined => {
    if (output === undefined) return undefined;
    const { strides } = outputs[output]!;
    if (!rowwise) return rows.fromRows({ output }, strides);
    return { word: { output }, batch: strides[0]!, channel: strides[1]! };
  };
  const places = filter
    ? {
        spectrum: { temp: temps.push(4 * channels * plan.points) - 1 },
        gains: { temp: temps.push(4 * channels) - 1 },
      }
    : { spectrum: 0, gains: 0 };
  const first = filter ? spectrumSteps({ filter, circular, length }, channels, places, plan, temps) : [];
  const main: RowCall = {
    u: sequences(call.u)!,
    dy: sequences(call.dy)!,
    preGate: sequences(call.preGate),
    postGate: sequences(call.postGate),
    du: result(results.u),
    dpre: result(results.preGate),
    dpost: result(results.postGate),
    dtype,
    batch,
    channels,
    length,
    adjoint,
    ...places,
  };
  const stepsOf = plan.cluster ? clusterSteps : plan.split === 1 ? shortSteps : longSteps;
  const [passes, sums] = stepsOf(main, plan, target, temps);
  const { strides } = outputs[results.k]!;
  const last = gradientSteps(
    sums,
    {
      k: { output: results.k },
      channel: strides[rowwise ? 0 : 1]!,
      tap: strides[rowwise ? 1 : 0]!,
      taps,
      origin,
      adjoint,
      period: circular && !plan.paired ? length : 0,
    },
    channels,
    plan,
    temps,
  );
  return { steps: [...first, ...rows.before, ...passes, ...rows.after, ...last], temps };
}
