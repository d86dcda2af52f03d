// The launch of convolutions whose transforms span many blocks and pass through the second-level cache (tensor-flow.cu).

import type { CudaStep, CudaTarget, CudaWord } from "../cuda-step.ts";
import type { Sequences } from "./cuda-rows.ts";
import { nowhere, rowsPer, stridesOf, type LongCall } from "./cuda-tensor-long.ts";
import { planeBytes, tensorKernel, type TensorPlan } from "./cuda-tensor-plan.ts";
import { classBytes, stepBytes, tensorTable } from "./cuda-tensor-tables.ts";

/** A convolution as rows of contiguous time. */
interface FlowCall extends Omit<LongCall, "plan"> {
  readonly u: Sequences;
  readonly preGate: Sequences | undefined;
  readonly postGate: Sequences | undefined;
  readonly y: Sequences;
  readonly adjoint: boolean;
  readonly spectrum: CudaWord;
  readonly gains: CudaWord;
}

/** A channel's rows of the batch, or pairs of them. */
const transformsOf = ({ batch, channels }: FlowCall, plan: TensorPlan): number =>
  channels * Math.ceil(batch / rowsPer(plan));

/** Share of the second-level cache that slots may take; the rest is for what comes and goes, half as much again with a gate before. */
const SHARE = 0.5;
/** Tickets between two stages of a transform, in crews: so many that crews rarely wait. */
const APART = 1.75;
/** Threads of a block, one to a multiprocessor, with 128 registers each. */
const THREADS = 512;
/** Parts of a row whose peaks are found one by one. */
const PEAKS = 32;
/** Tickets are numbered in 32 bits. */
const MOST_TICKETS = 2 ** 31;

/** How a block is made up. */
interface FlowBlock {
  /** Neighbouring columns of a part, parts side by side, threads of a crew, crews of a block. */
  readonly columns: 32 | 64;
  readonly side: number;
  readonly width: number;
  readonly crews: number;
  /** Which part of the table lies in shared memory (tensor-teams.cu). */
  readonly shared: 0 | 1 | 2;
  readonly bytes: number;
}

/** Crews of the fewest warps that are enough for a row; none where the GPU has too little shared memory. */
function blockOf({ factor, split }: TensorPlan, { sharedLimit }: CudaTarget): FlowBlock | undefined {
  const parts = split / 16;
  const team = 4 * factor;
  const columns = 32 * parts <= team ? 64 : 32;
  const side = Math.max(1, team / ((parts * columns) / 2));
  const width = ((parts * columns) / 2) * side;
  const crews = THREADS / width;
  const data = crews * Math.max((planeBytes(factor) * width) / team, parts === 1 ? 0 : 256 * width);
  const steps = stepBytes({ factor, paired: true, layout: "rows" });
  for (const [shared, copy] of [
    [1, classBytes(factor) + steps],
    [2, steps],
    [0, 0],
  ] as const)
    // Some memory is the system's and the kernel's own.
    if (data + copy + 4096 <= sharedLimit) return { columns, side, width, crews, shared, bytes: data + copy };
  return undefined;
}

/** Transforms that have rows at once, and steps by which columns are ahead of rows and peaks of columns. */
interface FlowDepth {
  readonly slots: number;
  readonly lag: number;
  readonly ahead: number;
}

/** None where fewer than three slots fit: then passes of their own are as fast. */
function depthOf(
  call: FlowCall,
  plan: TensorPlan,
  { columns, side, width, crews }: FlowBlock,
  { processors, cacheBytes }: CudaTarget,
): FlowDepth | undefined {
  const { factor, split, points } = plan;
  const transforms = transformsOf(call, plan);
  const tickets = PEAKS * rowsPer(plan) + (256 * factor) / (columns * side) + (split * 4 * factor) / width;
  const all = processors * crews;
  const slotBytes = 4 * points * (call.preGate ? 1.5 : 1);
  // As many steps lie between columns and rows as between rows and columns back.
  const lag = Math.min(
    Math.ceil((APART * all) / tickets),
    Math.floor(((SHARE * cacheBytes) / slotBytes - 1) / 2),
  );
  if (lag < 1 || (transforms + 4 * lag) * tickets > MOST_TICKETS) return undefined;
  const slots = Math.min(2 * lag + 1, transforms);
  return { slots, lag: Math.min(lag, slots - 1), ahead: Math.max(1, Math.round(all / tickets)) };
}

/** The launches, or undefined where passes of their own are better. */
export function flowSteps(
  call: FlowCall,
  plan: TensorPlan,
  target: CudaTarget,
  temps: number[],
): CudaStep[] | undefined {
  const { u, preGate, postGate, y, batch, channels, dtype } = call;
  const { factor, split, points, paired } = plan;
  const block = blockOf(plan, target);
  const depth = block && depthOf(call, plan, block, target);
  if (!block || !depth) return undefined;
  const { slots, lag, ahead } = depth;
  const temp = (bytes: number): CudaWord => ({ temp: temps.push(bytes) - 1 });
  const count = 1 + 3 * transformsOf(call, plan);
  const counters = temp(4 * count);
  const flags = {
    FACTOR: factor,
    PARTS: split / 16,
    COLUMNS: block.columns,
    SIDE: block.side,
    CREWS: block.crews,
    TWISTED: paired ? 0 : 1,
    PAIRED: 1,
    SHARED: block.shared,
    BRAIN: dtype === "bf16" ? 1 : 0,
    PRE: preGate ? 1 : 0,
    POST: postGate ? 1 : 0,
    PARTNER: 0,
    SCALED: 1,
  };
  const files = [
    "butterflies",
    "tensor-instructions",
    "tensor-256",
    "tensor-sequences",
    "tensor-teams",
    "tensor-long",
    "tickets",
    "tensor-flow",
  ];
  return [
    {
      kernel: tensorKernel("clear_counters", {}, ["counters"]),
      args: [counters, count],
      grid: [1, 1, 1],
      block: [256, 1, 1],
    },
    {
      kernel: tensorKernel("convolve_flow", flags, files),
      args: [
        u.word,
        preGate?.word ?? 0,
        postGate?.word ?? 0,
        call.spectrum,
        call.gains,
        y.word,
        { table: 0 },
        temp(4 * PEAKS * batch * channels),
        temp(4 * points * slots),
        counters,
        ...[u, preGate ?? nowhere, postGate ?? nowhere, y].flatMap(stridesOf),
        batch,
        call.length,
        channels,
        slots,
        lag,
        call.adjoint ? 1 : 0,
        ahead,
      ],
      grid: [target.processors, 1, 1],
      block: [THREADS, 1, 1],
      sharedBytes: block.bytes,
      tables: [tensorTable({ factor, paired: true, layout: block.shared ? "rows" : "registers" })],
    },
  ];
}
