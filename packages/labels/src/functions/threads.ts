import { Worker } from "node:worker_threads";
import { EverlongError } from "@everlong/core";

/** Rows of one message: each function's rows of the chunk that still need a vote. */
export interface VoteChunk {
  /** Global row of each record. */
  readonly at: readonly number[];
  readonly rows: readonly unknown[];
  /** For each function, positions within `rows`. */
  readonly missing: readonly (readonly number[])[];
}

/** What a worker sends back for one chunk: flat triples, and problems by position. */
export interface VoteAnswer {
  /** function, position, vote. */
  readonly votes: Int32Array;
  readonly problems: readonly (readonly [fn: number, position: number, message: string])[];
  readonly seconds: Float64Array;
}

/** Cuts the rows that any function still needs into chunks, several per thread. */
export function splitRows(
  rows: readonly unknown[],
  missing: readonly (readonly number[])[],
  threads: number,
): VoteChunk[] {
  const wanted = missing.map((list) => new Set(list));
  const size = Math.max(1, Math.min(5000, Math.ceil(rows.length / (threads * 4))));
  const chunks: VoteChunk[] = [];
  for (let from = 0; from < rows.length; from += size) {
    const at: number[] = [];
    for (let i = from; i < Math.min(rows.length, from + size); i++)
      if (wanted.some((set) => set.has(i))) at.push(i);
    if (at.length > 0)
      chunks.push({
        at,
        rows: at.map((i) => rows[i]),
        missing: wanted.map((set) => [...at.keys()].filter((p) => set.has(at[p]!))),
      });
  }
  return chunks;
}

/** Votes on all chunks in worker threads that import the user's module. */
export async function voteInThreads(
  job: {
    readonly module: URL;
    readonly names: readonly string[];
    readonly chunks: readonly VoteChunk[];
    readonly threads: number;
  },
  into: {
    readonly record: (j: number, i: number, vote: number, problem: string | undefined) => void;
    readonly seconds: Float64Array;
    readonly onProgress: ((done: number, total: number) => void) | undefined;
    readonly total: number;
  },
): Promise<void> {
  const own = import.meta.url;
  const entry = new URL(own.endsWith(".ts") ? "./vote-worker.ts" : "./vote-worker.js", own);
  const queue = [...job.chunks];
  let done = 0;
  const run = async (): Promise<void> => {
    const worker = new Worker(entry, {
      workerData: { module: job.module.href, names: job.names },
    });
    let settle: ((answer: VoteAnswer) => void) | undefined;
    let fail: ((problem: Error) => void) | undefined;
    let broken: EverlongError | undefined;
    worker.on("message", (answer: VoteAnswer) => settle?.(answer));
    worker.on("error", (problem) => {
      broken = new EverlongError("apply", "a worker thread stopped", {
        hint: `Does ${job.module.href} export these functions and import cleanly?`,
        cause: problem,
        got: problem instanceof Error ? problem.message : String(problem),
      });
      fail?.(broken);
    });
    try {
      for (let chunk = queue.shift(); chunk; chunk = queue.shift()) {
        const answer = await new Promise<VoteAnswer>((resolve, reject) => {
          settle = resolve;
          fail = reject;
          if (broken) reject(broken);
          // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread has no origin
          else worker.postMessage(chunk);
        });
        for (let t = 0; t < answer.votes.length; t += 3)
          into.record(answer.votes[t]!, chunk.at[answer.votes[t + 1]!]!, answer.votes[t + 2]!, undefined);
        for (const [fn, position, message] of answer.problems)
          into.record(fn, chunk.at[position]!, -1, message);
        for (const [j, s] of answer.seconds.entries()) into.seconds[j] = into.seconds[j]! + s;
        done += chunk.at.length;
        into.onProgress?.(done, into.total);
      }
    } finally {
      await worker.terminate();
    }
  };
  await Promise.all(Array.from({ length: Math.min(job.threads, job.chunks.length) }, run));
}
