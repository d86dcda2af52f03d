// Cases for `everlong bench labels`: search, extension and labels beside the same steps in numpy and scikit-learn.

import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Embeddings } from "./embeddings/embeddings.ts";
import { embeddingRows, embeddings } from "./embeddings/embeddings.ts";
import { Epoxy } from "./epoxy/epoxy.ts";
import { seededUniform } from "./evaluation/synthetic-votes.ts";
import { createLabelModel } from "./label-models/registry.ts";
import { referenceNearest } from "./neighbours/nearest-votes.ts";
import { ABSTAIN, Votes } from "./votes/votes.ts";

/** A run of somebody else's program, in its own milliseconds. */
export interface LabelPeerRun {
  readonly run: () => Promise<number>;
  readonly close: () => void;
}

/** One case, in the form the bench command takes. */
export interface LabelBenchCase {
  readonly name: string;
  readonly unit: string;
  readonly prepare: () => Promise<{
    readonly run: () => Promise<void>;
    readonly error: () => Promise<number>;
  }>;
  readonly tolerance: number;
  readonly peers: readonly {
    readonly name: string;
    readonly prepare: () => Promise<LabelPeerRun | string>;
  }[];
  readonly repeats: number;
}

/** A set of cases. */
export interface LabelSuite {
  readonly name: string;
  readonly describe: string;
  readonly cases: () => readonly LabelBenchCase[];
}

/** Points in 50 topics; functions that vote by topic on a part of them. */
export function topicWorld(
  items: number,
  size: number,
  functions: number,
  seed = 3,
): { votes: Votes; embeddings: Embeddings } {
  const uniform = seededUniform(seed);
  const gauss = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
  const topics = Float32Array.from({ length: 50 * size }, gauss);
  const data = new Float32Array(items * size);
  const votes = new Int16Array(items * functions).fill(ABSTAIN);
  for (let i = 0; i < items; i++) {
    const topic = Math.floor(uniform() * 50);
    for (let k = 0; k < size; k++) data[i * size + k] = topics[topic * size + k]! + 0.8 * gauss();
    for (let j = 0; j < functions; j++)
      if (uniform() < 0.05 + (0.2 * j) / functions)
        votes[i * functions + j] = (topic * 7 + j) % 3 === 0 ? 1 : 0;
  }
  return { votes: new Votes(votes, [items, functions]), embeddings: embeddings(data, [items, size]) };
}

function pipelineCase(items: number, size: number, functions: number): LabelBenchCase {
  return {
    name: `search, extend, label: ${items} x ${functions} functions x ${size}`,
    unit: "ms",
    tolerance: 1e-6,
    repeats: 5,
    prepare: async () => {
      const world = topicWorld(items, size, functions);
      return {
        run: async () => {
          const epoxy = new Epoxy(world.votes, world.embeddings);
          const extended = epoxy.extend(await epoxy.prepare(world.votes, world.embeddings), 0.5);
          createLabelModel("flyingsquid").fit(extended).predictProba(extended);
        },
        error: async () => {
          const rows = Array.from({ length: 40 }, (_, i) => Math.floor((i * items) / 40));
          const task = {
            support: world.embeddings,
            supportVotes: world.votes,
            metric: "cosine" as const,
            zeroRows: "error" as const,
          };
          const queries = embeddingRows(world.embeddings, rows);
          const wanted = referenceNearest({ ...task, queries, excludeSelf: false });
          const epoxy = new Epoxy(world.votes, world.embeddings);
          const got = await epoxy.prepare(
            world.votes.rows(rows).with(new Int16Array(40 * functions).fill(ABSTAIN)),
            queries,
          );
          let worst = 0;
          for (let x = 0; x < wanted.score.length; x++)
            if (wanted.index[x]! >= 0)
              worst = Math.max(worst, Math.abs(got.nearest.score[x]! - wanted.score[x]!));
          return worst;
        },
      };
    },
    peers: [{ name: "numpy + scikit-learn", prepare: () => pythonPeer(`all ${items} ${size} ${functions}`) }],
  };
}

async function pythonPeer(request: string): Promise<LabelPeerRun | string> {
  const script = fileURLToPath(new URL("../bench/numpy_peer.py", import.meta.url));
  const child = spawn("/usr/bin/python3", [script], { stdio: "pipe" });
  let problem = "";
  child.on("error", (e) => (problem = e.message));
  child.stderr.on("data", (text: Buffer) => (problem = text.toString().trim().split("\n").at(-1) ?? ""));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const ask = async (line: string): Promise<string> => {
    child.stdin.on("error", () => undefined);
    child.stdin.write(`${line}\n`);
    const { value, done } = await lines.next();
    return done ? `needs python3-sklearn (${problem})` : (value as string);
  };
  const first = await ask(request);
  if (first !== "ready") return first;
  return { run: async () => Number(await ask("go")), close: () => child.kill() };
}

/** Label steps at sizes between the published ones. */
export const labelSuite: LabelSuite = {
  name: "labels",
  describe: "neighbour search, extension and label model beside numpy and scikit-learn",
  cases: () => [pipelineCase(6000, 256, 10), pipelineCase(10_000, 128, 10), pipelineCase(4000, 768, 7)],
};
