import { ModuleBuilder } from "@everlong/wasm";
import { afterEach, expect, test } from "vitest";
import type { KernelEntry } from "./control-block.ts";
import { SharedMemory } from "./memory.ts";
import { ThreadPool } from "./threads.ts";

const pools: ThreadPool[] = [];
afterEach(() => pools.splice(0).forEach((p) => p.dispose()));

/** A pool and a kernel that writes the scratch address of whoever does unit u to `args + 4 u`; unit 9999 traps. */
function setUp(threads: number): { memory: SharedMemory; pool: ThreadPool; entry: KernelEntry } {
  const memory = new SharedMemory();
  const pool = new ThreadPool(memory, threads);
  pools.push(pool);
  const builder = new ModuleBuilder({ width: 1, relaxed: false });
  builder.define(
    "mark",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      f.loop(begin, end, 1, (u) => {
        const zero = f.i32.ne(u, 9999);
        f.mem.i32.store(f.i32.add(args, f.i32.shl(u, 2)), 0, f.i32.mul(scratch, f.i32.divU(1, zero)));
      });
    },
  );
  const module = new WebAssembly.Module(builder.bytes());
  pool.addModule(module, ["mark"], 0);
  const instance = new WebAssembly.Instance(module, { env: { memory: memory.wasm } });
  return { memory, pool, entry: instance.exports["mark"] as KernelEntry };
}

const ARGS = 65_536;
const SCRATCH = 8192;
const sleep = (ms: number): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

test("every unit is done once, by workers too, with scratch of their own", async () => {
  const { memory, pool, entry } = setUp(3);
  const doneBy = new Set<number>();
  // Workers start in the background; a slow main thread leaves them their share.
  const slow: KernelEntry = (...args) => {
    sleep(1);
    entry(...args);
  };
  for (let round = 0; round < 200 && doneBy.size < 3; round++) {
    memory.i32.fill(0, ARGS / 4, ARGS / 4 + 1001);
    pool.run(0, slow, ARGS, 1001, 40, SCRATCH, 256);
    for (let u = 0; u < 1001; u++) {
      const who = memory.i32[ARGS / 4 + u]!;
      expect([SCRATCH, SCRATCH + 256, SCRATCH + 512]).toContain(who);
      doneBy.add(who);
    }
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  expect(doneBy.size).toBe(3);
});

test("nobody waits for workers that have not come yet", () => {
  const { memory, pool, entry } = setUp(4);
  pool.run(0, entry, ARGS, 500, 1, SCRATCH, 256);
  for (let u = 0; u < 500; u++) expect(memory.i32[ARGS / 4 + u]).toBeGreaterThanOrEqual(SCRATCH);
});

test("a trap on any thread is an error of the job, and the pool lives on", async () => {
  const { pool, entry } = setUp(2);
  pool.run(0, entry, ARGS, 100, 1, SCRATCH, 256);
  await new Promise((resolve) => setTimeout(resolve, 100));
  expect(() => pool.run(0, entry, ARGS, 10_500, 500, SCRATCH, 256)).toThrow();
  pool.run(0, entry, ARGS, 100, 1, SCRATCH, 256);
});

test("the number of threads is checked", () => {
  const { pool } = setUp(1);
  expect(() => pool.setThreads(0)).toThrow(/bad number of threads: expected 1 to 128, got 0/);
  expect(() => pool.setThreads(1.5)).toThrow(/bad number of threads/);
  pool.setThreads(2);
  expect(pool.threads).toBe(2);
});
