import { expect, test } from "vitest";
import { contiguousView, type BufferRole, type Program, type StepOperand } from "@everlong/core";
import { Random } from "@everlong/testing";
import { branches, type Slot } from "./branches.ts";
import type { Lowered } from "./lowered.ts";

interface Work {
  readonly reads: readonly number[];
  readonly writes: readonly number[];
  /** Has a product of the library. */
  readonly product?: boolean;
}

const BYTES = 1 << 20;

/** Slots of work on buffers at the given places of the arena. */
function slotsOf(offsets: readonly number[], work: readonly Work[]): Slot[] {
  const operand = (buffer: number): StepOperand => ({
    buffer,
    dtype: "f32",
    view: contiguousView([BYTES / 4]),
  });
  const program: Program = {
    buffers: offsets.map((offset) => {
      const role: BufferRole = { kind: "temp", offset };
      return { bytes: BYTES, dtype: "f32", role };
    }),
    steps: [],
    arenaBytes: 0,
    inputs: 0,
    outputs: 0,
    sites: [],
    donated: [],
  };
  const lowered = work.map(({ reads, writes, product }) => ({
    name: "",
    inputs: reads.map(operand),
    outputs: writes.map(operand),
    steps: [product ? { library: "gemm" } : {}],
    temps: [],
    flops: 0,
  })) as unknown as Lowered[];
  return branches(
    program,
    work.map((_, i) => ({ steps: [i] })),
    lowered,
  );
}

/** Whether one slot is surely over before another starts, by lanes and waits. */
function orderOf(slots: readonly Slot[]): (before: number, after: number) => boolean {
  const over = slots.map((): Set<number> => new Set());
  slots.forEach(({ lane, waits }, at) => {
    const previous = slots.findLastIndex((s, i) => i < at && s.lane === lane);
    for (const p of [...waits, ...(previous < 0 ? [] : [previous])]) {
      expect(p).toBeLessThan(at);
      over[at]!.add(p);
      for (const q of over[p]!) over[at]!.add(q);
    }
  });
  const at = new Map(slots.map(({ unit }, i) => [unit.steps[0]!, i]));
  return (before, after) => over[at.get(after)!]!.has(at.get(before)!);
}

test.each([3, 17, 40, 90])("what meets in memory keeps its order, %i units", (count) => {
  const random = new Random(count);
  const pick = (n: number): number => Math.floor(random.uniform() * n);
  // Half a buffer apart: neighbours share memory.
  const offsets = Array.from({ length: 60 }, (_, i) => (i * BYTES) / 2);
  const work = Array.from({ length: count }, (): Work => ({
    reads: Array.from({ length: 1 + pick(3) }, () => pick(60)),
    writes: [pick(60)],
    product: pick(4) === 0,
  }));
  const slots = slotsOf(offsets, work);
  expect(slots.flatMap((s) => s.unit.steps).toSorted((a, b) => a - b)).toEqual(work.map((_, i) => i));
  const isOver = orderOf(slots);
  const meet = (a: readonly number[], b: readonly number[]): boolean =>
    a.some((x) => b.some((y) => Math.abs(x - y) < 2));
  work.forEach((b, j) =>
    work.slice(0, j).forEach((a, i) => {
      const conflict = meet(a.writes, [...b.reads, ...b.writes]) || meet(b.writes, [...a.reads, ...a.writes]);
      if (conflict) expect(isOver(i, j), `${i} before ${j}`).toBe(true);
    }),
  );
  for (const { unit, lane } of slots) if (work[unit.steps[0]!]!.product) expect(lane).toBe(0);
});

test("work that nothing waits for runs beside the chain, and starts when its inputs are there", () => {
  const offsets = Array.from({ length: 9 }, (_, i) => i * BYTES);
  // 0 -> 1 -> 2 -> 3 with gradients of each link at the end of the program.
  const chain = [0, 1, 2].map((i): Work => ({ reads: [i], writes: [i + 1], product: true }));
  const gradients = [0, 1, 2].map((i): Work => ({ reads: [i + 1], writes: [4 + i] }));
  const slots = slotsOf(offsets, [...chain, ...gradients]);
  const laneOf = new Map(slots.map((s) => [s.unit.steps[0]!, s.lane]));
  expect([0, 1, 2].map((i) => laneOf.get(i))).toEqual([0, 0, 0]);
  expect([3, 4].map((i) => laneOf.get(i) !== 0)).toEqual([true, true]);
  const isOver = orderOf(slots);
  expect(isOver(1, 3)).toBe(false);
  expect(isOver(0, 3)).toBe(true);
});
