import { describe, expect, it } from "vitest";
import { embeddings } from "../embeddings/embeddings.ts";
import { extendVotes } from "../epoxy/extend.ts";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import { Votes } from "../votes/votes.ts";
import { DotKernel } from "./dot-kernel.ts";
import { nearestVotes } from "./nearest.ts";
import type { NearestTask } from "./nearest-votes.ts";
import { referenceNearest } from "./nearest-votes.ts";

const uniform = seededUniform(Date.now() % 1e9);
const noise = (n: number): Float32Array => Float32Array.from({ length: n }, () => uniform() * 2 - 0.9);
const randomVotes = (n: number, m: number, k: number): Votes =>
  new Votes(
    Int16Array.from({ length: n * m }, () => (uniform() < 0.6 ? -1 : Math.floor(uniform() * k))),
    [n, m],
    { classes: k },
  );
const everyRow = (n: number): number[] => Array.from({ length: n }, (_, i) => i);

describe("DotKernel", () => {
  it.each([
    [1, 1, 1],
    [7, 9, 5],
    [13, 100, 63],
    [6, 8, 4],
  ])("multiplies %i x %i rows of %i", (rows, columns, size) => {
    const [a, b] = [noise(rows * size), noise(columns * size)];
    const kernel = new DotKernel(size, rows, columns, 2);
    kernel.product.fill(Number.NaN);
    kernel.best.fill(-Infinity);
    kernel.packSupports(a, everyRow(rows));
    kernel.packQueries(b, everyRow(columns));
    kernel.multiply(rows, columns);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) {
        let sum = 0;
        let most = 0;
        for (let k = 0; k < size; k++) {
          sum += a[r * size + k]! * b[c * size + k]!;
          most += Math.abs(a[r * size + k]! * b[c * size + k]!);
        }
        expect(Math.abs(kernel.product[r * kernel.queries + c]! - sum)).toBeLessThan(1e-6 * most + 1e-12);
      }
    for (let r = 0; r < rows; r++) kernel.compete(r, 100 + r, 1, columns);
    for (let c = 0; c < columns; c++) {
      const column = everyRow(rows).map((r) => kernel.product[r * kernel.queries + c]!);
      expect(kernel.best[kernel.queries + c]).toBe(Math.max(...column));
      expect(kernel.index[kernel.queries + c]).toBe(100 + column.indexOf(Math.max(...column)));
      expect(kernel.best[c]).toBe(-Infinity);
    }
  });
});

describe("nearestVotes", () => {
  it.each([
    ["cosine", false, 1],
    ["cosine", true, 1],
    ["l2", false, 1],
    ["l2", true, 2],
  ] as const)("finds what the definition finds (%s, self %s, %i threads)", async (metric, self, threads) => {
    const [s, q, d, m, k] = threads === 2 ? [900, 900, 700, 4, 2] : [333, 101, 37, 5, 3];
    const support = embeddings(noise(s * d), [s, d]);
    const supportVotes = randomVotes(s, m, k);
    const queries = self ? support : embeddings(noise(q * d), [q, d]);
    const task: NearestTask = {
      support,
      supportVotes,
      queries,
      metric,
      zeroRows: "error",
      excludeSelf: self,
    };
    const wanted = referenceNearest(task);
    const got = await nearestVotes(task, self ? supportVotes : randomVotes(q, m, k), {
      threads,
      rows: everyRow(queries.items),
    });
    // float32 products may prefer another of two neighbours that float64 tells apart by less than a millionth
    for (let x = 0; x < wanted.score.length; x++) {
      if (wanted.index[x] === -1) expect([got.index[x], got.score[x]]).toEqual([-1, -Infinity]);
      else
        expect(Math.abs(got.score[x]! - wanted.score[x]!)).toBeLessThan(
          1e-6 * Math.max(1, Math.abs(wanted.score[x]!)),
        );
    }
  });

  it("finds nearly all neighbours in clustered data approximately, and all those of rare votes", async () => {
    const [n, d, topics] = [4000, 24, 40];
    const centers = noise(topics * d);
    const data = noise(n * d);
    for (let i = 0; i < n; i++)
      for (let x = 0; x < d; x++) data[i * d + x] = data[i * d + x]! * 0.3 + centers[(i % topics) * d + x]!;
    const votes = Int16Array.from({ length: n * 2 }, (_, x) =>
      x % 2 === 0 ? (uniform() < 0.5 ? -1 : Math.floor(x / 2) % 2) : x < 60 ? 1 : -1,
    );
    const all = new Votes(votes, [n, 2]);
    const support = embeddings(data, [n, d]);
    const task: NearestTask = {
      support,
      supportVotes: all,
      queries: support,
      metric: "cosine",
      zeroRows: "error",
      excludeSelf: true,
    };
    const exact = await nearestVotes(task, all);
    const near = await nearestVotes(task, all, { method: "approximate", probes: 20 });
    let same = 0;
    let wanted = 0;
    for (let i = 0; i < n; i++) {
      expect(near.score[i * 4 + 3]).toBe(exact.score[i * 4 + 3]);
      for (const cell of [0, 1]) {
        wanted++;
        if (near.index[i * 4 + cell] === exact.index[i * 4 + cell]) same++;
      }
    }
    expect(same / wanted).toBeGreaterThan(0.9);
  });

  it("says which embedding is bad", async () => {
    const votes = randomVotes(3, 2, 2);
    const task = (data: number[], zeroRows: "error" | "isolate" = "error"): NearestTask => ({
      support: embeddings(data, [3, 2]),
      supportVotes: votes,
      queries: embeddings([1, 0], [1, 2]),
      metric: "cosine",
      zeroRows,
      excludeSelf: false,
    });
    const one = new Votes([-1, -1], [1, 2]);
    await expect(nearestVotes(task([1, 2, Number.NaN, 0, 1, 1]), one)).rejects.toThrow(
      /embedding 1 is not finite/,
    );
    await expect(nearestVotes(task([1, 2, 0, 0, 1, 1]), one)).rejects.toThrow(/embedding 1 is all zeros/);
    await expect(nearestVotes(task([1, 2, 0, 0, 1, 1], "isolate"), one)).resolves.toBeDefined();
    await expect(
      nearestVotes({ ...task([1, 2, 1, 0, 1, 1]), queries: embeddings([1, 0, 2], [1, 3]) }, one),
    ).rejects.toThrow(/differ in width/);
  });
});

describe("extendVotes", () => {
  // one function; a positive support at distance 3 and a negative one at distance 1
  const support = embeddings([3, 0, -1, 0], [2, 2]);
  const supportVotes = new Votes([1, 0], [2, 1]);
  const query = (x: number, y: number, metric: "l2" | "cosine" = "l2"): ReturnType<typeof referenceNearest> =>
    referenceNearest({
      support,
      supportVotes,
      queries: embeddings([x, y], [1, 2]),
      metric,
      zeroRows: "error",
      excludeSelf: false,
    });
  const silent = new Votes([-1], [1, 1]);

  it("takes the NEARER class under l2, where the original takes the farther", () => {
    expect(extendVotes(silent, query(0, 0), 4).at(0, 0)).toBe(0);
    expect(extendVotes(silent, query(0, 0), 4, "epoxy").at(0, 0)).toBe(1);
    expect(extendVotes(silent, query(0, 0), 1).at(0, 0)).toBe(-1); // the radius is strict
    expect(extendVotes(silent, query(0, 0), 1.001).at(0, 0)).toBe(0);
  });

  it("abstains on ties, and where nobody votes", () => {
    expect(extendVotes(silent, query(1, 0), 10).at(0, 0)).toBe(-1);
    const nobody = referenceNearest({
      support,
      supportVotes: new Votes([-1, -1], [2, 1]),
      queries: support,
      metric: "cosine",
      zeroRows: "error",
      excludeSelf: false,
    });
    expect([...extendVotes(new Votes([-1, -1], [2, 1]), nobody, -2).data]).toEqual([-1, -1]);
  });

  it("never changes a vote, and refuses radii that do not fit", () => {
    expect(extendVotes(new Votes([1], [1, 1]), query(-1, 0), 99).at(0, 0)).toBe(1);
    expect(() => extendVotes(silent, query(0, 0), [1, 2])).toThrow(/one radius per function/);
    expect(() => extendVotes(silent, query(0, 0), Number.NaN)).toThrow(/not a number/);
  });
});
