import { nearestNeighbours, oneHotLabels, tuneByFolds, tuneOnDev } from "../end-models/end-model.ts";
import { TextEmbedder } from "../embeddings/text-embedder.ts";
import type { Embeddings } from "../embeddings/embeddings.ts";
import { embeddingRows } from "../embeddings/embeddings.ts";
import { electLabelModel } from "../epoxy/committee.ts";
import type { RadiusCommittee } from "../epoxy/committee.ts";
import { Epoxy } from "../epoxy/epoxy.ts";
import type { PreparedVotes } from "../epoxy/epoxy.ts";
import { pairedDifference } from "../evaluation/bootstrap.ts";
import type { Interval } from "../evaluation/bootstrap.ts";
import { stratifiedFolds } from "../evaluation/folds.ts";
import { positives, score } from "../evaluation/metrics.ts";
import type { Scores } from "../evaluation/metrics.ts";
import { applyFunctions } from "../functions/apply.ts";
import { createLabelModel } from "../label-models/registry.ts";
import type { LabelModel } from "../label-models/label-model.ts";
import { searchLiger } from "../liger/liger-search.ts";
import type { LigerChoice } from "../liger/liger-search.ts";
import type { Votes } from "../votes/votes.ts";
import { commentFunctions, readComments } from "../youtube-spam/comments.ts";

/** One system of the study, scored on the 250 test comments. */
export interface StudyRow {
  readonly group: string;
  readonly system: string;
  readonly scores: Scores;
  /** F1 minus that of the published baseline on the same comments, with the paired 95 % interval. */
  readonly gain: Interval;
  readonly probabilities: Float64Array;
}

/** The comparison on real comments, with what the report draws. */
export interface CommentStudy {
  readonly rows: readonly StudyRow[];
  readonly baseline: StudyRow;
  readonly train: PreparedVotes;
  readonly dev: PreparedVotes;
  readonly test: PreparedVotes;
  readonly embeddings: { readonly train: Embeddings; readonly dev: Embeddings; readonly test: Embeddings };
  readonly labels: { readonly dev: Int16Array; readonly test: Int16Array };
  readonly texts: { readonly dev: readonly string[]; readonly test: readonly string[] };
  readonly committee: RadiusCommittee;
  /** Held-out dev loss and accuracy of each label model. */
  readonly models: readonly { readonly name: string; readonly loss: number; readonly accuracy: number }[];
  readonly chosenModel: string;
  readonly liger: LigerChoice;
  /** Of Epoxy with the chosen radii: search, extension, fit on all training comments, prediction. */
  readonly epoxySeconds: number;
  readonly seconds: number;
}

/** Options of {@link studyComments}. */
export interface StudyOptions {
  /** D of the text embeddings. Default 64. */
  readonly size?: number;
  readonly seed?: number;
  readonly onStep?: (message: string) => void;
}

const MODELS = ["weighted", "flyingsquid", "majority"] as const;

/**
 * The papers' comparison on the YouTube comments that Epoxy published: vote aggregation, extension, partition, end models, and supervision by
 * the 100 dev labels. Embeddings are fitted on the training texts; everything that is chosen is chosen on dev; test labels only score.
 */
export async function studyComments(options: StudyOptions = {}): Promise<CommentStudy> {
  const start = performance.now();
  const { size = 64, seed = 1, onStep } = options;
  onStep?.("reading comments, voting");
  const data = await loadSplits();
  const { train, dev, test } = data;
  const labels = { dev: dev.labels, test: test.labels };
  const published = train.published!;

  onStep?.("embedding the texts");
  const embedder = new TextEmbedder({ size, seed }).fit(train.texts);
  const embeddings = {
    train: embedder.transform(train.texts),
    dev: embedder.transform(dev.texts),
    test: embedder.transform(test.texts),
  };

  const rows: StudyRow[] = [];
  let basePredictions: Int16Array | undefined;
  const record = (group: string, system: string, probabilities: Float64Array): StudyRow => {
    const predictions = positives(probabilities);
    basePredictions ??= predictions;
    const row: StudyRow = {
      group,
      system,
      scores: score(test.labels, predictions),
      gain: pairedDifference(test.labels, predictions, basePredictions),
      probabilities,
    };
    rows.push(row);
    return row;
  };

  onStep?.("label models");
  const baseline = record(
    "votes of ten functions",
    "FlyingSquid as published (compat)",
    createLabelModel("flyingsquid", { compat: "flyingsquid" })
      .fit(published, { classBalance: [0.4, 0.6] })
      .predictProba(test.published!),
  );
  const onTen = (name: string, fit: object = {}): Float64Array =>
    createLabelModel(name).fit(published, fit).predictProba(test.published!);
  record(
    "votes of ten functions",
    "FlyingSquid, right prior exponent",
    onTen("flyingsquid", { classBalance: [0.4, 0.6] }),
  );
  record("votes of ten functions", "majority vote", onTen("majority"));
  const plain = new Map<string, LabelModel>();
  for (const name of ["majority", "weighted", "flyingsquid", "metal"]) {
    const model = createLabelModel(name).fit(train.votes);
    plain.set(name, model);
    record("votes of seven text functions", labelOf(name), model.predictProba(test.votes));
  }

  onStep?.("neighbours and radii");
  const epoxy = new Epoxy(train.votes, embeddings.train, { zeroRows: "isolate" });
  const ready = {
    train: await epoxy.prepare(train.votes, embeddings.train),
    dev: await epoxy.prepare(dev.votes, embeddings.dev),
    test: await epoxy.prepare(test.votes, embeddings.test),
  };
  const elected = electLabelModel(
    ready.train,
    ready.dev,
    dev.labels,
    new Map(MODELS.map((name) => [name, () => createLabelModel(name)])),
  );
  record("extended votes", `Epoxy, ${labelOf(elected.name)}`, elected.committee.predictProba(ready.test));
  const began = performance.now();
  const radii = elected.committee.radii();
  const once = new Epoxy(train.votes, embeddings.train, { zeroRows: "isolate" });
  const own = once.extend(await once.prepare(train.votes, embeddings.train), radii);
  const fitted = createLabelModel(elected.name).fit(own);
  fitted.predictProba(once.extend(await once.prepare(test.votes, embeddings.test), radii));
  const epoxySeconds = (performance.now() - began) / 1000;

  onStep?.("parts");
  // a majority vote has no class balance or accuracy that a part could change
  const partModel = elected.table
    .filter(({ name }) => name !== "majority")
    .reduce((a, b) => (b.loss < a.loss ? b : a)).name;
  const liger = await searchLiger(
    { votes: train.votes, embeddings: embeddings.train },
    { votes: dev.votes, embeddings: embeddings.dev, labels: dev.labels },
    { model: () => createLabelModel(partModel), zeroRows: "isolate", parts: [1, 2, 3, 4] },
  );
  record(
    "extended votes",
    `Liger, ${liger.parts} part${liger.parts === 1 ? "" : "s"}`,
    liger.committee.predictPrepared(ready.test, embeddings.test),
  );

  onStep?.("end models");
  const soft = {
    plain: plain.get("flyingsquid")!.predictProba(train.votes),
    epoxy: elected.committee.predictProba(ready.train),
    liger: liger.committee.predictPrepared(ready.train, embeddings.train),
  };
  const voted = (votes: Votes): number[] =>
    Array.from({ length: votes.items }, (_, i) => i).filter((i) => votes.rows([i]).coverage() > 0);
  const trained = async (
    kind: "linear" | "mlp",
    y: Float64Array,
    list: readonly number[],
  ): Promise<Float64Array> => {
    const model = await tuneOnDev(
      { kind, seed },
      { x: embeddings.train, labels: y, rows: list },
      { x: embeddings.dev, labels: dev.labels },
    );
    return model.predictProba(embeddings.test);
  };
  const covered = voted(train.votes);
  record(
    "weak labels without extension",
    "weakly supervised kNN",
    nearestNeighbours(
      embeddingRows(embeddings.train, covered),
      rowsOf(soft.plain, covered),
      embeddings.test,
      25,
    ),
  );
  record(
    "weak labels without extension",
    "weakly supervised adapter (MLP)",
    await trained("mlp", soft.plain, covered),
  );
  const coveredEpoxy = voted(elected.committee.extend(ready.train));
  record(
    "end model on extended votes",
    "Epoxy, then linear",
    await trained("linear", soft.epoxy, coveredEpoxy),
  );
  record("end model on extended votes", "Epoxy, then MLP", await trained("mlp", soft.epoxy, coveredEpoxy));
  record("end model on extended votes", "Liger, then MLP", await trained("mlp", soft.liger, coveredEpoxy));

  onStep?.("supervision by hand labels");
  const byHand = oneHotLabels(dev.labels);
  const supervised = async (kind: "linear" | "mlp", list: readonly number[]): Promise<Float64Array> => {
    const y = list.map((i) => dev.labels[i]!);
    const model = await tuneByFolds({ kind, seed }, embeddingRows(embeddings.dev, list), y);
    return model.predictProba(embeddings.test);
  };
  const everyDev = Array.from(dev.labels, (_, i) => i);
  const byHandGroup = "hand labels (100 dev comments)";
  record(byHandGroup, "kNN", nearestNeighbours(embeddings.dev, byHand, embeddings.test, 5));
  record(byHandGroup, "linear probe", await supervised("linear", everyDev));
  record(byHandGroup, "MLP", await supervised("mlp", everyDev));
  const fold = stratifiedFolds(dev.labels, 20, seed);
  for (const count of [20, 40, 60, 80]) {
    const list = everyDev.filter((i) => fold[i]! < count / 5);
    record("hand labels, fewer", `linear probe on ${list.length}`, await supervised("linear", list));
  }
  return {
    rows,
    baseline,
    ...ready,
    embeddings,
    labels,
    texts: { dev: dev.texts, test: test.texts },
    committee: elected.committee,
    models: elected.table,
    chosenModel: elected.name,
    liger,
    epoxySeconds,
    seconds: (performance.now() - start) / 1000,
  };
}

interface Split {
  readonly texts: readonly string[];
  readonly labels: Int16Array;
  readonly votes: Votes;
  readonly published: Votes | undefined;
}

async function loadSplits(): Promise<Record<"train" | "dev" | "test", Split>> {
  const load = async (name: "train" | "valid" | "test"): Promise<Split> => {
    const split = await readComments(name);
    const { votes } = await applyFunctions(commentFunctions, split.rows);
    return { texts: split.rows.map((r) => r.text), labels: split.labels, votes, published: split.votes };
  };
  return { train: await load("train"), dev: await load("valid"), test: await load("test") };
}

function rowsOf(p: Float64Array, rows: readonly number[], k = 2): Float64Array {
  return Float64Array.from(rows.flatMap((i) => [...p.subarray(i * k, (i + 1) * k)]));
}

function labelOf(name: string): string {
  const labels: Record<string, string> = {
    majority: "majority vote",
    weighted: "weighted vote",
    flyingsquid: "FlyingSquid",
    metal: "MeTaL",
  };
  return labels[name] ?? name;
}
