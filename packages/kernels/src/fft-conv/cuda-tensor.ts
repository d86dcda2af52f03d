// Convolutions of f16 and bf16 sequences on the tensor cores: their launches (tensor-*.cu).

import type { CudaLowering, CudaStep, CudaTarget, CudaWord } from "../cuda-step.ts";
import { sizesOf, type ConvolutionCall, type InputView, type KeptSpectrumCall } from "./cuda-call.ts";
import { RowMaker, type Sequences } from "./cuda-rows.ts";
import { flowSteps } from "./cuda-tensor-flow.ts";
import {
  columnBackStep,
  fromChannel,
  further,
  longParts,
  nowhere,
  rowBytes,
  rowsIn,
  stridesOf,
  type LongCall,
} from "./cuda-tensor-long.ts";
import { peakBytes, toRowSteps } from "./cuda-tensor-measured.ts";
import type { Slice } from "./cuda-slices.ts";
import {
  CLUSTER_SOURCES,
  planeBytes,
  planTensor,
  spectrumSteps,
  teamsOf,
  tensorKernel,
  type TensorPlan,
} from "./cuda-tensor-plan.ts";
import { tensorTable } from "./cuda-tensor-tables.ts";

interface ConvolveCall {
  readonly u: Sequences;
  readonly preGate: Sequences | undefined;
  readonly postGate: Sequences | undefined;
  readonly y: Sequences;
  readonly dtype: "f16" | "bf16";
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  readonly adjoint: boolean;
  readonly spectrum: CudaWord;
  readonly gains: CudaWord;
}

/** How a kernel of one pass sees a call. */
interface Pass extends ConvolveCall {
  /** Rows of a longer transform, already in range. */
  readonly joined?: boolean;
}

/** The words with which all kernels of one pass begin. */
function wordsOf(call: ConvolveCall, items: number): CudaWord[] {
  const { u, preGate = nowhere, postGate = nowhere, y } = call;
  return [
    u.word,
    preGate.word,
    postGate.word,
    call.spectrum,
    call.gains,
    y.word,
    { table: 0 },
    ...[u, preGate, postGate, y].flatMap(stridesOf),
    call.batch,
    call.length,
    items,
    call.adjoint ? 1 : 0,
  ];
}

/** The launch that convolves by transforms of one block or warp. */
function convolveStep(call: Pass, { factor, paired }: TensorPlan, target: CudaTarget): CudaStep {
  const { channels } = call;
  const warp = factor < 8;
  const rows = paired ? 2 : 1;
  const planes = planeBytes(factor);
  const about = { factor, paired };
  // Measured on an H100: two real rows side by side are faster than one where they are short.
  const twins =
    !warp && !paired && factor === 16 ? teamsOf(2 * planes, 64 / factor, about, target) : undefined;
  const sets = twins?.shared ? 2 : 1;
  const { teams, shared, bytes } = twins?.shared ? twins : teamsOf(planes, 128 / factor, about, target);
  const table = tensorTable({ ...about, layout: warp ? "twiddles" : shared ? "rows" : "registers" });
  // Beside the planes: as many parts of the next rows as fit, where they make up for their way (rows that gates are waited for do not).
  const each = 16 / sets;
  const part = ((planes / 2) * rows * sets * teams) / each;
  const gated = call.preGate || call.postGate;
  const worth = shared ? (factor === 32 ? paired || !gated : factor === 16 && !gated) : factor === 128;
  const early = worth ? Math.min(each, Math.floor((target.sharedLimit - 1024 - bytes) / part)) : 0;
  const flags = {
    ...(warp ? {} : { FACTOR: factor, EARLY: early, SETS: sets, TEAMS: teams, SHARED: shared }),
    PAIRED: paired ? 1 : 0,
    BRAIN: call.dtype === "bf16" ? 1 : 0,
    PRE: call.preGate ? 1 : 0,
    POST: call.postGate ? 1 : 0,
    SCALED: call.joined ? 0 : 1,
  };
  const name = warp ? "warp" : "block";
  const groups = Math.ceil(call.batch / rows);
  const items = itemsOf(groups, channels);
  const jobs = channels * Math.ceil(groups / items);
  return {
    kernel: tensorKernel(`convolve_${name}`, flags, [
      "tensor-instructions",
      "tensor-256",
      "tensor-sequences",
      warp ? "tensor-warp-rows" : "tensor-teams",
      `tensor-${name}`,
    ]),
    args: [...wordsOf(call, items), channels],
    grid: [
      warp
        ? Math.ceil(jobs / 4)
        : shared
          ? Math.min(target.processors, channels * Math.ceil(groups / sets))
          : jobs,
      1,
      1,
    ],
    block: [warp ? 128 : 4 * factor * sets * teams, 1, 1],
    sharedBytes: bytes + early * part,
    tables: [table],
  };
}

/** Rows of one channel share its spectrum and the constants: how many of `groups` a block (or cluster) takes one after the other. */
function itemsOf(groups: number, channels: number): number {
  const parts = Math.ceil(groups / Math.max(1, Math.min(8, Math.floor((groups * channels) / 2048))));
  return Math.ceil(groups / parts);
}

/** The launch that convolves by transforms of clusters of blocks. */
function clusterStep(call: ConvolveCall, { factor, split, paired }: TensorPlan): CudaStep {
  const { channels } = call;
  const groups = Math.ceil(call.batch / (paired ? 2 : 1));
  const items = itemsOf(groups, channels * split);
  return {
    kernel: tensorKernel(
      "convolve_cluster",
      {
        FACTOR: factor,
        PAIRED: 1,
        SPLIT: split,
        SIDES: 1,
        TWISTED: paired ? 0 : 1,
        BRAIN: call.dtype === "bf16" ? 1 : 0,
        PRE: call.preGate ? 1 : 0,
        POST: call.postGate ? 1 : 0,
        SCALED: 1,
      },
      [...CLUSTER_SOURCES, "tensor-cluster"],
    ),
    args: wordsOf(call, items),
    grid: [channels * Math.ceil(groups / items) * split, 1, 1],
    block: [4 * factor, 1, 1],
    // Behind the planes: notes of the warps and blocks, barriers.
    sharedBytes: planeBytes(factor) + factor + 16 * split + 48,
    tables: [tensorTable({ factor, paired: true, layout: "twiddles" })],
  };
}

/** The passes of a transform of many rows: columns, rows, columns back. */
function longSteps(call: ConvolveCall, plan: TensorPlan, target: CudaTarget, temps: number[]): CudaStep[] {
  const parts = longParts({ ...call, plan }, 1);
  const peaks = { temp: temps.push(peakBytes(call.batch, parts[0]!)) - 1 };
  const rows = { temp: temps.push(rowBytes(plan, parts[0]!)) - 1 };
  return parts.flatMap((part) => {
    const { channel, channels } = part;
    const long: LongCall = { ...call, plan, channels };
    const plane = rowsIn(rows, long);
    const from = { of: fromChannel(call.u, channel), gate: fromChannel(call.preGate, channel) };
    const to = { of: fromChannel(call.y, channel), gate: fromChannel(call.postGate, channel) };
    const gains = further(call.gains, 4 * channel);
    return [
      ...toRowSteps(long, from, peaks, rows, part, target),
      convolveStep(
        {
          ...call,
          u: plane,
          preGate: undefined,
          postGate: undefined,
          y: plane,
          dtype: "f16",
          batch: 2 * part.count,
          channels: channels * plan.split,
          length: plan.points / plan.split,
          spectrum: further(call.spectrum, 4 * plan.points * channel),
          gains,
          joined: true,
        },
        { ...plan, paired: true },
        target,
      ),
      columnBackStep(long, { rows, peaks, gains }, to, part),
    ];
  });
}

/** Where gains and spectra of channels begin in a kept spectrum, in bytes. */
const keptAt = (
  { points }: TensorPlan,
  { first, of }: Slice,
): { readonly gains: number; readonly spectrum: number } => ({
  gains: 4 * first,
  spectrum: 256 * Math.ceil((4 * of) / 256) + 4 * points * first,
});

/** The launches that fill a kept spectrum (output 0), or the reason why there are none. */
export function lowerTensorSpectrum(call: KeptSpectrumCall, target: CudaTarget): CudaLowering | string {
  const plan = planTensor(call.length, call.circular, target);
  if (typeof plan === "string") return plan;
  const channels = call.filter.k.view.shape[call.filter.layout === "bdl" ? 0 : 1]!;
  const at = keptAt(plan, call.slice);
  const temps: number[] = [];
  const places = {
    spectrum: { output: 0, byteOffset: at.spectrum },
    gains: { output: 0, byteOffset: at.gains },
  };
  return { steps: spectrumSteps(call, channels, places, plan, temps), temps };
}

/** The launches of a convolution on the tensor cores, or the reason why there are none. */
export function lowerTensor(call: ConvolutionCall, target: CudaTarget): CudaLowering | string {
  const { u, preGate, postGate, y, layout, circular, adjoint, filter } = call;
  const rowwise = layout === "bdl";
  const [batch, channels, length] = sizesOf(y.shape, layout);
  const { dtype } = y;
  if (dtype !== "f16" && dtype !== "bf16") return `no tensor-core kernel for ${dtype}`;
  const plan = planTensor(length, circular, target);
  if (typeof plan === "string") return plan;
  const temps: number[] = [];
  const newTemp = (bytes: number): CudaWord => ({ temp: temps.push(bytes) - 1 });
  const kept = "kept" in filter;
  const at = kept ? keptAt(plan, filter.slice) : undefined;
  const places = kept
    ? {
        spectrum: { input: filter.kept, byteOffset: at!.spectrum },
        gains: { input: filter.kept, byteOffset: at!.gains },
      }
    : { spectrum: newTemp(4 * channels * plan.points), gains: newTemp(4 * channels) };
  const first = kept ? [] : spectrumSteps({ filter, circular, length }, channels, places, plan, temps);
  const rows = new RowMaker([batch, channels, length], temps);
  const sequences = (x: InputView | undefined): Sequences | undefined => {
    if (!x) return undefined;
    const word = { input: x.index };
    const { strides } = x.view;
    return rowwise ? { word, batch: strides[0]!, channel: strides[1]! } : rows.toRows(word, strides);
  };
  const main: ConvolveCall = {
    u: sequences(u)!,
    preGate: sequences(preGate),
    postGate: sequences(postGate),
    y: rowwise
      ? { word: { output: 0 }, batch: y.strides[0]!, channel: y.strides[1]! }
      : rows.fromRows({ output: 0 }, y.strides),
    dtype,
    batch,
    channels,
    length,
    adjoint,
    ...places,
  };
  const passes = plan.cluster
    ? [clusterStep(main, plan)]
    : plan.split === 1
      ? [convolveStep(main, plan, target)]
      : (flowSteps(main, plan, target, temps) ?? longSteps(main, plan, target, temps));
  return { steps: [...first, ...rows.before, ...passes, ...rows.after], temps };
}
