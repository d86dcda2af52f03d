import { availableParallelism } from "node:os";
import { ConfigError, DataError, EverlongError } from "@everlong/core";
import { ABSTAIN, Votes } from "../votes/votes.ts";
import type { LabelingFunction } from "./labeling-function.ts";
import { splitRows, voteInThreads } from "./threads.ts";
import type { VoteCache } from "./vote-cache.ts";

/** What went wrong inside one labelling function. */
export interface FunctionFailure {
  readonly function: string;
  /** Rows on which it threw or voted outside the classes. */
  readonly count: number;
  /** The first of them. */
  readonly row: number;
  readonly message: string;
}

/** Options of {@link applyFunctions}. */
export interface ApplyOptions<Row> {
  /** K. Default 2. */
  readonly classes?: number;
  /** Rows in flight at once for functions that wait (a model, a service). Default 64. */
  readonly concurrency?: number;
  /**
   * A module that exports the same functions as `functions`: votes are then computed in worker threads, for rules that compute rather than wait.
   * Records must be structured-cloneable.
   */
  readonly module?: URL;
  /** Worker threads with `module`. Default: the cores of the machine. */
  readonly threads?: number;
  /** Votes kept from earlier runs, by function, version and record. */
  readonly cache?: VoteCache<Row>;
  /** Called with rows done and rows in all. */
  readonly onProgress?: (done: number, total: number) => void;
  /** Give up on a function after this many failures; its other rows abstain. Default: never. */
  readonly failureLimit?: number;
}

/** Votes and what it took to get them. */
export interface ApplyResult {
  readonly votes: Votes;
  readonly failures: readonly FunctionFailure[];
  /** Votes taken from the cache. */
  readonly cached: number;
  /** Seconds spent in each function, `[M]`; with `module`, including all threads. */
  readonly seconds: Float64Array;
}

/**
 * Runs every function on every record. A function that throws, or that votes outside the classes, abstains on that record and is reported;
 * the others go on.
 */
export async function applyFunctions<Row>(
  functions: readonly LabelingFunction<Row>[],
  rows: readonly Row[],
  options: ApplyOptions<Row> = {},
): Promise<ApplyResult> {
  const { classes = 2, cache, onProgress } = options;
  checkNames(functions);
  const m = functions.length;
  const data = new Int16Array(rows.length * m).fill(ABSTAIN);
  const failures = new Map<string, { count: number; row: number; message: string }>();
  const seconds = new Float64Array(m);
  let cached = 0;
  const missing: number[][] = functions.map(() => []);
  for (const [j, fn] of functions.entries())
    for (let i = 0; i < rows.length; i++) {
      const kept = cache?.get(fn, rows[i]!);
      if (kept === undefined) missing[j]!.push(i);
      else {
        data[i * m + j] = kept;
        cached++;
      }
    }
  const record = (j: number, i: number, vote: number, problem: string | undefined): void => {
    const fn = functions[j]!;
    const wrong =
      problem ??
      (Number.isInteger(vote) && vote >= ABSTAIN && vote < classes
        ? undefined
        : `voted ${String(vote)}, outside -1 (abstain) and 0..${classes - 1}`);
    if (wrong === undefined) {
      data[i * m + j] = vote;
      cache?.set(fn, rows[i]!, vote);
      return;
    }
    const known = failures.get(fn.name);
    if (known) known.count++;
    else failures.set(fn.name, { count: 1, row: i, message: wrong });
  };

  if (options.module)
    await voteInThreads(
      {
        module: options.module,
        names: functions.map((fn) => fn.name),
        chunks: splitRows(rows, missing, options.threads ?? availableParallelism()),
        threads: options.threads ?? availableParallelism(),
      },
      { record, seconds, onProgress, total: rows.length },
    );
  else await voteHere(functions, rows, missing, { ...options, record, seconds, failures });
  await cache?.flush();
  onProgress?.(rows.length, rows.length);
  return {
    votes: new Votes(data, [rows.length, m], { classes, names: functions.map((fn) => fn.name) }),
    failures: [...failures].map(([name, f]) => ({ function: name, ...f })),
    cached,
    seconds,
  };
}

interface HereOptions {
  readonly concurrency?: number;
  readonly onProgress?: (done: number, total: number) => void;
  readonly failureLimit?: number;
  readonly record: (j: number, i: number, vote: number, problem: string | undefined) => void;
  readonly seconds: Float64Array;
  readonly failures: ReadonlyMap<string, { count: number }>;
}

// Functions that answer at once run in a plain loop; those that return promises share a window of `concurrency` rows.
async function voteHere<Row>(
  functions: readonly LabelingFunction<Row>[],
  rows: readonly Row[],
  missing: readonly (readonly number[])[],
  options: HereOptions,
): Promise<void> {
  const { concurrency = 64, record, seconds, failures, failureLimit = Infinity } = options;
  if (!(concurrency >= 1))
    throw new ConfigError("apply", "concurrency must be at least 1", { got: `${concurrency}` });
  const total = missing.reduce((sum, list) => sum + list.length, 0);
  let done = 0;
  for (const [j, fn] of functions.entries()) {
    const waiting = new Set<Promise<void>>();
    const start = performance.now();
    for (const i of missing[j]!) {
      if ((failures.get(fn.name)?.count ?? 0) >= failureLimit) break;
      try {
        const vote = fn.vote(rows[i]!);
        if (typeof vote === "number") record(j, i, vote, undefined);
        else {
          const settled = vote.then(
            (v) => record(j, i, v, undefined),
            (problem: unknown) => record(j, i, ABSTAIN, messageOf(problem)),
          );
          const task = settled.finally(() => waiting.delete(task));
          waiting.add(task);
          if (waiting.size >= concurrency) await Promise.race(waiting);
        }
      } catch (problem) {
        record(j, i, ABSTAIN, messageOf(problem));
      }
      if (++done % 4096 === 0) options.onProgress?.(Math.floor((done / total) * rows.length), rows.length);
    }
    await Promise.all(waiting);
    seconds[j] = (performance.now() - start) / 1000;
  }
}

/** The words of anything that was thrown. */
export function messageOf(problem: unknown): string {
  return problem instanceof Error ? problem.message : String(problem);
}

/** Fails with a summary when any labelling function failed; for pipelines that want no silent abstentions. */
export function requireNoFailures(result: ApplyResult): void {
  if (result.failures.length === 0) return;
  const list = result.failures.map((f) => `${f.function} (${f.count} rows, first ${f.row}: ${f.message})`);
  throw new DataError("apply", `${result.failures.length} labelling functions failed: ${list.join("; ")}`);
}

function checkNames(functions: readonly { readonly name: string }[]): void {
  if (functions.length === 0) throw new EverlongError("apply", "there are no labelling functions");
  const seen = new Set<string>();
  for (const { name } of functions) {
    if (seen.has(name))
      throw new ConfigError("apply", `two labelling functions are called "${name}"`, {
        hint: "Names are the columns of the vote matrix and the keys of the cache.",
      });
    seen.add(name);
  }
}
