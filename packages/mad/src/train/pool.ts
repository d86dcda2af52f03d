// Several runs side by side, one worker thread each. Which device a worker computes on is decided by its entry file, which
// the host brings (the facade's registers the CPU device).

import type { MessagePort, Worker } from "node:worker_threads";
import { EverlongError } from "@everlong/core";
import type { CurvePoint, RunRecord } from "../run-record.ts";
import { trainRun, type RunConfig } from "./run.ts";

interface Job {
  readonly id: number;
  readonly config: RunConfig;
}

type Message =
  | { readonly kind: "point"; readonly id: number; readonly point: CurvePoint; readonly done: number }
  | { readonly kind: "record"; readonly id: number; readonly record: RunRecord }
  | { readonly kind: "error"; readonly id: number; readonly message: string };

/** In a worker: runs the jobs that arrive. */
export function serveRuns(port: MessagePort): void {
  port.on("message", ({ id, config }: Job) => {
    const post = (m: Message): void => port.postMessage(m);
    trainRun(config, (point, done) => post({ kind: "point", id, point, done })).then(
      (record) => post({ kind: "record", id, record }),
      (error: unknown) =>
        post({ kind: "error", id, message: error instanceof Error ? error.message : String(error) }),
    );
  });
}

export interface PoolOptions {
  /** Starts a worker whose entry calls {@link serveRuns}. */
  readonly start: () => Worker;
  readonly workers: number;
  readonly onPoint?: (index: number, point: CurvePoint, done: number) => void;
  readonly onRecord?: (index: number, record: RunRecord) => void;
}

/** Runs all configurations, each on the next free worker; records come back in the order of `configs`. */
export async function runAll(configs: readonly RunConfig[], options: PoolOptions): Promise<RunRecord[]> {
  const records: RunRecord[] = [];
  let next = 0;
  const drain = async (worker: Worker): Promise<void> => {
    while (next < configs.length) {
      const id = next++;
      records[id] = await runOn(worker, { id, config: configs[id]! }, options);
      options.onRecord?.(id, records[id]);
    }
  };
  const workers = Array.from(
    { length: Math.max(1, Math.min(options.workers, configs.length)) },
    options.start,
  );
  try {
    await Promise.all(workers.map(drain));
  } finally {
    await Promise.all(workers.map((w) => w.terminate()));
  }
  return records;
}

function runOn(worker: Worker, job: Job, options: PoolOptions): Promise<RunRecord> {
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      worker.off("message", hear);
      worker.off("error", reject);
      settle();
    };
    const hear = (m: Message): void => {
      if (m.kind === "point") options.onPoint?.(job.id, m.point, m.done);
      else if (m.kind === "record") finish(() => resolve(m.record));
      else
        finish(() =>
          reject(
            new EverlongError(
              "mad run",
              `${job.config.architecture.name} on ${job.config.task} failed: ${m.message}`,
            ),
          ),
        );
    };
    worker.on("message", hear);
    worker.on("error", reject);
    worker.postMessage(job);
  });
}
