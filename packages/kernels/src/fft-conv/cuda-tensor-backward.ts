// Backward passes of half-precision convolutions on the tensor cores: their launches (tensor-backward.cu, tensor-backward-warp.cu).

import type { CudaLowering, CudaStep, CudaTarget, CudaView, CudaWord } from "../cuda-step.ts";
import { sizesOf, type FilterViews, type InputView } from "./cuda-call.ts";
import { RowMaker, type Sequences } from "./cuda-rows.ts";
import {
  columnBackStep,
  columnStep,
  fromChannel,
  further,
  longParts,
  nowhere,
  peakBytes,
  peakSteps,
  rowBytes,
  rowsIn,
  stridesOf,
  type LongCall,
} from "./cuda-tensor-long.ts";
import {
  backwardBytes,
  gradientSteps,
  planTensorBackward,
  spectrumSteps,
  teamsOf,
  tensorKernel,
  type TensorPlan,
} from "./cuda-tensor-plan.ts";
import { tensorTable } from "./cuda-tensor-tables.ts";
import type { Layout } from "./sequences.ts";

/** Sequences, or pairs of them, whose products a block adds up at most: MOST of tensor-products.cu. */
const MOST = 16;
/** What a block costs beside its sequences, in sequences. */
const OVERHEAD = 0.7;

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

/** A call as rows of contiguous time. */
interface RowCall extends Omit<LongCall, "plan"> {
  readonly u: Sequences;
  readonly dy: Sequences;
  readonly preGate: Sequences | undefined;
  readonly postGate: Sequences | undefined;
  readonly du: Sequences | undefined;
  readonly dpre: Sequences | undefined;
  readonly dpost: Sequences | undefined;
  readonly adjoint: boolean;
  readonly spectrum: CudaWord;
  readonly gains: CudaWord;
}

/** Sums of products: where they and the exponents of their units go; of `parts` of the batch `before` have been done. */
interface SumsPlace {
  readonly sums: CudaWord;
  readonly exponents: CudaWord;
  readonly items: number;
  readonly parts: number;
  readonly before: number;
}

/** Rows of a longer transform: how many, and an exponent for each transform. */
interface Residues {
  readonly count: number;
  readonly exponents: CudaWord;
}

/** How many items a block should take, so that all multiprocessors are busy to the end. */
function itemsFor(
  groups: number,
  channels: number,
  factor: number,
  full: boolean,
  target: CudaTarget,
): number {
  // Of the kernel of one warp a transform, that for more registers (two rows, gates) runs in 8 warps a multiprocessor, the other in 12.
  const at = target.processors * (factor >= 8 ? 64 / factor : full ? 8 : 12);
  const cost = (items: number): number =>
    Math.ceil((channels * Math.ceil(groups / items)) / at) * (items + OVERHEAD);
  let best = 1;
  for (let items = 2; items <= Math.min(MOST, groups); items++) if (cost(items) <= cost(best)) best = items;
  return best;
}

function backwardStep(
  call: RowCall,
  { factor, paired }: TensorPlan,
  { sums, exponents, items, parts, before }: SumsPlace,
  target: CudaTarget,
  residues?: Residues,
): CudaStep {
  const { u, dy, preGate, postGate, du, dpre, dpost, batch, channels, length } = call;
  const warp = factor < 8;
  const gated = preGate || postGate || dpre || dpost ? 1 : 0;
  const about = { factor, paired };
  const { teams, shared, bytes } = teamsOf(backwardBytes(factor), 64 / factor, about, target);
  const table = tensorTable({ ...about, layout: warp ? "twiddles" : shared ? "rows" : "registers" });
  const flags = {
    ...(warp ? {} : { FACTOR: factor, TEAMS: teams, SHARED: shared }),
    PAIRED: paired ? 1 : 0,
    BRAIN: call.dtype === "bf16" ? 1 : 0,
    PRE: gated && !residues ? 1 : 0,
    POST: gated && !residues ? 1 : 0,
    SCALED: 1,
    JOINED: residues ? 1 : 0,
    U_GATED: preGate ? 1 : 0,
    DY_GATED: postGate ? 1 : 0,
    DU: du ? 1 : 0,
    DPRE: dpre ? 1 : 0,
    DPOST: dpost ? 1 : 0,
  };
  const name = warp ? "warp" : "block";
  const jobs = channels * Math.ceil(Math.ceil(batch / (paired ? 2 : 1)) / items);
  return {
    kernel: tensorKernel(`backward_${name}`, flags, [
      "tensor-instructions",
      "tensor-256",
      "tensor-sequences",
      warp ? "tensor-warp-rows" : "tensor-teams",
      "tensor-products",
      warp ? "tensor-backward-warp" : "tensor-backward",
    ]),
    args: [
      u.word,
      preGate?.word ?? 0,
      dy.word,
      postGate?.word ?? 0,
      call.spectrum,
      call.gains,
      du?.word ?? 0,
      dpre?.word ?? 0,
      dpost?.word ?? 0,
      sums,
      exponents,
      { table: 0 },
      ...[u, preGate ?? nowhere, dy, postGate ?? nowhere, du ?? dpre ?? dpost ?? nowhere].flatMap(stridesOf),
      batch,
      length,
      items,
      call.adjoint ? 1 : 0,
      warp ? channels : (residues?.count ?? 1),
      residues?.exponents ?? 0,
      parts,
      before,
      ...(warp ? [] : [channels]),
    ],
    grid: [warp ? Math.ceil(jobs / 4) : teams > 1 ? Math.min(target.processors, jobs) : jobs, 1, 1],
    block: [warp ? 128 : 8 * factor * teams, 1, 1],
    sharedBytes: bytes,
    tables: [table],
  };
}

/** Where sums over parts of the batch lie. */
interface Sums {
  readonly sums: CudaWord;
  readonly exponents: CudaWord;
  readonly parts: number;
}

function newSums(lines: number, points: number, parts: number, temps: number[]): Sums {
  return {
    sums: { temp: temps.push(4 * lines * points * parts) - 1 },
    exponents: { temp: temps.push(4 * lines * parts) - 1 },
    parts,
  };
}

/** One pass over u and dy. */
function shortSteps(
  call: RowCall,
  plan: TensorPlan,
  target: CudaTarget,
  temps: number[],
): [CudaStep[], Sums] {
  const groups = Math.ceil(call.batch / (plan.paired ? 2 : 1));
  const full = plan.paired || call.preGate !== undefined || call.postGate !== undefined;
  const items = itemsFor(groups, call.channels, plan.factor, full, target);
  const sums = newSums(call.channels, plan.points, Math.ceil(groups / items), temps);
  return [[backwardStep(call, plan, { ...sums, items, before: 0 }, target)], sums];
}

/** One pass over u and dy by clusters of blocks. */
function clusterSteps(
  call: RowCall,
  plan: TensorPlan,
  target: CudaTarget,
  temps: number[],
): [CudaStep[], Sums] {
  const { u, dy, preGate, postGate, du, dpre, dpost, batch, channels, length } = call;
  const { factor, split, paired, points } = plan;
  const groups = Math.ceil(batch / (paired ? 2 : 1));
  const items = itemsFor(groups, channels * split, factor, true, target);
  const parts = Math.ceil(groups / items);
  const sums = newSums(channels * split, points / split, parts, temps);
  const gated = preGate || postGate || dpre || dpost ? 1 : 0;
  const flags = {
    FACTOR: factor,
    PAIRED: 1,
    SPLIT: split,
    SIDES: 2,
    // Transforms across the blocks make values up to so many times as large.
    GROWTH: split > 2 ? 2 : 1,
    TWISTED: paired ? 0 : 1,
    BRAIN: call.dtype === "bf16" ? 1 : 0,
    PRE: gated,
    POST: gated,
    SCALED: 1,
    JOINED: 0,
    U_GATED: preGate ? 1 : 0,
    DY_GATED: postGate ? 1 : 0,
    DU: du ? 1 : 0,
    DPRE: dpre ? 1 : 0,
    DPOST: dpost ? 1 : 0,
  };
  const step: CudaStep = {
    kernel: tensorKernel("backward_cluster", flags, [
      "butterflies",
      "tensor-instructions",
      "tensor-256",
      "tensor-sequences",
      "tensor-columns",
      "cluster-instructions",
      "tensor-spread",
      "tensor-products",
      "tensor-cluster-backward",
    ]),
    args: [
      u.word,
      preGate?.word ?? 0,
      dy.word,
      postGate?.word ?? 0,
      call.spectrum,
      call.gains,
      du?.word ?? 0,
      dpre?.word ?? 0,
      dpost?.word ?? 0,
      sums.sums,
      sums.exponents,
      { table: 0 },
      ...[u, preGate ?? nowhere, dy, postGate ?? nowhere, du ?? dpre ?? dpost ?? nowhere].flatMap(stridesOf),
      batch,
      length,
      items,
      call.adjoint ? 1 : 0,
    ],
    grid: [channels * parts * split, 1, 1],
    block: [8 * factor, 1, 1],
    // Behind the planes and sums: notes of the warps and blocks.
    sharedBytes: backwardBytes(factor) + 4 * factor + 16 * split,
    tables: [tensorTable({ factor, paired: true, layout: "twiddles" })],
  };
  return [[step], sums];
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
      ...peakSteps(long, uGated, uPeaks, round),
      ...peakSteps(long, dyGated, dyPeaks, round),
      columnStep(long, uGated, uPeaks, uRows, round, { peaks: dyPeaks, exponents }),
      columnStep(long, dyGated, dyPeaks, dyRows, round),
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
  if (Math.max(channels * plan.split, rowwise ? 0 : batch) > 65_535) return "batch or channels are too many";
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
    const [b, d] = outputs[output]!.strides as [number, number];
    return rowwise ? { word: { output }, batch: b, channel: d } : rows.fromRows({ output });
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
