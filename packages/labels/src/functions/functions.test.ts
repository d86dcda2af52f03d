import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { commentFunctions, readComments } from "../youtube-spam/comments.ts";
import { ABSTAIN, Votes } from "../votes/votes.ts";
import { analyzeFunctions, conflictMatrix, formatAnalysis } from "./analysis.ts";
import { applyFunctions, requireNoFailures } from "./apply.ts";
import {
  keywordFunction,
  labelingFunction,
  lookupFunction,
  patternFunction,
  scoreFunction,
} from "./labeling-function.ts";
import { errorBuckets, scoreSlices, sliceRows } from "./slices.ts";
import { openVoteCache } from "./vote-cache.ts";

interface Row {
  readonly text: string;
}
const rows: Row[] = ["Hello world", "buy NOW", "", "now or never"].map((text) => ({ text }));
const text = (row: Row): string => row.text;

describe("labelling functions", () => {
  it("vote by keyword, pattern, table and score", async () => {
    const { votes } = await applyFunctions(
      [
        keywordFunction({ name: "now", label: 1, text, words: ["NOW"] }),
        patternFunction({ name: "start", label: 0, text, pattern: /^hello/i }),
        lookupFunction({
          name: "table",
          keys: (r: Row) => r.text.split(" "),
          table: new Map([["never", 0]]),
        }),
        scoreFunction({
          name: "length",
          score: async (r: Row) => r.text.length,
          high: 12,
          above: 1,
          low: 0,
          below: 0,
        }),
      ],
      rows,
    );
    expect([...votes.data]).toEqual([-1, 0, -1, -1, 1, -1, -1, -1, -1, -1, -1, 0, 1, -1, 0, 1]);
    expect(() => patternFunction({ name: "g", label: 1, text, pattern: /x/g })).toThrow(/stateful pattern/);
  });

  it("go on when one of them throws or votes nonsense", async () => {
    const result = await applyFunctions(
      [
        labelingFunction("fine", () => 1),
        labelingFunction("throws", (r: Row) => {
          if (r.text === "") throw new Error("empty text");
          return 0;
        }),
        labelingFunction("rejects", async () => Promise.reject(new Error("service down"))),
        labelingFunction("outside", () => 7),
      ],
      rows,
    );
    expect([...result.votes.data.subarray(8, 12)]).toEqual([1, -1, -1, -1]);
    expect(result.failures).toEqual([
      { function: "throws", count: 1, row: 2, message: "empty text" },
      { function: "rejects", count: 4, row: 0, message: "service down" },
      { function: "outside", count: 4, row: 0, message: "voted 7, outside -1 (abstain) and 0..1" },
    ]);
    expect(() => requireNoFailures(result)).toThrow(/throws \(1 rows, first 2: empty text\)/);
  });

  it("wait together, but not more at once than allowed", async () => {
    let now = 0;
    let most = 0;
    const slow = labelingFunction("slow", async () => {
      most = Math.max(most, ++now);
      await new Promise((resolve) => setTimeout(resolve, 1));
      now--;
      return 1;
    });
    await applyFunctions(
      [slow],
      Array.from({ length: 50 }, () => rows[0]!),
      { concurrency: 8 },
    );
    expect(most).toBe(8);
  });

  it("are asked once when a cache remembers, again when they change", async () => {
    const folder = await mkdtemp(join(tmpdir(), "cache-"));
    let calls = 0;
    const count = (version: string): ReturnType<typeof labelingFunction<Row>> =>
      labelingFunction(
        "counted",
        (r: Row) => {
          calls++;
          return r.text.length % 2;
        },
        version,
      );
    const run = async (version: string): Promise<number> =>
      (await applyFunctions([count(version)], rows, { cache: await openVoteCache<Row>(folder) })).cached;
    expect([await run("1"), calls]).toEqual([0, 4]);
    expect([await run("1"), calls]).toEqual([4, 4]);
    expect([await run("2"), calls]).toEqual([0, 8]);
  });

  it("vote alike in worker threads", async () => {
    const { rows: comments } = await readComments("valid");
    const here = await applyFunctions(commentFunctions, comments);
    const seen: number[] = [];
    const there = await applyFunctions(commentFunctions, comments, {
      module: new URL("../youtube-spam/comments.ts", import.meta.url),
      threads: 2,
      onProgress: (done) => seen.push(done),
    });
    expect(there.votes.data).toEqual(here.votes.data);
    expect(seen.at(-1)).toBe(100);
    await expect(
      applyFunctions([labelingFunction("absent", () => ABSTAIN)], comments, {
        module: new URL("../youtube-spam/comments.ts", import.meta.url),
      }),
    ).rejects.toThrow(/no labelling function "absent"/);
  });

  it("need names of their own", async () => {
    const fn = labelingFunction("same", () => 1);
    await expect(applyFunctions([fn, fn], rows)).rejects.toThrow(/two labelling functions are called "same"/);
    await expect(applyFunctions([], rows)).rejects.toThrow(/no labelling functions/);
  });
});

describe("analysis", () => {
  // the six-by-six example of Snorkel's tests
  const matrix = [
    [-1, -1, 0, -1, -1, 0],
    [-1, -1, -1, 2, -1, -1],
    [2, -1, -1, -1, -1, 0],
    [1, -1, 2, -1, 0, 0],
    [-1, -1, -1, -1, -1, -1],
    [1, -1, 0, 2, 1, 0],
  ];
  const votes = new Votes(matrix.flat(), [6, 6], { classes: 3 });

  it("counts coverage, overlaps, conflicts and accuracies", () => {
    const a = analyzeFunctions(votes, [0, 1, 2, 0, 1, 2]);
    expect([a.coverage, a.overlap, a.conflict]).toEqual([5 / 6, 4 / 6, 3 / 6]);
    expect(a.functions.map((f) => f.coverage)).toEqual([3 / 6, 0, 3 / 6, 2 / 6, 2 / 6, 4 / 6]);
    expect(a.functions.map((f) => f.overlaps)).toEqual([3 / 6, 0, 3 / 6, 1 / 6, 2 / 6, 4 / 6]);
    expect(a.functions.map((f) => f.conflicts)).toEqual([3 / 6, 0, 2 / 6, 1 / 6, 2 / 6, 3 / 6]);
    expect(a.functions.map((f) => f.accuracy)).toEqual([1 / 3, null, 1 / 3, 1 / 2, 1 / 2, 2 / 4]);
    expect(a.functions.map((f) => f.polarity)).toEqual([[1, 2], [], [0, 2], [2], [0, 1], [0]]);
    expect(formatAnalysis(a).split("\n")).toHaveLength(7);
    expect(() => analyzeFunctions(votes, [0])).toThrow(/differ in length/);
  });

  it("says who contradicts whom", () => {
    const c = conflictMatrix(votes);
    expect(c[5]).toBeCloseTo(3 / 6, 12);
    expect(c[5 * 6]).toBeCloseTo(3 / 6, 12);
    expect(c[0]).toBe(0);
  });
});

describe("slices", () => {
  it("score their own items", () => {
    const slices = sliceRows([{ name: "short", member: (r: Row) => r.text.length < 8 }], rows);
    expect([...slices.get("short")!]).toEqual([1, 2]);
    const scores = scoreSlices(slices, [0, 1, 0, 1], [0, 1, 1, 1]);
    expect(scores.get("all")!.accuracy).toBe(0.75);
    expect(scores.get("short")).toMatchObject({ accuracy: 0.5, items: 2 });
    expect(() => sliceRows([{ name: "bad", member: () => JSON.parse("{") as boolean }], rows)).toThrow(
      /slice "bad" threw on row 0/,
    );
  });

  it("group errors by label and prediction", () => {
    expect(errorBuckets([0, 1, 1], [1, 1, 0])).toEqual(
      new Map([
        ["0>1", [0]],
        ["1>1", [1]],
        ["1>0", [2]],
      ]),
    );
  });
});
