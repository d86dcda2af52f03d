// Builders for the classes of the original implementations, for the parity runner: original names in, original names out, `compat` on.
import { ConfigError, checkOptions } from "@everlong/core";
import {
  parityNumbers,
  type ParityCase,
  type ParityResult,
  type ParityRun,
  type ParityTensor,
} from "@everlong/data";
import type { Embeddings } from "./embeddings/embeddings.ts";
import { rowNorms } from "./embeddings/embeddings.ts";
import { extendVotes } from "./epoxy/extend.ts";
import { FlyingSquid } from "./label-models/flyingsquid/flyingsquid.ts";
import type { SquidFitOptions } from "./label-models/flyingsquid/flyingsquid.ts";
import { assignParts, kMeans } from "./liger/kmeans.ts";
import { referenceNearest } from "./neighbours/nearest-votes.ts";
import type { Metric, ZeroRows } from "./neighbours/nearest-votes.ts";
import { Votes } from "./votes/votes.ts";

type Tensors = Map<string, ParityTensor>;

/** Original class name -> how to repeat its case. */
export const parity: Readonly<Record<string, ParityRun>> = {
  "flyingsquid.label_model.LabelModel": flyingSquidCase,
  "epoxy.Epoxy": epoxyCase,
  "liger.Liger.expand_lfs": ligerCase,
  "liger.Liger.expand_lfs + Flyingsquid_Cluster + utils.evaluate_thresholds (run_liger.py flow, T=1)":
    ligerCase,
};

/** Arguments of the constructor and of `fit`; `verbose` has no effect. */
const SQUID_ARGUMENTS = [
  "m",
  "v",
  "y_edges",
  "lambda_y_edges",
  "lambda_edges",
  "allow_abstentions",
  "triplet_seed",
  "variants",
  "class_balance",
  "Y_dev",
  "flip_negative",
  "clamp",
  "solve_method",
  "sign_recovery",
  "triplets",
  "verbose",
] as const;

/** @throws ConfigError for a value that is not available */
function checkOnly(args: Readonly<Record<string, unknown>>, name: string, value: unknown): void {
  const given = args[name];
  if (given === undefined || given === null || given === value) return;
  throw new ConfigError("parity", `unsupported: argument "${name}"`, {
    expected: JSON.stringify(value),
    got: JSON.stringify(given),
  });
}

const signed = (c: ParityCase, name: string): Int8Array => Int8Array.from(parityNumbers(c, name).data);

function flyingSquidCase(c: ParityCase): ParityResult {
  const tensors: Tensors = new Map();
  const json: Record<string, unknown> = {};
  const method = (c.args["solve_method"] ?? "triplet_mean") as string;
  const variants = (c.args["variants"] ?? [
    [method === "triplet" ? "single" : method.replace("triplet_", ""), {}, {}],
  ]) as [string, Record<string, unknown>, Record<string, unknown>][];
  const train = signed(c, "in.L_train");
  for (const [name, constructor, fit] of variants) {
    const args = { ...c.args, ...constructor, ...fit };
    checkOptions("parity", args, SQUID_ARGUMENTS);
    checkOnly(args, "sign_recovery", "all_positive");
    checkOnly(args, "triplets", null);
    const v = Number(args["v"] ?? 1);
    const m = Number(args["m"]);
    const model = squid(args);
    const devLabels =
      args["Y_dev"] === true
        ? Array.from(parityNumbers(c, "in.Y_train").data).slice(0, 100 * v)
        : (args["Y_dev"] as number[] | undefined);
    model.fit(train, { ...squidFit(args), ...(devLabels ? { devLabels: devLabels.flat() } : {}) });
    const declared = (c.json["tensors"] as Record<string, { shape: number[] }> | undefined)?.[
      `out.${name}.predict_proba`
    ];
    const rows = declared?.shape[0] ?? 60;
    const test = c.tensors.has("in.L_test") ? signed(c, "in.L_test") : train.subarray(0, rows * m);
    const n = test.length / m;
    const put = (what: string, shape: number[], data: ArrayLike<number>): void => {
      tensors.set(`out.${name}.${what}`, { shape, data });
    };
    put("predict_proba", [n, 2 ** v], model.predictProba(test));
    put("predict", [n, v], model.predict(test));
    put("predict_proba_marginalized", [n * v], model.predictMarginals(test));
    if (model.abstentions) put("estimated_accuracies", [m], model.coverageAccuracies());
    const moments = [...model.moments().values()].sort((a, b) => (a.key < b.key ? -1 : 1));
    json[`out.${name}.expectation_values`] = Object.fromEntries(moments.map((x) => [x.key, x.expectation]));
    json[`out.${name}.probability_values`] = Object.fromEntries(moments.map((x) => [x.key, x.probability]));
    json[`out.${name}.class_balance`] = [...model.classBalance()];
    const marginals = model.tables().map(({ clique, table }) => ({
      variables: [...clique.functions.map((i) => `lambda_${i}`), ...clique.targets.map((t) => `Y_${t}`)],
      cardinality: [
        ...clique.functions.map(() => (model.abstentions ? 3 : 2)),
        ...clique.targets.map(() => 2),
      ],
      values: [...table],
    }));
    json[`out.${name}.clique_marginals`] = inStoredOrder(marginals, c.json[`out.${name}.clique_marginals`]);
  }
  return { tensors, json };
}

/** The original lists cliques in the order of a hash table, which says nothing; ours follow the case's. */
function inStoredOrder<T extends { readonly variables: readonly string[] }>(
  ours: readonly T[],
  stored: unknown,
): T[] {
  const order = (Array.isArray(stored) ? (stored as T[]) : []).map((s) => s.variables.join());
  const place = (m: T): number => {
    const at = order.indexOf(m.variables.join());
    return at < 0 ? order.length : at;
  };
  return [...ours].sort((a, b) => place(a) - place(b));
}

function squid(args: Record<string, unknown>): FlyingSquid {
  const edges = (key: string): [number, number][] => (args[key] ?? []) as [number, number][];
  return new FlyingSquid({
    functions: Number(args["m"]),
    targets: Number(args["v"] ?? 1),
    targetEdges: edges("y_edges"),
    voteEdges: edges("lambda_y_edges"),
    functionEdges: edges("lambda_edges"),
    abstentions: args["allow_abstentions"] !== false,
    tripletSeed: (args["triplet_seed"] as number | null | undefined) ?? 0,
    compat: "flyingsquid",
  });
}

function squidFit(args: Record<string, unknown>): SquidFitOptions {
  const solve = { triplet_mean: "mean", triplet_median: "median", triplet: "single" }[
    (args["solve_method"] ?? "triplet_mean") as string
  ] as "mean" | "median" | "single" | undefined;
  if (!solve)
    throw new ConfigError("parity", "unknown solve_method", {
      got: String(args["solve_method"]),
    });
  return {
    solve,
    negative: args["flip_negative"] !== false ? "flip" : args["clamp"] !== false ? "clamp" : "keep",
    ...(args["class_balance"] ? { classBalance: args["class_balance"] as number[] } : {}),
  };
}

function embeddingsOf(c: ParityCase, name: string): Embeddings {
  const { shape, data } = parityNumbers(c, name);
  return { data: Float32Array.from(data), items: shape[0]!, size: shape[1]! };
}

function votesOf(c: ParityCase, name: string): Votes {
  const { shape, data } = parityNumbers(c, name);
  return Votes.fromSigned(data, [shape[0]!, shape[1]!]);
}

function epoxyCase(c: ParityCase): ParityResult {
  // Devices and batches change no number.
  checkOptions("parity", c.args, ["metric", "methods", "method", "thresholds", "gpu", "batch_size"]);
  const metric = (c.args["metric"] ?? "cosine") as Metric;
  const methods = (c.args["methods"] ?? [c.args["method"] ?? "pytorch"]) as string[];
  const support = embeddingsOf(c, "in.train_embeddings");
  const queries = embeddingsOf(c, "in.mat_embeddings");
  const supportVotes = votesOf(c, "in.L_train");
  const votes = votesOf(c, "in.L_mat");
  const radii = c.tensors.has("in.thresholds")
    ? parityNumbers(c, "in.thresholds").data
    : (c.args["thresholds"] as number[]);
  const zeroRows: ZeroRows = "zero";
  const task = { support, supportVotes, queries, metric, zeroRows, excludeSelf: false };
  const nearest = referenceNearest(task);
  const tensors: Tensors = new Map();
  const errors: Record<string, string> = {};
  const m = votes.functions;
  const put = (name: string, shape: number[], data: ArrayLike<number>): void => {
    tensors.set(`out.${name}`, { shape, data });
  };
  const dense = methods.some((x) => x !== "faiss");
  if (dense) put("similarity", [queries.items, support.items], similarityMatrix(queries, support, metric));
  const abstaining = Array.from({ length: m }, (_, j) =>
    Array.from({ length: votes.items }, (_, i) => i).filter((i) => votes.at(i, j) < 0),
  );
  if (dense)
    for (const [j, rows] of abstaining.entries()) {
      const closest = (cls: number): number[] =>
        rows.map((i) => {
          const score = nearest.score[(i * m + j) * 2 + cls]!;
          return score === -Infinity ? -1 : metric === "l2" ? -score : score;
        });
      put(`closest_pos.${j}`, [rows.length], closest(1));
      put(`closest_neg.${j}`, [rows.length], closest(0));
      put(`abstains.${j}`, [rows.length], rows);
    }
  for (const method of methods) {
    if (method !== "faiss") {
      const signed = extendVotes(votes, nearest, radii, "epoxy").toSigned();
      if (method === "pytorch" && metric === "cosine")
        keepWithoutDirection(signed, { votes, supportVotes, support, queries });
      put(method, [votes.items, m], signed);
    } else if (metric === "l2") {
      errors["faiss"] = "NotImplementedError('Metric l2 not supported')";
    } else {
      const out = extendVotes(votes, nearest, radii);
      put("faiss", [out.items, m], out.toSigned());
      for (const [j, rows] of abstaining.entries()) {
        const order = supportOrder(supportVotes, j);
        const best = rows.map((i) => {
          const cell = (i * m + j) * 2;
          const [a, b] = [nearest.score[cell]!, nearest.score[cell + 1]!];
          const first = nearest.index[cell]! < nearest.index[cell + 1]!;
          const cls = a === b ? (first ? 0 : 1) : a > b ? 0 : 1;
          return { row: nearest.index[cell + cls]!, score: nearest.score[cell + cls]! };
        });
        put(
          `faiss_nearest_row.${j}`,
          [rows.length],
          best.map((x) => order.get(x.row) ?? -1),
        );
        put(
          `faiss_dist.${j}`,
          [rows.length],
          best.map((x) => x.score),
        );
      }
    }
  }
  return { tensors, json: { errors } };
}

/**
 * The original's torch version divides by lengths, so that rows of zeros make cosines that are no numbers: such items keep
 * their votes, and so do all under a function that voted on one in training.
 */
function keepWithoutDirection(
  extended: Int8Array,
  task: {
    readonly votes: Votes;
    readonly supportVotes: Votes;
    readonly support: Embeddings;
    readonly queries: Embeddings;
  },
): void {
  const { votes, supportVotes, support, queries } = task;
  const before = votes.toSigned();
  const [trained, asked] = [rowNorms(support), rowNorms(queries)];
  for (let j = 0; j < votes.functions; j++) {
    const lost = trained.some((norm, i) => norm === 0 && supportVotes.at(i, j) >= 0);
    for (let i = 0; i < votes.items; i++)
      if (lost || asked[i] === 0) extended[i * votes.functions + j] = before[i * votes.functions + j]!;
  }
}

function supportOrder(votes: Votes, j: number): Map<number, number> {
  const order = new Map<number, number>();
  for (let i = 0; i < votes.items; i++) if (votes.at(i, j) >= 0) order.set(i, i);
  return order;
}

function similarityMatrix(a: Embeddings, b: Embeddings, metric: Metric): Float32Array {
  const out = new Float32Array(a.items * b.items);
  const [normsA, normsB] = [rowNorms(a), rowNorms(b)];
  for (let i = 0; i < a.items; i++)
    for (let j = 0; j < b.items; j++) {
      let sum = 0;
      for (let k = 0; k < a.size; k++) {
        const [x, y] = [a.data[i * a.size + k]!, b.data[j * b.size + k]!];
        sum += metric === "cosine" ? x * y : (x - y) ** 2;
      }
      const norms = normsA[i]! * normsB[j]!;
      out[i * b.items + j] = metric === "l2" ? Math.sqrt(sum) : norms === 0 ? 0 : sum / norms;
    }
  return out;
}

function ligerCase(c: ParityCase): ParityResult {
  checkOptions("parity", c.args, ["n_clusters", "thresholds", "neg_balances", "tune_by", "T"]);
  checkOnly(c.args, "T", 1);
  const tensors: Tensors = new Map();
  const parts = Number(c.args["n_clusters"]);
  const radii = c.args["thresholds"] as number[];
  const balances = c.args["neg_balances"] as number[];
  const by = (c.args["tune_by"] ?? "f1") as string;
  const splits = ["train", "dev", "test"] as const;
  const trainEmbeddings = embeddingsOf(c, "in.emb_train");
  const trainVotes = votesOf(c, "in.L_train");
  const m = trainVotes.functions;
  const partition = kMeans(trainEmbeddings, parts);
  const expanded = {} as Record<(typeof splits)[number], Int8Array>;
  const cell = {} as Record<(typeof splits)[number], Int32Array>;
  for (const name of splits) {
    const queries = embeddingsOf(c, `in.emb_${name}`);
    const votes = votesOf(c, `in.L_${name}`);
    const nearest = referenceNearest({
      support: trainEmbeddings,
      supportVotes: trainVotes,
      queries,
      metric: "cosine",
      zeroRows: "zero",
      excludeSelf: false,
    });
    expanded[name] = extendVotes(votes, nearest, radii, "epoxy").toSigned();
    cell[name] = name === "train" ? partition.labels : assignParts(queries, partition.centers);
    tensors.set(`out.L_${name}_expanded`, { shape: [votes.items, m], data: expanded[name] });
    tensors.set(`out.cluster_${name}`, { shape: [votes.items], data: cell[name] });
  }
  tensors.set("out.cluster_centers", {
    shape: [parts, trainEmbeddings.size],
    data: partition.centers.data,
  });
  const rowsOf = (name: (typeof splits)[number], part: number): number[] =>
    [...cell[name].keys()].filter((i) => cell[name][i] === part);
  const pick = (name: (typeof splits)[number], rows: readonly number[]): Int8Array =>
    Int8Array.from(rows.flatMap((i) => [...expanded[name].subarray(i * m, (i + 1) * m)]));
  const json: Record<string, unknown> = {};
  const probabilities = new Map<string, Float64Array>();
  for (let part = 0; part < parts; part++)
    for (const balance of balances) {
      const model = new FlyingSquid({ functions: m, compat: "flyingsquid" }).fit(
        pick("train", rowsOf("train", part)),
        { solve: "median", classBalance: [balance, 1 - balance] },
      );
      const label = `cluster${part}.cb${balance.toFixed(2)}`;
      for (const name of ["dev", "test"] as const)
        probabilities.set(`${name}.${label}`, model.predictMarginals(pick(name, rowsOf(name, part))));
      const proba = probabilities.get(`test.${label}`)!;
      tensors.set(`out.proba.${label}`, { shape: [proba.length], data: proba });
      json[`expectations.${label}`] = Object.fromEntries(
        [...model.moments().values()].map((x) => [x.key, x.expectation]),
      );
    }
  // the original tunes the class balance of each part on the very labels it then reports
  for (const name of ["dev", "test"] as const) {
    const labels = signed(c, `in.Y_${name}`);
    const chosen: number[] = [];
    const all: [number, number][] = [];
    for (let part = 0; part < parts; part++) {
      const rows = rowsOf(name, part);
      const scored = balances
        .map((balance) => {
          const p = probabilities.get(`${name}.cluster${part}.cb${balance.toFixed(2)}`)!;
          const pairs = rows.map((i, r): [number, number] => [labels[i]!, p[r]! > 0.5 ? 1 : -1]);
          return { balance, pairs, ...signedScores(pairs) };
        })
        // degenerate predictions drop out, and the argmax then indexes the full grid
        .filter((x) => x.twoClasses);
      const value = scored.map((x) => (by === "f1" ? x.f1 : x.acc));
      const best = balances[value.indexOf(Math.max(...value))] ?? balances[0]!;
      chosen.push(best);
      const p = probabilities.get(`${name}.cluster${part}.cb${best.toFixed(2)}`)!;
      for (const [r, i] of rows.entries()) all.push([labels[i]!, p[r]! > 0.5 ? 1 : -1]);
    }
    const { acc, precision, recall, f1, support } = signedScores(all);
    json[name] = { acc, precision, recall, f1, support };
    json["best_cb_last"] = chosen;
  }
  return { tensors, json: { results: json } };
}

function signedScores(pairs: readonly (readonly [number, number])[]): {
  acc: number;
  precision: number;
  recall: number;
  f1: number;
  support: number;
  twoClasses: boolean;
} {
  let [hit, both, said, support] = [0, 0, 0, 0];
  for (const [y, p] of pairs) {
    if (y === p) hit++;
    if (y === 1 && p === 1) both++;
    if (p === 1) said++;
    if (y === 1) support++;
  }
  const precision = said === 0 ? 0 : both / said;
  const recall = support === 0 ? 0 : both / support;
  return {
    acc: hit / pairs.length,
    precision,
    recall,
    f1: precision + recall === 0 ? 0 : (2 * precision * recall) / (precision + recall),
    support,
    twoClasses: new Set(pairs.flat()).size > 1,
  };
}
