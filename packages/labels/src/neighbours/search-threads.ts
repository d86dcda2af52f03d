import { Worker } from "node:worker_threads";
import { EverlongError } from "@everlong/core";
import type { SearchPlan } from "./block-search.ts";
import { searchBlocks } from "./block-search.ts";

/** Multiply-adds up to which the calling thread works along: about a second, after which a caller wants its event loop back. */
const WORK_ALONG = 3e10;

// Threads that wait for the next search. They do not keep the process alive.
const idle: Worker[] = [];

/** Runs a plan on `crew` threads. Threads are kept for later searches: starting one costs as much as a search of a few thousand items. */
export async function searchInThreads(plan: SearchPlan, crew: number, work: number): Promise<void> {
  const along = crew === 1 || work < WORK_ALONG;
  const others = Array.from({ length: along ? crew - 1 : crew }, () => ask(plan));
  if (along) searchBlocks(plan);
  await Promise.all(others);
}

function ask(plan: SearchPlan): Promise<void> {
  const worker = idle.pop() ?? start();
  worker.ref();
  return new Promise((resolve, reject) => {
    const finish = (): void => {
      worker.off("message", done);
      worker.off("error", failed);
    };
    const done = (): void => {
      finish();
      worker.unref();
      idle.push(worker);
      resolve();
    };
    const failed = (problem: unknown): void => {
      finish();
      reject(
        new EverlongError("neighbours", "a search thread stopped", {
          cause: problem,
          got: problem instanceof Error ? problem.message : String(problem),
        }),
      );
    };
    worker.on("message", done);
    worker.on("error", failed);
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread has no origin
    worker.postMessage(plan);
  });
}

function start(): Worker {
  const own = import.meta.url;
  return new Worker(new URL(own.endsWith(".ts") ? "./search-worker.ts" : "./search-worker.js", own));
}
