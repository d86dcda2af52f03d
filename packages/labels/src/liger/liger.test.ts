import { describe, expect, it } from "vitest";
import { embeddings } from "../embeddings/embeddings.ts";
import type { Embeddings } from "../embeddings/embeddings.ts";
import { electLabelModel, electRadii } from "../epoxy/committee.ts";
import { labelSmoothness, radiusCurve } from "../epoxy/diagnostics.ts";
import { Epoxy } from "../epoxy/epoxy.ts";
import { radiusCandidates, searchRadii } from "../epoxy/radius-search.ts";
import { positives, score } from "../evaluation/metrics.ts";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import { createLabelModel } from "../label-models/registry.ts";
import { Votes } from "../votes/votes.ts";
import { assignParts, kMeans } from "./kmeans.ts";
import { searchLiger } from "./liger-search.ts";
import { Liger } from "./liger.ts";

interface World {
  readonly embeddings: Embeddings;
  readonly votes: Votes;
  readonly labels: Int16Array;
}

/**
 * Two regions along the first axis; the label is the side of a line, blurred over `blur`. Functions are good in one region and poor in the
 * other, and vote on few items.
 */
function world(n: number, blur: number, seed: number, coverage = 0.15): World {
  const uniform = seededUniform(seed);
  const data = new Float32Array(n * 3);
  const labels = new Int16Array(n);
  const votes = new Int16Array(n * 6).fill(-1);
  for (let i = 0; i < n; i++) {
    const region = uniform() < 0.5 ? 0 : 1;
    const x = uniform() * 2 - 1;
    data.set([region * 8 + uniform(), x, 1 + 0.2 * uniform()], i * 3);
    const p = 1 / (1 + Math.exp(-x / blur));
    labels[i] = uniform() < p ? 1 : 0;
    for (let j = 0; j < 6; j++) {
      if (uniform() >= coverage) continue;
      const accuracy = j % 2 === region ? 0.95 : 0.6;
      votes[i * 6 + j] = uniform() < accuracy ? labels[i]! : 1 - labels[i]!;
    }
  }
  return { embeddings: embeddings(data, [n, 3]), votes: new Votes(votes, [n, 6]), labels };
}

const accuracy = (labels: Int16Array, p: Float64Array): number => score(labels, positives(p)).accuracy;

describe("kMeans", () => {
  it("finds separated groups and keeps their numbers for new points", () => {
    const uniform = seededUniform(Date.now() % 1e9);
    const points = Array.from({ length: 90 }, (_, i) => [(i % 3) * 10 + uniform(), uniform()]);
    const x = embeddings(points.flat(), [90, 2]);
    const { centers, labels } = kMeans(x, 3);
    for (let i = 3; i < 90; i++) expect(labels[i]).toBe(labels[i % 3]);
    expect(new Set(labels.slice(0, 3)).size).toBe(3);
    expect(assignParts(x, centers)).toEqual(labels);
    expect(() => kMeans(x, 91)).toThrow(/1\.\.90/);
  });

  it("gives an emptied part the farthest point", () => {
    const { labels } = kMeans(embeddings([0, 0, 0, 0, 5, 9], [6, 1]), 3);
    expect(new Set(labels).size).toBe(3);
  });
});

describe("Liger", () => {
  it("sees that functions are good in one region and poor in the other", async () => {
    const train = world(4000, 0.02, 1, 0.5);
    const test = world(1000, 0.02, 2, 0.5);
    const liger = new Liger({ parts: 2 });
    await liger.fit(train.votes, train.embeddings);
    const everywhere = createLabelModel("flyingsquid").fit(train.votes).predictProba(test.votes);
    const byPart = await liger.predictProba(test.votes, test.embeddings);
    expect(accuracy(test.labels, byPart)).toBeGreaterThan(accuracy(test.labels, everywhere) + 0.03);
    const [a, b] = liger.parts().map((part) => part.accuracies);
    for (let j = 0; j < 6; j++) expect(Math.abs(a![j]! - b![j]!)).toBeGreaterThan(0.2);
  });

  it("chooses more than one part, with radii, on dev alone", async () => {
    const train = world(1500, 0.02, 3);
    const dev = world(150, 0.02, 4);
    const test = world(600, 0.02, 5);
    const choice = await searchLiger(train, dev, {
      model: () => createLabelModel("flyingsquid"),
      parts: [1, 2],
      folds: 3,
      metric: "l2",
    });
    expect(choice.table.map((row) => row.parts)).toEqual([1, 2]);
    const p = await choice.committee.predictProba(test.votes, test.embeddings);
    const without = createLabelModel("flyingsquid").fit(train.votes).predictProba(test.votes);
    expect(accuracy(test.labels, p)).toBeGreaterThan(accuracy(test.labels, without) + 0.05);
  });

  it("falls back where a part is too small, and says what is missing", async () => {
    const train = world(120, 0.02, 6);
    const liger = await new Liger({ parts: 4, leastItems: 60 }).fit(train.votes, train.embeddings);
    expect(liger.parts().some((part) => part.fallback)).toBe(true);
    expect((await liger.predictProba(train.votes, train.embeddings)).some(Number.isNaN)).toBe(false);
    await expect(new Liger().predictProba(train.votes, train.embeddings)).rejects.toThrow(/not fitted/);
    await expect(
      searchLiger(
        train,
        { ...train, votes: train.votes.rows([0, 1]), labels: [0, 1] },
        {
          model: () => createLabelModel("majority"),
        },
      ),
    ).rejects.toThrow(/too few dev items/);
  });
});

describe("radius search", async () => {
  const train = world(1200, 0.02, 7);
  const dev = world(120, 0.02, 8);
  const test = world(500, 0.02, 9);
  const epoxy = new Epoxy(train.votes, train.embeddings, { metric: "l2" });
  const ready = {
    train: await epoxy.prepare(train.votes, train.embeddings),
    dev: await epoxy.prepare(dev.votes, dev.embeddings),
    test: await epoxy.prepare(test.votes, test.embeddings),
  };
  const model = (): ReturnType<typeof createLabelModel> => createLabelModel("weighted");

  it("opens radii where the space is smooth", () => {
    const choice = searchRadii(ready.train, ready.dev, dev.labels, { model });
    expect(choice.loss).toBeLessThan(choice.lossWithout - 0.1);
    expect([...choice.radii].some((r) => Number.isFinite(r) && r > 0)).toBe(true);
    const curve = radiusCurve(ready.dev, dev.labels, 0, radiusCandidates(ready.dev, 0, [0.1, 1]));
    expect(curve[0]!.coverage).toBeLessThan(curve[1]!.coverage);
  });

  it("elects a committee whose held-out loss is honest", () => {
    const committee = electRadii(ready.train, ready.dev, dev.labels, { model, folds: 3 });
    expect(committee.members).toHaveLength(3);
    const plain = model().fit(train.votes).predictProba(test.votes);
    const gain = accuracy(test.labels, committee.predictProba(ready.test)) - accuracy(test.labels, plain);
    expect(gain).toBeGreaterThan(0.05);
    expect(
      Math.abs(committee.accuracy - accuracy(test.labels, committee.predictProba(ready.test))),
    ).toBeLessThan(0.12);
    const { name, table } = electLabelModel(
      ready.train,
      ready.dev,
      dev.labels,
      new Map([
        ["majority", () => createLabelModel("majority")],
        ["weighted", model],
      ]),
      { folds: 3 },
    );
    expect(table.find((row) => row.name === name)!.loss).toBe(Math.min(...table.map((row) => row.loss)));
  });

  it("refuses dev labels of one class, and too few", () => {
    const ones = dev.labels.map(() => 1);
    expect(() => searchRadii(ready.train, ready.dev, ones, { model })).toThrow(/single class/);
    expect(() => searchRadii(ready.train, ready.dev, [1], { model })).toThrow(/differ in length/);
    expect(() => electRadii(ready.train, ready.dev, dev.labels, { model, folds: 100 })).toThrow(
      /too few dev items/,
    );
  });
});

describe("smoothness", () => {
  it("decides how much extension lifts: a sweep", async () => {
    const lifts: number[] = [];
    const slopes: number[] = [];
    for (const blur of [2, 0.5, 0.1, 0.02]) {
      const train = world(1500, blur, 11);
      const test = world(1000, blur, 12);
      const epoxy = new Epoxy(train.votes, train.embeddings, { metric: "l2" });
      const model = createLabelModel("weighted").fit(train.votes);
      const ready = await epoxy.prepare(test.votes, test.embeddings);
      const after = model.predictProba(epoxy.extend(ready, 0.3));
      lifts.push(accuracy(test.labels, after) - accuracy(test.labels, model.predictProba(test.votes)));
      slopes.push(
        labelSmoothness({ ...test.embeddings, items: 300 }, test.labels, "l2").bins[0]!.labelChange,
      );
    }
    // from noise to a sharp line: neighbours agree more and more often, and the lift rises with it
    for (let i = 1; i < 4; i++) {
      expect(lifts[i]!).toBeGreaterThan(lifts[i - 1]!);
      expect(slopes[i]!).toBeLessThan(slopes[i - 1]! + 0.01);
    }
    expect(lifts[3]! - lifts[0]!).toBeGreaterThan(0.1);
  });
});
