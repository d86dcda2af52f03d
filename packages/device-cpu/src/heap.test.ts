import { DeviceError } from "@everlong/core";
import { expect, test } from "vitest";
import { Heap, type Block } from "./heap.ts";
import { SharedMemory } from "./memory.ts";
import { randomSource } from "./step-harness.ts";

test("blocks are aligned, never overlap, and all memory comes back", () => {
  const heap = new Heap(new SharedMemory(2 ** 24));
  const random = randomSource(3);
  const held: { block: Block; mark: number }[] = [];
  for (let round = 0; round < 4000; round++) {
    if (held.length > 0 && random() < 0.48) {
      const [{ block, mark }] = held.splice(Math.floor(random() * held.length), 1) as [(typeof held)[number]];
      const bytes = heap.memory.u8.subarray(block.address, block.address + block.bytes);
      expect(bytes.every((b) => b === mark)).toBe(true);
      heap.free(block);
    } else if (held.length < 60) {
      const block = heap.allocate(1 + Math.floor(random() ** 4 * 60_000), "a test");
      expect(block.address % 64).toBe(0);
      const mark = round % 251;
      heap.memory.u8.fill(mark, block.address, block.address + block.bytes);
      held.push({ block, mark });
    }
  }
  expect(heap.liveBytes).toBe(held.reduce((sum, h) => sum + h.block.bytes, 0));
  for (const { block } of held) heap.free(block);
  expect(heap.liveBytes).toBe(0);
  // All neighbours have merged: one block takes nearly everything that was ever used.
  const peak = heap.memory.bytes;
  heap.free(heap.allocate(peak - 2 ** 18, "the whole"));
  expect(heap.memory.bytes).toBeLessThanOrEqual(peak * 1.3);
});

test("a full heap names the request and says what is in use", () => {
  const heap = new Heap(new SharedMemory(2 ** 21));
  const block = heap.allocate(2 ** 20, "a test");
  expect(() => heap.allocate(2 ** 20, "f32[512, 512]")).toThrow(
    /out of memory for f32\[512, 512\]: expected at most 2.00 MiB in the heap, got 1.00 MiB on top of 1.00 MiB/,
  );
  heap.free(block);
  expect(() => heap.free(block)).toThrow(DeviceError);
});

test("poison makes reads of fresh and freed memory show", () => {
  const heap = new Heap(new SharedMemory(2 ** 21), { poison: true });
  const block = heap.allocate(64, "a test");
  const floats = (): Float32Array => new Float32Array(heap.memory.buffer, block.address, 16);
  expect(floats().every(Number.isNaN)).toBe(true);
  floats().fill(1);
  heap.free(block);
  expect(floats().every(Number.isNaN)).toBe(true);
});

test("views follow growth, up to addresses beyond 2 GiB", () => {
  const memory = new SharedMemory();
  const heap = new Heap(memory);
  const block = heap.allocate(64, "a test");
  memory.i32[block.address / 4] = 42;
  const before = memory.i32;
  const large = heap.allocate(2 ** 31 + 2 ** 20, "a large test");
  expect(memory.i32).not.toBe(before);
  expect(memory.i32[block.address / 4]).toBe(42);
  const far = heap.allocate(64, "a test");
  expect(far.address).toBeGreaterThan(2 ** 31);
  memory.i32[far.address / 4] = 7;
  expect(memory.i32[far.address / 4]).toBe(7);
  heap.free(large);
});
