// The pool of worker threads and the way a parallel kernel is run. The main thread never depends on a worker: it opens a job,
// works on it until no chunk is left, closes it, and waits only for workers that did join.

import { ConfigError, DeviceError } from "@everlong/core";
import {
  ACTIVE_MASK,
  FAILED,
  JOB_ARGS,
  JOB_FUNCTION,
  JOB_GRAIN,
  JOB_SCRATCH,
  JOB_SCRATCH_STRIDE,
  JOB_UNITS,
  MAIL,
  MAIN_SLEEPS,
  NEXT,
  SEQUENCE_STEP,
  SLEEPERS,
  STATE,
  type KernelEntry,
  type ModuleMessage,
  type WorkerMessage,
} from "./control-block.ts";
import type { SharedMemory } from "./memory.ts";

/** Rounds of looking for a job before a worker sleeps; some 20 microseconds. */
const WORKER_SPINS = 2000;
const MAIN_SPINS = 20_000;
/** Most threads of a job: the state word counts members in a byte. */
export const MAX_THREADS = 128;

interface Thread {
  post(message: WorkerMessage): void;
  stop(): void;
}

/** Runs jobs on the main thread and up to `threads - 1` workers, which start at the first job worth sharing. */
export class ThreadPool {
  private readonly memory: SharedMemory;
  private control: Int32Array;
  private wanted: number;
  private readonly workers: Thread[] = [];
  private readonly modules: ModuleMessage[] = [];
  private mail = 0;
  private broken = false;

  constructor(memory: SharedMemory, threads: number) {
    this.memory = memory;
    this.control = memory.i32;
    this.wanted = checkThreads(threads);
  }

  /** Threads that take part in a job, the main one included. */
  get threads(): number {
    return this.broken ? 1 : this.wanted;
  }

  setThreads(threads: number): void {
    this.wanted = checkThreads(threads);
    while (this.workers.length > this.wanted - 1) this.workers.pop()!.stop();
  }

  /** Makes a module known to the workers, now and later ones. */
  addModule(module: WebAssembly.Module, entries: readonly string[], first: number): void {
    const message: ModuleMessage = { kind: "module", module, entries, first, mail: ++this.mail };
    this.modules.push(message);
    if (this.workers.length === 0) return;
    for (const worker of this.workers) worker.post(message);
    Atomics.store(this.control, MAIL, this.mail);
    Atomics.notify(this.control, STATE);
  }

  /**
   * Calls `entry` on the units `0..units` in chunks of `grain`, on all threads. Thread t uses the scratch memory at
   * `scratch + t * scratchStride`; the main thread is 0.
   */
  run(
    id: number,
    entry: KernelEntry,
    args: number,
    units: number,
    grain: number,
    scratch: number,
    scratchStride: number,
  ): void {
    if (this.workers.length < this.wanted - 1 && !this.broken) this.start();
    const c = this.control;
    c[JOB_FUNCTION] = id;
    c[JOB_ARGS] = args;
    c[JOB_UNITS] = units;
    c[JOB_GRAIN] = grain;
    c[JOB_SCRATCH] = scratch;
    c[JOB_SCRATCH_STRIDE] = scratchStride;
    c[NEXT] = 0;
    Atomics.add(c, STATE, SEQUENCE_STEP);
    if (Atomics.load(c, SLEEPERS) > 0) Atomics.notify(c, STATE);
    try {
      for (;;) {
        const begin = Atomics.add(c, NEXT, grain);
        if (begin >= units) break;
        entry(args, begin, Math.min(begin + grain, units), scratch);
      }
    } finally {
      Atomics.add(c, STATE, SEQUENCE_STEP);
      this.settle(c);
    }
    if (c[FAILED] !== 0) {
      c[FAILED] = 0;
      throw new DeviceError("cpu", "a kernel trapped on a worker thread");
    }
  }

  /** Stops all workers. */
  dispose(): void {
    for (const worker of this.workers.splice(0)) worker.stop();
  }

  /** Waits until no worker is in the job. */
  private settle(c: Int32Array): void {
    for (let i = 0; i < MAIN_SPINS; i++) if ((Atomics.load(c, STATE) & ACTIVE_MASK) === 0) return;
    // A worker whose core was taken away needs this one's turn. Browsers forbid sleeping on the main thread: spin on there.
    const maySleep = typeof process !== "undefined";
    if (maySleep) Atomics.store(c, MAIN_SLEEPS, 1);
    for (;;) {
      const state = Atomics.load(c, STATE);
      if ((state & ACTIVE_MASK) === 0) break;
      if (maySleep) Atomics.wait(c, STATE, state, 10);
    }
    Atomics.store(c, MAIN_SLEEPS, 0);
  }

  private start(): void {
    this.control = this.memory.i32;
    Atomics.store(this.control, MAIL, this.mail);
    try {
      while (this.workers.length < this.wanted - 1) {
        const worker = startWorker();
        worker.post({
          kind: "start",
          index: this.workers.length + 1,
          memory: this.memory.wasm,
          spins: WORKER_SPINS,
        });
        for (const message of this.modules) worker.post(message);
        this.workers.push(worker);
      }
    } catch {
      // No workers here (a page without cross-origin isolation, a sandbox): one thread does it all.
      this.broken = true;
    }
  }
}

function checkThreads(threads: number, op = "cpu"): number {
  if (!Number.isInteger(threads) || threads < 1 || threads > MAX_THREADS) {
    throw new ConfigError(op, "bad number of threads", {
      expected: `1 to ${MAX_THREADS}`,
      got: `${threads}`,
    });
  }
  return threads;
}

function startWorker(): Thread {
  // The file runs as TypeScript in development and as JavaScript when built.
  const own = import.meta.url;
  if (typeof process !== "undefined" && process.getBuiltinModule) {
    const { Worker } = process.getBuiltinModule("node:worker_threads");
    const file = new URL(own.endsWith(".ts") ? "./worker.ts" : "./worker.js", own);
    const worker = new Worker(file);
    worker.unref();
    // A worker that cannot start is a thread less, never a crash: it does not join, and nobody waits for it.
    worker.on("error", () => {});
    return { post: worker.postMessage.bind(worker), stop: () => void worker.terminate() };
  }
  if (!globalThis.crossOriginIsolated) throw new DeviceError("cpu", "the page is not cross-origin isolated");
  const worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  return { post: worker.postMessage.bind(worker), stop: () => worker.terminate() };
}

/** Threads to use by default: `EVERLONG_THREADS`, else the available cores. */
export function defaultThreads(): number {
  if (typeof process !== "undefined" && process.getBuiltinModule) {
    const asked = process.env["EVERLONG_THREADS"];
    if (asked) return checkThreads(Number(asked), "EVERLONG_THREADS");
    return Math.min(MAX_THREADS, process.getBuiltinModule("node:os").availableParallelism());
  }
  if (!globalThis.crossOriginIsolated) return 1;
  return Math.min(MAX_THREADS, navigator.hardwareConcurrency);
}
