// Works through cells: takes results from the store, trains what is missing on worker threads, and leaves alone what
// other processes are at. Stopping it at any moment loses at most the cells under way.

import { rmSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { askWorker, type RunWorker } from "../train/pool.ts";
import type { Cell } from "./cell.ts";
import { hyperParameters, stepsOf } from "./recipe.ts";
import type { CellResult, EpochPoint } from "./result.ts";
import type { Claim, ResultStore } from "./store.ts";
import { joinParts, type TrainCellOptions } from "./train-cell.ts";

export interface RunCellsOptions {
  readonly store: ResultStore;
  /** Starts a worker whose entry calls `serveRuns`. */
  readonly start: () => RunWorker;
  /** Cells trained side by side; where there are fewer cells, the runs of one are shared out. */
  readonly workers: number;
  readonly together?: NonNullable<TrainCellOptions["together"]>;
  /** Train even what the store holds. Default false. */
  readonly again?: boolean;
  /** Least seconds between the checkpoints of a cell. Default 60. */
  readonly checkpointEvery?: number;
  /** Wait for cells that other processes are at. Default true. */
  readonly wait?: boolean;
  readonly onPoint?: (cell: Cell, run: number, point: EpochPoint, done: number) => void;
  /** A cell is there: `cached` when nothing had to be trained for it here. */
  readonly onResult?: (cell: Cell, result: CellResult, cached: boolean) => void;
  readonly onFailure?: (cell: Cell, message: string) => void;
  /** Ends the work: cells under way are dropped. */
  readonly signal?: AbortSignal;
}

export interface CellFailure {
  readonly cell: Cell;
  readonly message: string;
}

export interface RunCellsReport {
  /** In the order of the cells, without those that are missing. */
  readonly results: readonly CellResult[];
  readonly trained: number;
  readonly failures: readonly CellFailure[];
  /** Left to other processes, or dropped by the signal. */
  readonly missing: readonly Cell[];
}

/** How much work a cell is, in tokens; for progress. */
export const cellWork = ({ recipe, setting }: Cell): number =>
  stepsOf(recipe, setting.trainCount) *
  recipe.batch *
  (setting.options.seqLen ?? 1) *
  recipe.learningRates.length *
  recipe.weightDecays.length;

const POLL_MS = 2000;

/** Places of a cell's runs in parts, such that each part has high and low rates: high ones often end early. */
export const shareRuns = (runs: number, parts: number): number[][] =>
  Array.from({ length: parts }, (_, part) =>
    Array.from({ length: runs }, (_x, i) => i).filter((i) => i % parts === part),
  );

/** Trains what is missing; a cell that fails does not keep the others from being trained. */
export async function runCells(cells: readonly Cell[], options: RunCellsOptions): Promise<RunCellsReport> {
  const { store, again = false, wait = true, signal } = options;
  const results = new Map<string, CellResult>();
  const failures: CellFailure[] = [];
  let trained = 0;
  // Equal cells under two names are one piece of work.
  const waiting = [...new Map(cells.map((c) => [c.key, c])).values()];
  const settle = (cell: Cell, result: CellResult, cached: boolean): void => {
    results.set(cell.key, result);
    options.onResult?.(cell, result, cached);
  };
  /** The next cell to train here; undefined when all are done or, for now, elsewhere. */
  const next = (): { readonly cell: Cell; readonly claim: Claim } | undefined => {
    for (let i = 0; i < waiting.length;) {
      const cell = waiting[i]!;
      const known = again ? undefined : store.get(cell.key);
      if (known) {
        waiting.splice(i, 1);
        settle(cell, known, true);
        continue;
      }
      const claim = store.claim(cell.key);
      if (claim) {
        waiting.splice(i, 1);
        // Between the look and the claim another process may have finished.
        const late = again ? undefined : store.get(cell.key);
        if (!late) return { cell, claim };
        claim.release();
        settle(cell, late, true);
        continue;
      }
      i++;
    }
    return undefined;
  };
  let busy = 0;
  /** Trains a cell on the worker, and on more of them while there is less work than they are. */
  const train = async (cell: Cell, worker: RunWorker, folder: string): Promise<CellResult> => {
    const idle = Math.max(0, options.workers - busy - waiting.length);
    const runs = hyperParameters(cell.recipe).length;
    const parts = Math.min(runs, 1 + Math.floor(idle / (waiting.length + 1)));
    const others = Array.from({ length: parts - 1 }, options.start);
    const stop = (): void => others.forEach((w) => void w.terminate());
    signal?.addEventListener("abort", stop);
    busy += others.length;
    const { together = "auto", checkpointEvery } = options;
    const resume = { folder, ...(checkpointEvery === undefined ? {} : { every: checkpointEvery }) };
    const done = Array.from({ length: parts }, () => 0);
    try {
      const made = await Promise.all(
        shareRuns(runs, parts).map((share, i) =>
          askWorker(
            [worker, ...others][i]!,
            "cell",
            { cell, together, resume, runs: share },
            ({ run, point }, part) => {
              done[i] = part * share.length;
              options.onPoint?.(cell, run, point, done.reduce((a, b) => a + b, 0) / runs);
            },
          ),
        ),
      );
      return joinParts(made);
    } finally {
      busy -= others.length;
      signal?.removeEventListener("abort", stop);
      await Promise.all(others.map((w) => w.terminate()));
    }
  };
  const drain = async (): Promise<void> => {
    let worker: RunWorker | undefined;
    const stop = (): void => void worker?.terminate();
    signal?.addEventListener("abort", stop);
    try {
      for (;;) {
        if (signal?.aborted) break;
        const job = next();
        if (!job) {
          if (waiting.length === 0 || !wait) break;
          await sleep(POLL_MS, undefined, { ref: true });
          continue;
        }
        const { cell, claim } = job;
        busy++;
        try {
          worker ??= options.start();
          const partial = store.partial(cell.key);
          const result = await train(cell, worker, partial);
          store.put(result);
          rmSync(partial, { recursive: true, force: true });
          trained++;
          settle(cell, result, false);
        } catch (error) {
          await worker?.terminate();
          worker = undefined;
          if (!signal?.aborted) {
            const message = error instanceof Error ? error.message : String(error);
            failures.push({ cell, message });
            options.onFailure?.(cell, message);
          }
        } finally {
          busy--;
          claim.release();
        }
      }
    } finally {
      signal?.removeEventListener("abort", stop);
      await worker?.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.max(1, Math.min(options.workers, cells.length)) }, drain));
  // Names may differ between equal cells.
  const named = cells.flatMap((c) => {
    const found = results.get(c.key);
    return found ? [{ ...found, architecture: c.architecture }] : [];
  });
  const failed = new Set(failures.map((f) => f.cell.key));
  const missing = cells.filter((c) => !results.has(c.key) && !failed.has(c.key));
  return { results: named, trained, failures, missing };
}
