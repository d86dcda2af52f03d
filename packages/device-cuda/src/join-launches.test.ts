import { expect, test } from "vitest";
import { contiguousView, type BufferRole, type Program, type Step, type StepOperand } from "@everlong/core";
import type { CudaStep } from "@everlong/kernels/cuda";
import { joinedBlocks, joinedKernel, joinedSteps } from "./join-launches.ts";
import type { Lowered } from "./lowered.ts";

const BYTES = 64;
const temp = (offset: number): BufferRole => ({ kind: "temp", offset });
const input = (index: number): BufferRole => ({ kind: "input", index });
const output = (index: number): BufferRole => ({ kind: "output", index });

interface Work {
  readonly kernel?: string;
  readonly reads: readonly number[];
  readonly writes: readonly number[];
}

/** The groups of steps that read and write the given buffers; those with a kernel's name may be joined. */
function groupsOf(
  roles: readonly BufferRole[],
  work: readonly Work[],
  donated: readonly (number | undefined)[] = [],
): number[][] {
  const operand = (buffer: number): StepOperand => ({
    buffer,
    dtype: "f32",
    view: contiguousView([BYTES / 4]),
  });
  const steps = work.map(
    ({ reads, writes }) =>
      ({ kind: "fused", inputs: reads.map(operand), outputs: writes.map(operand) }) as unknown as Step,
  );
  const program: Program = {
    buffers: roles.map((role) => ({ bytes: BYTES, dtype: "f32", role })),
    steps,
    arenaBytes: 0,
    inputs: 0,
    outputs: 0,
    sites: [],
    donated,
  };
  const lowered = work.map(({ kernel }): Lowered => ({
    name: "",
    inputs: [],
    outputs: [],
    steps: [{ ...launch(kernel ?? "own", 1), ...(kernel ? { blockFunction: "block" } : {}) }],
    temps: [],
    flops: 0,
  }));
  return joinedSteps(program, lowered);
}

const launch = (key: string, blocks: number, words = 3): CudaStep => ({
  kernel: { key, entry: "update", source: () => "// update" },
  args: Array.from({ length: words }, () => 0),
  grid: [blocks, 1, 1],
  block: [256, 1, 1],
});

const update = (buffer: number, gradient: number): Work => ({
  kernel: "update",
  reads: [buffer, gradient],
  writes: [buffer],
});

test("updates of different parameters become one", () => {
  const roles = [input(0), input(1), input(2), temp(0), temp(64)];
  expect(groupsOf(roles, [update(0, 3), update(1, 4), update(2, 4)])).toEqual([[0, 1, 2]]);
});

test("a step that reads what an update wrote ends a group", () => {
  const roles = [input(0), input(1), temp(0), temp(64)];
  const reader = { reads: [0], writes: [3] };
  expect(groupsOf(roles, [update(0, 2), reader, update(1, 2)])).toEqual([]);
  const other = { reads: [1], writes: [3] };
  expect(groupsOf(roles, [update(0, 2), other, update(0, 2), update(1, 2)])).toEqual([[2, 3]]);
});

test("a step that writes where an update's gradient lies ends a group", () => {
  const roles = [input(0), input(1), temp(128), temp(160), temp(192)];
  const overlaps = { reads: [], writes: [3] };
  const beside = { reads: [], writes: [4] };
  expect(groupsOf(roles, [update(0, 2), overlaps, update(1, 4)])).toEqual([]);
  expect(groupsOf(roles, [update(0, 2), beside, update(1, 4)])).toEqual([[0, 2]]);
});

test("an output lies in the memory of its donor", () => {
  const roles = [input(0), input(1), output(0), temp(0)];
  const work = [update(0, 3), { kernel: "update", reads: [1], writes: [2] }];
  expect(groupsOf(roles, work)).toEqual([[0, 1]]);
  expect(groupsOf(roles, work, [0])).toEqual([]);
});

test("updates of different parts of a buffer become one; of overlapping parts they do not", () => {
  const part = (from: number, length: number): StepOperand => ({
    buffer: 0,
    dtype: "f32",
    view: { ...contiguousView([length]), offset: from },
  });
  const groups = (parts: readonly StepOperand[]): number[][] => {
    const steps = parts.map((o) => ({ kind: "fused", inputs: [], outputs: [o] }) as unknown as Step);
    const program: Program = {
      buffers: [{ bytes: 4 * BYTES, dtype: "f32", role: output(0) }],
      steps,
      arenaBytes: 0,
      inputs: 0,
      outputs: 1,
      sites: [],
      donated: [],
    };
    const lowered = parts.map((): Lowered => ({
      name: "",
      inputs: [],
      outputs: [],
      steps: ["first", "second"].map((key) => ({ ...launch(key, 1), blockFunction: "block" })),
      temps: [16],
      flops: 0,
    }));
    return joinedSteps(program, lowered);
  };
  expect(groups([part(0, 8), part(8, 8), part(16, 8)])).toEqual([[0, 1, 2]]);
  expect(groups([part(0, 9), part(8, 8), part(16, 8)])).toEqual([[1, 2]]);
});

test("different kernels stay apart, and a launch's parameters are limited", () => {
  const roles = Array.from({ length: 300 }, (_, i) => input(i));
  const mixed = groupsOf(
    roles,
    [0, 1, 2, 3].map((i) => ({ kernel: i % 2 ? "odd" : "even", reads: [], writes: [i] })),
  );
  expect(mixed).toEqual([
    [0, 2],
    [1, 3],
  ]);
  const many = groupsOf(
    roles,
    roles.map((_, i) => ({ kernel: "update", reads: [], writes: [i] })),
  );
  expect(many.map((g) => g.length)).toEqual([128, 128, 44]);
});

test("the joined kernel hands every block to its launch", () => {
  const steps = [launch("k", 3), launch("k", 1), launch("k", 5)];
  const { firsts, blocks } = joinedBlocks(steps);
  expect(blocks).toBe(9);
  expect(firsts.slice(0, 4)).toEqual([0, 3, 4, 2 ** 32 - 1]);
  const source = joinedKernel({ ...steps[0]!, blockFunction: "update_block" }).source();
  expect(source).toContain("joined_update(const __grid_constant__ Words<512> w)");
  expect(source).toContain("update_block(*(const Words<3>*)(w.word + 128 + k * 3)");
});
