// Launches of the same kernels that do not depend on each other become one, at the place of the last: an optimiser's update of many small
// parameters costs one launch then.

import { operandsOf, writtenBy, type Program, type StepOperand } from "@everlong/core";
import type { CudaProduct, CudaStep } from "@everlong/kernels/cuda";
import type { Lowered } from "./lowered.ts";
import { bytesOf } from "./space.ts";

/** Bytes of a kernel's parameters. */
const MOST_PARAMETERS = 4096;

/** Launches that one may hold. */
const mostJoined = (words: number): number => Math.floor(MOST_PARAMETERS / 8 / (words + 1));

/** What a step reads and writes: spaces, and bytes of them. */
interface Region {
  readonly space: string;
  readonly from: number;
  readonly to: number;
}

export interface Footprint {
  readonly all: readonly Region[];
  readonly written: readonly Region[];
}

/** Where a buffer of a program lies. */
export function regionOf(program: Program, buffer: number): Region {
  const { role, bytes } = program.buffers[buffer]!;
  if (role.kind === "temp") return { space: "arena", from: role.offset, to: role.offset + bytes };
  if (role.kind === "constant") return { space: `constant ${buffer}`, from: 0, to: bytes };
  const donor = role.kind === "input" ? role.index : program.donated[role.index];
  return { space: donor === undefined ? `output ${role.index}` : `input ${donor}`, from: 0, to: bytes };
}

/** The part of its buffer that an operand spans. */
function spanOf(program: Program, { buffer, dtype, view }: StepOperand): Region {
  const { space, from } = regionOf(program, buffer);
  const bytes = bytesOf(dtype);
  let [low, high] = [view.offset, view.offset];
  view.shape.forEach((n, axis) => {
    const reach = (n - 1) * view.strides[axis]!;
    if (reach < 0) low += reach;
    else high += reach;
  });
  return { space, from: from + low * bytes, to: from + (high + 1) * bytes };
}

/** What work touches that reads and writes `all`, and writes `written` of it. */
export function footprintOf(
  program: Program,
  all: readonly StepOperand[],
  written: readonly StepOperand[],
): Footprint {
  const spans = (operands: readonly StepOperand[]): Region[] => operands.map((o) => spanOf(program, o));
  return { all: spans(all), written: spans(written) };
}

/** Bytes that work touches, those that it reads and writes twice. */
export const bytesTouched = ({ all }: Footprint): number => all.reduce((sum, r) => sum + r.to - r.from, 0);

/** Whether any of some regions shares memory with any of others. */
export const regionsMeet = (some: readonly Region[], others: readonly Region[]): boolean =>
  some.some((a) => others.some((b) => a.space === b.space && a.from < b.to && b.from < a.to));

/** Whether either of two writes what the other touches. */
export const footprintsConflict = (a: Footprint, b: Footprint): boolean =>
  regionsMeet(a.written, b.all) || regionsMeet(b.written, a.all);

/** The launches of a step that may be joined, each with those of other steps. */
function joinable(lowered: Lowered | string | undefined): readonly CudaStep[] | undefined {
  if (lowered === undefined || typeof lowered === "string" || lowered.steps.length === 0) return undefined;
  const isJoinable = (s: CudaStep | CudaProduct): s is CudaStep =>
    !("library" in s) && s.blockFunction !== undefined && s.grid[1] === 1 && s.grid[2] === 1;
  return lowered.steps.every(isJoinable) ? (lowered.steps as readonly CudaStep[]) : undefined;
}

/**
 * Groups of steps (their indices, ascending) whose launches run as one where the last of them stands. Nothing between the first and the
 * last touches what an earlier one writes, or writes what it reads; memory that temporaries share counts.
 */
export function joinedSteps(
  program: Program,
  lowerings: readonly (Lowered | string | undefined)[],
): number[][] {
  if (!lowerings.some(joinable)) return [];
  const groups: number[][] = [];
  const open = new Map<string, { readonly steps: number[]; readonly footprints: Footprint[] }>();
  lowerings.forEach((lowered, index) => {
    const own = joinable(lowered);
    if (open.size === 0 && !own) return;
    const step = program.steps[index]!;
    const footprint = footprintOf(program, operandsOf(step), writtenBy(step));
    for (const [key, group] of open)
      if (group.footprints.some((f) => footprintsConflict(f, footprint))) open.delete(key);
    if (!own) return;
    const key = own.map((s) => s.kernel.key).join("\n");
    let group = open.get(key);
    if (!group || group.steps.length === Math.min(...own.map((s) => mostJoined(s.args.length)))) {
      group = { steps: [], footprints: [] };
      open.set(key, group);
      groups.push(group.steps);
    }
    group.steps.push(index);
    group.footprints.push(footprint);
  });
  return groups.filter((steps) => steps.length > 1);
}

/**
 * The kernel that runs several launches of `step`'s kernel. Its words: the first block of each launch (an empty place begins beyond all),
 * then the launches' words one after the other.
 */
export function joinedKernel(step: CudaStep): CudaStep["kernel"] {
  const { kernel, args, block, blockFunction, resident = 1 } = step;
  const [words, most] = [args.length, mostJoined(args.length)];
  const entry = `joined_${kernel.entry}`;
  return {
    key: `joined ${kernel.key}`,
    entry,
    source: () => `${kernel.source()}
extern "C" __global__ void __launch_bounds__(${block[0]}, ${resident}) ${entry}(const __grid_constant__ Words<${most * (words + 1)}> w) {
  int k = 0;
  while (k + 1 < ${most} && blockIdx.x >= (u32)w.word[k + 1]) k++;
  ${blockFunction}(*(const Words<${words}>*)(w.word + ${most} + k * ${words}), blockIdx.x - (u32)w.word[k]);
}
`,
  };
}

/** First blocks of the places of a joined launch, and the number of blocks in all. */
export function joinedBlocks(steps: readonly CudaStep[]): {
  readonly firsts: number[];
  readonly blocks: number;
} {
  let blocks = 0;
  const firsts = Array.from({ length: mostJoined(steps[0]!.args.length) }, (_, i) => {
    if (i >= steps.length) return 2 ** 32 - 1;
    const first = blocks;
    blocks += steps[i]!.grid[0];
    return first;
  });
  return { firsts, blocks };
}
