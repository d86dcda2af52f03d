// Thread entry: imports the user's module and votes on the chunks it is sent.
import { parentPort, workerData } from "node:worker_threads";
import type { LabelingFunction } from "./labeling-function.ts";
import type { VoteAnswer, VoteChunk } from "./threads.ts";

const { module, names } = workerData as { module: string; names: string[] };
const exported: unknown[] = Object.values((await import(module)) as Record<string, unknown>).flat();
const functions = names.map((name) => {
  const found = exported.find(
    (x): x is LabelingFunction<unknown> =>
      typeof x === "object" && x !== null && "vote" in x && "name" in x && x.name === name,
  );
  if (!found) throw new Error(`the module exports no labelling function "${name}"`);
  return found;
});

parentPort?.on("message", (chunk: VoteChunk) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread has no origin
  void answer(chunk).then((result) => parentPort?.postMessage(result));
});

async function answer(chunk: VoteChunk): Promise<VoteAnswer> {
  const votes: number[] = [];
  const problems: [number, number, string][] = [];
  const seconds = new Float64Array(functions.length);
  for (const [j, fn] of functions.entries()) {
    const start = performance.now();
    for (const position of chunk.missing[j]!) {
      try {
        let vote = fn.vote(chunk.rows[position]);
        if (typeof vote !== "number") vote = await vote;
        votes.push(j, position, vote);
      } catch (problem) {
        problems.push([j, position, problem instanceof Error ? problem.message : String(problem)]);
      }
    }
    seconds[j] = (performance.now() - start) / 1000;
  }
  return { votes: Int32Array.from(votes), problems, seconds };
}
