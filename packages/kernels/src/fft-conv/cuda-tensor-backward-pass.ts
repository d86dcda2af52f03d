// One pass over u and dy of a backward pass: its launches, by blocks or warps (tensor-backward.cu, tensor-backward-warp.cu) or by clusters of blocks
// (tensor-cluster-backward.cu).

import type { CudaStep, CudaTarget, CudaWord } from "../cuda-step.ts";
import type { Sequences } from "./cuda-rows.ts";
import { nowhere, stridesOf, type LongCall } from "./cuda-tensor-long.ts";
import {
  CLUSTER_SOURCES,
  backwardBytes,
  teamsOf,
  tensorKernel,
  type TensorPlan,
} from "./cuda-tensor-plan.ts";
import { tensorTable } from "./cuda-tensor-tables.ts";

/** Sequences, or pairs of them, whose products a block adds up at most: MOST of tensor-products.cu. */
const MOST = 16;
/** What a block costs beside its sequences, in sequences. */
const OVERHEAD = 0.7;

/** A call as rows of contiguous time. */
export interface RowCall extends Omit<LongCall, "plan"> {
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
export function itemsFor(
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

const isGated = ({ preGate, postGate, dpre, dpost }: RowCall): boolean =>
  [preGate, postGate, dpre, dpost].some((s) => s !== undefined);

/** What is there and what is wanted, as kernels of one pass are told. */
const flagsOf = ({ preGate, postGate, du, dpre, dpost }: RowCall): Readonly<Record<string, number>> => ({
  U_GATED: preGate ? 1 : 0,
  DY_GATED: postGate ? 1 : 0,
  DU: du ? 1 : 0,
  DPRE: dpre ? 1 : 0,
  DPOST: dpost ? 1 : 0,
});

/** The words with which all of them begin. */
function wordsOf(
  call: RowCall,
  { sums, exponents, items }: Pick<SumsPlace, "sums" | "exponents" | "items">,
): CudaWord[] {
  const { u, dy, preGate, postGate, du, dpre, dpost } = call;
  return [
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
    call.batch,
    call.length,
    items,
    call.adjoint ? 1 : 0,
  ];
}

export function backwardStep(
  call: RowCall,
  { factor, paired }: TensorPlan,
  place: SumsPlace,
  target: CudaTarget,
  residues?: Residues,
): CudaStep {
  const { batch, channels } = call;
  const { items, parts, before } = place;
  const warp = factor < 8;
  const gated = isGated(call) ? 1 : 0;
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
    ...flagsOf(call),
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
      ...wordsOf(call, place),
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
export interface Sums {
  readonly sums: CudaWord;
  readonly exponents: CudaWord;
  readonly parts: number;
}

export function newSums(lines: number, points: number, parts: number, temps: number[]): Sums {
  return {
    sums: { temp: temps.push(4 * lines * points * parts) - 1 },
    exponents: { temp: temps.push(4 * lines * parts) - 1 },
    parts,
  };
}

/** One pass over u and dy. */
export function shortSteps(
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
export function clusterSteps(
  call: RowCall,
  plan: TensorPlan,
  target: CudaTarget,
  temps: number[],
): [CudaStep[], Sums] {
  const { batch, channels } = call;
  const { factor, split, paired, points } = plan;
  const groups = Math.ceil(batch / (paired ? 2 : 1));
  const items = itemsFor(groups, channels * split, factor, true, target);
  const parts = Math.ceil(groups / items);
  const sums = newSums(channels * split, points / split, parts, temps);
  const gated = isGated(call) ? 1 : 0;
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
    ...flagsOf(call),
  };
  const step: CudaStep = {
    kernel: tensorKernel("backward_cluster", flags, [
      ...CLUSTER_SOURCES,
      "tensor-products",
      "tensor-cluster-backward",
    ]),
    args: wordsOf(call, { ...sums, items }),
    grid: [channels * parts * split, 1, 1],
    block: [8 * factor, 1, 1],
    // Behind the planes and sums: notes of the warps and blocks, barriers.
    sharedBytes: backwardBytes(factor) + 2 * factor + 16 * split + 48,
    tables: [tensorTable({ factor, paired: true, layout: "twiddles" })],
  };
  return [[step], sums];
}
