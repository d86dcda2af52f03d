import { describe, expect, it } from "vitest";
import { score } from "../evaluation/metrics.ts";
import { seededUniform, syntheticVotes } from "../evaluation/synthetic-votes.ts";
import { ABSTAIN, Votes } from "../votes/votes.ts";
import { DawidSkene } from "./dawid-skene.ts";
import { decide, type LabelModel } from "./label-model.ts";
import { Metal, bestAssignment } from "./metal.ts";
import { MultiLabelModel } from "./multi-label.ts";
import { createLabelModel, labelModels } from "./registry.ts";

const seed = Date.now() % 1e6;

// a chain labels consecutive frames of two classes, and is tested below
const plain = labelModels.filter((e) => e.name !== "chain");

describe.each(plain.map((e) => [e.name, e] as const))("%s", (_, entry) => {
  it.each([2, 4])("labels %i classes better than its functions", (classes) => {
    const { votes, labels } = syntheticVotes({ items: 3000, functions: 9, classes, seed });
    const model = entry.create().fit(votes);
    const p = model.predictProba(votes);
    expect(p.length).toBe(3000 * classes);
    for (let i = 0; i < 3000; i += 97) {
      const row = p.slice(i * classes, (i + 1) * classes);
      expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 9);
    }
    const { accuracy } = score(labels, decide(p, classes, "first"), { classes });
    const best = Math.max(
      ...Array.from({ length: 9 }, (_j, j) => {
        let right = 0;
        for (let i = 0; i < 3000; i++) if (votes.at(i, j) === labels[i]) right++;
        return right / 3000;
      }),
    );
    expect(accuracy).toBeGreaterThan(best);
    expect(model.accuracies()).toHaveLength(9);
  });

  it("gives an item without votes the class balance", () => {
    const { votes } = syntheticVotes({ items: 500, functions: 5, seed });
    const model = entry.create().fit(votes, { classBalance: [0.8, 0.2] });
    const p = model.predictProba(new Votes(new Int16Array(5).fill(ABSTAIN), [1, 5]));
    expect(p[0]).toBeCloseTo(0.8, 6);
  });

  it("comes back from its JSON", () => {
    const { votes } = syntheticVotes({ items: 300, functions: 6, classes: 3, seed });
    const model = entry.create().fit(votes);
    const text = JSON.stringify(model.state());
    const back = entry.create().restore(JSON.parse(text) as ReturnType<typeof model.state>);
    expect([...back.predictProba(votes)]).toEqual([...model.predictProba(votes)]);
    expect(() => entry.create().restore({})).toThrow();
  });

  it("refuses votes that are all abstentions, and unknown options", () => {
    const empty = new Votes(new Int16Array(12).fill(ABSTAIN), [4, 3]);
    expect(() => entry.create().fit(empty)).toThrow(/not a single vote/);
    expect(() => entry.create({ colour: "red" })).toThrow(/unknown option "colour"/);
  });
});

describe(`recovery of known tables, seed ${seed}`, () => {
  it.each([
    ["dense", 1],
    ["sparse", 1000],
  ])("%s votes: mean error of P(vote | Y) at most .01", (_, abstain) => {
    const drawn = (of: number): ReturnType<typeof syntheticVotes> =>
      syntheticVotes({ items: 10_000, functions: 10, abstain, seed: of });
    // The mean over draws: in one of some twenty a function's few votes leave MeTaL .013 away.
    const draws = [seed, seed + 1, seed + 2].map(drawn);
    for (const create of [
      () => new Metal({ epochs: abstain > 1 ? 1000 : 300 }),
      () => new DawidSkene({ abstentionsAreEvidence: true }),
    ]) {
      const errors = draws.map(({ votes, conditionals }) => {
        const found = create()
          .fit(votes, { classBalance: [0.5, 0.5] })
          .conditionals();
        return found.reduce((sum, p, i) => sum + Math.abs(p - conditionals[i]!), 0) / conditionals.length;
      });
      expect(errors.reduce((a, b) => a + b) / errors.length).toBeLessThanOrEqual(0.01);
    }
    const { votes, labels } = draws[0]!;
    // Votes that hardly ever meet say nothing about their functions: there only the tables are checked.
    if (abstain > 1) return;
    const voted = [...labels.keys()].filter((i) => votes.rows([i]).coverage() > 0);
    const accuracyOf = (model: LabelModel): number => {
      const p = model.fit(votes, { classBalance: [0.5, 0.5] }).predictProba(votes);
      const predictions = decide(p, 2, "first");
      return voted.filter((i) => predictions[i] === labels[i]).length / voted.length;
    };
    // How right one can be depends on the drawn tables; knowing them is no worse than counting votes.
    const metal = accuracyOf(new Metal({ epochs: 300 }));
    expect(metal).toBeGreaterThan(accuracyOf(createLabelModel("majority")) - 0.01);
  });

  it("puts swapped classes right", () => {
    expect(bestAssignment(Float64Array.of(0, 5, 1, 2, 0, 9, 8, 1, 0), 3, () => true)).toEqual([1, 2, 0]);
    expect(bestAssignment(Float64Array.of(0, 5, 5, 0), 2, (a, b) => a === b)).toEqual([0, 1]);
  });
});

describe("chain", () => {
  it("labels frames better than frame by frame when labels persist", () => {
    const uniform = seededUniform(seed);
    const [n, m] = [4000, 4];
    const labels = new Int16Array(n);
    const data = new Int16Array(n * m);
    for (let i = 0, y = 0; i < n; i++) {
      if (uniform() < 0.05) y = 1 - y;
      labels[i] = y;
      for (let j = 0; j < m; j++) data[i * m + j] = uniform() < 0.5 ? -1 : uniform() < 0.7 ? y : 1 - y;
    }
    const votes = new Votes(data, [n, m]);
    const accuracy = (name: string, options: object): number =>
      score(labels, decide(createLabelModel(name, options).fit(votes).predictProba(votes), 2, "first"))
        .accuracy;
    expect(accuracy("chain", { frames: 5, persistence: 0.95 })).toBeGreaterThan(
      accuracy("flyingsquid", {}) + 0.04,
    );
    const model = createLabelModel("chain", { frames: 3 }).fit(votes);
    const some = votes.rows([0, 1, 2, 3]);
    expect(model.predictProba(some).some(Number.isNaN)).toBe(false);
    const back = createLabelModel("chain", { frames: 3 }).restore(model.state());
    expect(back.predictProba(votes)).toEqual(model.predictProba(votes));
    expect(model.accuracies()).toHaveLength(m);
  });

  it("refuses three classes, short clips and impossible lengths", () => {
    expect(() => createLabelModel("chain").fit(new Votes([0, 0, 1, 1], [2, 2]))).toThrow(/fewer frames/);
    const three = new Votes([0, 1, 2, 0, 1, 2, 0, 0, 0], [3, 3], { classes: 3 });
    expect(() => createLabelModel("chain").fit(three)).toThrow(/two classes/);
    expect(() => createLabelModel("chain", { frames: 1 })).toThrow(/2\.\.12/);
    expect(() => createLabelModel("chain", { persistence: 1 })).toThrow(/probability/);
  });
});

describe("functions that never meet", () => {
  it.each(["flyingsquid", "metal"])("are refused by %s in clear words", (name) => {
    const apart = new Votes([1, -1, -1, -1, 0, -1, -1, -1, 1], [3, 3]);
    expect(() => createLabelModel(name).fit(apart)).toThrow(
      /no two functions vote on the same item.*majority vote/,
    );
    expect(createLabelModel("majority").fit(apart).predictProba(apart)[1]).toBe(1);
  });
});

describe("registry", () => {
  it("names the nearest model", () => {
    expect(() => createLabelModel("flyingsquit")).toThrow(/Did you mean "flyingsquid"/);
  });
});

describe("MultiLabelModel", () => {
  it("labels every label with its own functions", () => {
    const parts = [1, 2].map((s) => syntheticVotes({ items: 1000, functions: 6, seed: seed + s }));
    const model = new MultiLabelModel(2, () => createLabelModel("flyingsquid"));
    const p = model.fit(parts.map((x) => x.votes)).predictProba(parts.map((x) => x.votes));
    for (const [l, part] of parts.entries()) {
      const right = [...part.labels.keys()].filter((i) => (p[i * 2 + l]! > 0.5 ? 1 : 0) === part.labels[i]);
      expect(right.length / 1000).toBeGreaterThan(0.75);
    }
    expect(() => model.fit([parts[0]!.votes])).toThrow(/one vote matrix per label/);
  });
});
