// Work side by side, one worker thread each. Which device a worker computes on is decided by its entry file, which the
// host brings (the facade's registers the CPU device).

import { EverlongError } from "@everlong/core";
import type { Cell } from "../benchmark/cell.ts";
import type { CellResult, EpochPoint } from "../benchmark/result.ts";
import { trainCell, type TrainCellOptions } from "../benchmark/train-cell.ts";
import type { CurvePoint, RunRecord } from "../run-record.ts";
import { trainRun, type RunConfig } from "./run.ts";

/** What workers can be asked for: arguments and the answer, by kind. */
interface Work {
  readonly run: { readonly ask: RunConfig; readonly answer: RunRecord; readonly point: CurvePoint };
  readonly cell: {
    readonly ask: { readonly cell: Cell } & Pick<TrainCellOptions, "together" | "resume" | "runs">;
    readonly answer: CellResult;
    readonly point: { readonly run: number; readonly point: EpochPoint };
  };
}

type Kind = keyof Work;

interface Job<K extends Kind = Kind> {
  readonly kind: K;
  readonly id: number;
  readonly ask: Work[K]["ask"];
}

type Message =
  | { readonly kind: "point"; readonly id: number; readonly point: unknown; readonly done: number }
  | { readonly kind: "answer"; readonly id: number; readonly answer: unknown }
  | { readonly kind: "error"; readonly id: number; readonly op: string; readonly what: string };

type Post = (point: unknown, done: number) => void;

const does: { readonly [K in Kind]: (ask: Work[K]["ask"], post: Post) => Promise<Work[K]["answer"]> } = {
  run: (config, post) => trainRun(config, post),
  cell: ({ cell, ...options }, post) =>
    trainCell(cell, { ...options, onPoint: (run, point, done) => post({ run, point }, done) }),
};

/** One end of a channel between threads, as Node's `worker_threads` have it. */
export interface Channel {
  on(event: string, listener: (value: unknown) => void): unknown;
  off(event: string, listener: (value: unknown) => void): unknown;
  postMessage(message: unknown): void;
}

/** A worker thread, as Node's `Worker` is one. */
export interface RunWorker extends Channel {
  terminate(): Promise<unknown>;
}

/** In a worker: does the jobs that arrive. */
export function serveRuns(port: Channel): void {
  port.on("message", (message) => {
    const job = message as Job;
    const post = (m: Message): void => port.postMessage(m);
    const { id } = job;
    const doing = (does[job.kind] as (ask: unknown, post: Post) => Promise<unknown>)(job.ask, (point, done) =>
      post({ kind: "point", id, point, done }),
    );
    doing.then(
      (answer) => post({ kind: "answer", id, answer }),
      (error: unknown) => post({ kind: "error", id, ...described(error) }),
    );
  });
}

/** What of an error reaches the other thread: its operation and the rest of its sentence. */
function described(error: unknown): { readonly op: string; readonly what: string } {
  if (!(error instanceof EverlongError))
    return { op: "mad worker", what: error instanceof Error ? error.message : String(error) };
  return { op: error.op, what: error.message.slice(`[${error.op}] `.length).replace(/\.$/, "") };
}

let jobs = 0;

/** Sends a worker one job. @throws EverlongError with the worker's message, also when the worker itself breaks */
export function askWorker<K extends Kind>(
  worker: RunWorker,
  kind: K,
  ask: Work[K]["ask"],
  onPoint: (point: Work[K]["point"], done: number) => void = () => {},
): Promise<Work[K]["answer"]> {
  const id = jobs++;
  return new Promise((resolve, reject) => {
    const finish = (settle: () => void): void => {
      worker.off("message", hear);
      worker.off("error", broken);
      worker.off("exit", ended);
      settle();
    };
    const fail = (what: string, cause?: unknown): void =>
      finish(() => reject(new EverlongError("mad worker", what, { cause })));
    const broken = (error: unknown): void =>
      fail(`the worker broke: ${error instanceof Error ? error.message : String(error)}`, error);
    const ended = (code: unknown): void => fail(`the worker ended with code ${String(code)}`);
    const hear = (message: unknown): void => {
      const m = message as Message;
      if (m.id !== id) return;
      if (m.kind === "point") onPoint(m.point as Work[K]["point"], m.done);
      else if (m.kind === "answer") finish(() => resolve(m.answer as Work[K]["answer"]));
      else finish(() => reject(new EverlongError(m.op, m.what)));
    };
    worker.on("message", hear);
    worker.on("error", broken);
    worker.on("exit", ended);
    worker.postMessage({ kind, id, ask } satisfies Job<K>);
  });
}

export interface PoolOptions {
  /** Starts a worker whose entry calls {@link serveRuns}. */
  readonly start: () => RunWorker;
  readonly workers: number;
  readonly onPoint?: (index: number, point: CurvePoint, done: number) => void;
  readonly onRecord?: (index: number, record: RunRecord) => void;
}

/** Runs all configurations, each on the next free worker; records come back in the order of `configs`. */
export async function runAll(configs: readonly RunConfig[], options: PoolOptions): Promise<RunRecord[]> {
  const records: RunRecord[] = [];
  let next = 0;
  const drain = async (worker: RunWorker): Promise<void> => {
    while (next < configs.length) {
      const id = next++;
      const config = configs[id]!;
      try {
        records[id] = await askWorker(worker, "run", config, (p, done) => options.onPoint?.(id, p, done));
      } catch (cause) {
        const { message } = cause as Error;
        const what = `${config.architecture.name} on ${config.task} failed: ${message}`;
        throw new EverlongError("mad run", what, { cause });
      }
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
