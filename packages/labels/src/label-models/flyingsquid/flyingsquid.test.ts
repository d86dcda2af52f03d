import { describe, expect, it } from "vitest";
import { seededUniform } from "../../evaluation/synthetic-votes.ts";
import { FlyingSquid } from "./flyingsquid.ts";
import { Statistics } from "./statistics.ts";

const uniform = seededUniform(Date.now() % 1e9);

// Signed votes of independent functions with given accuracies on a hidden Y.
function draw(
  n: number,
  accuracies: readonly number[],
  abstain: number,
  positive = 0.5,
): { votes: Int8Array; y: Int8Array } {
  const m = accuracies.length;
  const votes = new Int8Array(n * m);
  const y = new Int8Array(n);
  for (let i = 0; i < n; i++) {
    y[i] = uniform() < positive ? 1 : -1;
    for (let j = 0; j < m; j++)
      if (uniform() >= abstain) votes[i * m + j] = uniform() < accuracies[j]! ? y[i]! : -y[i]!;
  }
  return { votes, y };
}

describe("FlyingSquid", () => {
  it("solves a triplet in closed form", () => {
    // E[01] = .5, E[02] = .25, E[12] = .5 by construction of the rows
    const rows = [
      [1, 1, 1],
      [1, 1, 1],
      [1, 1, 1],
      [-1, -1, -1],
      [-1, -1, -1],
      [1, 1, -1],
      [1, -1, -1],
      [-1, 1, 1],
    ];
    const model = new FlyingSquid({ functions: 3 }).fit(Int8Array.from(rows.flat()));
    const moment = (i: number): number => model.moments().get(`[["lambda_${i}", "Y_0"], ["0"]]`)!.expectation;
    const [m01, m02, m12] = [0.5, 0.25, 0.75];
    expect(moment(0)).toBeCloseTo(Math.sqrt((m01 * m02) / m12), 12);
    expect(moment(1)).toBeCloseTo(Math.sqrt((m01 * m12) / m02), 12);
    expect(moment(2)).toBeCloseTo(Math.sqrt((m02 * m12) / m01), 12);
  });

  it.each(["mean", "median", "single"] as const)("recovers accuracies within .02 (%s)", (solve) => {
    const truth = [0.9, 0.8, 0.75, 0.85, 0.7];
    const { votes } = draw(60_000, truth, 0.3);
    const accuracies = new FlyingSquid({ functions: 5 }).fit(votes, { solve }).accuracies();
    for (const [j, a] of truth.entries()) expect(Math.abs(accuracies[j]! - a)).toBeLessThan(0.02);
  });

  it("equals Bayes' rule by default and not in compat when classes are unbalanced", () => {
    const { votes } = draw(5000, [0.8, 0.75, 0.7, 0.85], 0.2, 0.3);
    const fit = (compat?: "flyingsquid"): FlyingSquid =>
      new FlyingSquid({ functions: 4, ...(compat ? { compat } : {}) }).fit(votes, {
        classBalance: [0.7, 0.3],
      });
    const model = fit();
    const bayes = (row: Int8Array): number => {
      const p = [0.7, 0.3];
      for (const { clique, table } of model.tables()) {
        const at = (row[clique.functions[0]!]! + 1) * 2;
        for (const y of [0, 1]) p[y] = p[y]! * (table[at + y]! / [0.7, 0.3][y]!);
      }
      return p[1]! / (p[0]! + p[1]!);
    };
    const row = Int8Array.of(1, 0, -1, 1);
    expect(model.predictMarginals(row)[0]).toBeCloseTo(bayes(row), 10);
    expect(Math.abs(fit("flyingsquid").predictMarginals(row)[0]! - bayes(row))).toBeGreaterThan(0.01);
    // no vote at all: the prior
    expect(model.predictMarginals(new Int8Array(4))[0]).toBeCloseTo(0.3, 10);
  });

  it("gives a chain the same posterior as enumerating its factors", () => {
    const n = 4000;
    const m = 9;
    const votes = new Int8Array(n * m);
    for (let i = 0; i < n; i++) {
      let y = uniform() < 0.5 ? 1 : -1;
      for (let t = 0; t < 3; t++) {
        if (t > 0 && uniform() < 0.2) y = -y;
        for (let j = 0; j < 3; j++)
          if (uniform() < 0.8) votes[i * m + t * 3 + j] = uniform() < 0.75 + 0.05 * j ? y : -y;
      }
    }
    const balance = [0.32, 0.08, 0.02, 0.08, 0.08, 0.02, 0.08, 0.32];
    const model = new FlyingSquid({
      functions: m,
      targets: 3,
      targetEdges: [
        [0, 1],
        [1, 2],
      ],
      voteEdges: Array.from({ length: m }, (_, i) => [i, Math.floor(i / 3)] as const),
    }).fit(votes, { classBalance: balance });
    const row = votes.subarray(0, m);
    const tables = model.tables().filter(({ clique }) => clique.functions.length > 0);
    const marginal = (t: number, sign: number): number =>
      balance.reduce((sum, p, s) => sum + (((s >> (2 - t)) & 1) === sign ? p : 0), 0);
    const pair = (a: number, b: number, sa: number, sb: number): number =>
      balance.reduce(
        (sum, p, s) => sum + (((s >> (2 - a)) & 1) === sa && ((s >> (2 - b)) & 1) === sb ? p : 0),
        0,
      );
    const weights = balance.map((_, s) => {
      const sign = [0, 1, 2].map((t) => (s >> (2 - t)) & 1);
      // the chain's own joint: pairs over the middle
      let p = (pair(0, 1, sign[0]!, sign[1]!) * pair(1, 2, sign[1]!, sign[2]!)) / marginal(1, sign[1]!);
      for (const { clique, table } of tables) {
        const t = clique.targets[0]!;
        const vote = row[clique.functions[0]!]! + 1;
        p *= table[vote * 2 + sign[t]!]! / marginal(t, sign[t]!);
      }
      return p;
    });
    const total = weights.reduce((a, b) => a + b, 0);
    const joint = model.predictProba(row);
    for (const [s, w] of weights.entries()) expect(joint[s]).toBeCloseTo(w / total, 10);
  });

  it("never pairs functions of different targets, where compat does", () => {
    const n = 20_000;
    const truth = [0.9, 0.9, 0.9, 0.7, 0.7, 0.7];
    const error = (votes: Int8Array, compat: { compat?: "flyingsquid" }): number => {
      const model = new FlyingSquid({
        functions: 6,
        targets: 2,
        targetEdges: [[0, 1]],
        voteEdges: Array.from({ length: 6 }, (_, i) => [i, Math.floor(i / 3)] as const),
        ...compat,
      });
      const got = model.fit(votes).accuracies();
      return Math.max(...truth.map((t, j) => Math.abs(got[j]! - t)));
    };
    // targets independent: a cross-target moment is noise around 0, so compat errs by chance, more or less by draw
    const draws = Array.from({ length: 6 }, () => {
      const { votes: a } = draw(n, truth.slice(0, 3), 0);
      const { votes: b } = draw(n, truth.slice(3), 0);
      const votes = new Int8Array(n * 6);
      for (let i = 0; i < n; i++) {
        votes.set(a.subarray(i * 3, i * 3 + 3), i * 6);
        votes.set(b.subarray(i * 3, i * 3 + 3), i * 6 + 3);
      }
      return votes;
    });
    expect(Math.max(...draws.map((v) => error(v, {})))).toBeLessThan(0.05);
    const compat = draws.map((v) => error(v, { compat: "flyingsquid" }));
    expect(compat.reduce((x, y) => x + y) / compat.length).toBeGreaterThan(0.08);
  });

  it("counts a copied function once when told of the dependency", () => {
    const { votes } = draw(20_000, [0.75, 0.75, 0.75, 0.75], 0.2);
    const n = 20_000;
    const copied = new Int8Array(n * 5);
    for (let i = 0; i < n; i++) {
      copied.set(votes.subarray(i * 4, i * 4 + 4), i * 5);
      copied[i * 5 + 4] = uniform() < 0.9 ? votes[i * 4 + 3]! : 0;
    }
    const row = Int8Array.of(1, 0, 0, -1, -1);
    const naive = new FlyingSquid({ functions: 5 }).fit(copied).predictMarginals(row)[0]!;
    const aware = new FlyingSquid({ functions: 5, functionEdges: [[3, 4]] })
      .fit(copied)
      .predictMarginals(row)[0]!;
    expect(aware).toBeGreaterThan(0.4);
    expect(naive).toBeLessThan(0.25);
  });

  it("takes separators that hold functions into account", () => {
    const { votes } = draw(20_000, [0.8, 0.8, 0.8, 0.8, 0.8, 0.8], 0);
    // the second and third repeat the first often: cliques {0,1} and {0,2} meet in {0}
    for (let i = 0; i < 20_000; i++)
      for (const j of [1, 2]) if (uniform() < 0.6) votes[i * 6 + j] = votes[i * 6]!;
    const edges = [
      [0, 1],
      [0, 2],
    ] as const;
    const row = Int8Array.of(-1, -1, -1, 1, 1, -1);
    const p = (compat?: "flyingsquid"): number =>
      new FlyingSquid({ functions: 6, functionEdges: edges, ...(compat ? { compat } : {}) })
        .fit(votes)
        .predictMarginals(row)[0]!;
    // three agreeing votes of one source are worth little more than one: compat counts the source twice
    expect(p()).toBeGreaterThan(p("flyingsquid") + 0.05);
  });

  it("recovers the sign of a function that is worse than random", () => {
    const { votes } = draw(30_000, [0.85, 0.2, 0.8, 0.75, 0.8], 0.1);
    const model = new FlyingSquid({ functions: 5 });
    expect(model.fit(votes).accuracies()[1]).toBeGreaterThan(0.7);
    expect(Math.abs(model.fit(votes, { signs: "recover" }).accuracies()[1]! - 0.2)).toBeLessThan(0.03);
  });

  it("streams: batches give what one pass gives", () => {
    const { votes } = draw(999, [0.8, 0.7, 0.9, 0.6], 0.4);
    const whole = new FlyingSquid({ functions: 4 }).fit(votes, { solve: "median" });
    const stream = new FlyingSquid({ functions: 4 }).reset("median");
    for (let from = 0; from < 999; from += 250)
      stream.update(votes.subarray(from * 4, Math.min(999, from + 250) * 4));
    expect([...stream.solve({ solve: "median" }).predictProba(votes)]).toEqual([
      ...whole.predictProba(votes),
    ]);
    expect(() => stream.solve({ solve: "mean" })).toThrow(/started for another method/);
  });

  it("refuses what it cannot solve, in clear words", () => {
    expect(() => new FlyingSquid({ functions: 2 })).toThrow(/at least 3/);
    expect(() => new FlyingSquid({ functions: 3, functionEdges: [[0, 3]] })).toThrow(/does not exist/);
    expect(() =>
      new FlyingSquid({ functions: 3, functionEdges: [[0, 1]] }).fit(Int8Array.of(1, 1, 1)),
    ).toThrow(/no triplet/);
    expect(() => new FlyingSquid({ functions: 3 }).predict(Int8Array.of(1, 1, 1))).toThrow(/not fitted/);
    expect(() => new FlyingSquid({ functions: 3 }).fit(Int8Array.of(1, 2, 1))).toThrow(/row 0, function 1/);
    expect(() => new FlyingSquid({ functions: 3, abstentions: false }).fit(Int8Array.of(1, 0, 1))).toThrow(
      /abstains on row 0/,
    );
    expect(() => new FlyingSquid({ functions: 3 }).fit(new Int8Array(0))).toThrow(/no votes to learn from/);
  });
});

describe("Statistics", () => {
  it("counts products under a condition", () => {
    const s = new Statistics();
    const pair = s.of([0, 2]);
    const given = s.of([0], [1]);
    s.add(Int8Array.of(1, 0, -1, -1, 0, -1, 1, 1, 0), 3);
    expect(pair).toMatchObject({ basis: 3, sum: 0, ones: 1, noughts: 1 });
    expect(given).toMatchObject({ basis: 2, sum: 0, ones: 1, noughts: 0 });
    expect(() => s.of([1])).toThrow(/gone by/);
  });
});
