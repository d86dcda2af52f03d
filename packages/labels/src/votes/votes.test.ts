import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import { readVotes, readWrench, votesFromCsv, writeVotes, writeWrench } from "./vote-files.ts";
import { Votes } from "./votes.ts";

describe("Votes", () => {
  it("names the row and column of a vote outside the classes", () => {
    expect(() => new Votes([0, 1, 2, -1], [2, 2], { classes: 2 })).toThrow(/row 1, column 0.*0\.\.1, got 2/);
    expect(() => new Votes([0, 0.5], [1, 2])).toThrow(/got 0\.5/);
    expect(() => Votes.fromSigned([1, 2], [1, 2])).toThrow(/row 0, column 1/);
    expect(() => new Votes([0, 1, 0], [2, 2])).toThrow(/4 votes, got 3/);
  });

  it("translates between the two notations", () => {
    const votes = Votes.fromSigned([1, 0, -1, 0, 0, 1], [2, 3]);
    expect([...votes.data]).toEqual([1, -1, 0, -1, -1, 1]);
    expect([...votes.toSigned()]).toEqual([1, 0, -1, 0, 0, 1]);
    const three = new Votes([0, 2, -1], [1, 3], { classes: 3 });
    expect([...three.toSigned(2)]).toEqual([-1, 1, 0]);
  });

  it("come as sparse triples", () => {
    const votes = Votes.fromTriples(
      [
        [1, 0, 1],
        [0, 2, 0],
      ],
      [2, 3],
    );
    expect([...votes.data]).toEqual([-1, -1, 0, 1, -1, -1]);
    expect(() => Votes.fromTriples([[2, 0, 1]], [2, 3])).toThrow(/cannot be placed/);
    const twice = [
      [0, 0, 1],
      [0, 0, 0],
    ] as const;
    expect(() => Votes.fromTriples(twice, [1, 1])).toThrow(/each pair once/);
  });

  it("picks rows and columns with their names", () => {
    const votes = new Votes([0, 1, 1, 0, -1, 1], [3, 2], { names: ["a", "b"] });
    expect([...votes.rows([2, 0]).data]).toEqual([-1, 1, 0, 1]);
    const b = votes.columns([1]);
    expect([...b.data]).toEqual([1, 0, 1]);
    expect(b.names).toEqual(["b"]);
    expect(new Votes([-1, -1, 0, -1], [2, 2]).coverage()).toBe(0.5);
  });
});

describe("vote files", () => {
  const uniform = seededUniform(Date.now());
  const classes = 4;
  const votes = new Votes(
    Int16Array.from({ length: 37 * 5 }, () => Math.floor(uniform() * (classes + 1)) - 1),
    [37, 5],
    { classes, names: ["a", "b, with comma", 'c "quoted"', "d", "ä"] },
  );

  it.each([".npy", ".csv", ".parquet"])("come back from %s as they were", async (extension) => {
    const folder = await mkdtemp(join(tmpdir(), "votes-"));
    const file = join(folder, `votes${extension}`);
    await writeVotes(file, votes);
    const back = await readVotes(file, { classes });
    expect([...back.data]).toEqual([...votes.data]);
    if (extension !== ".npy") expect(back.names).toEqual(votes.names);
  });

  it("keep the signed notation", async () => {
    const folder = await mkdtemp(join(tmpdir(), "votes-"));
    const two = Votes.fromSigned([1, 0, -1, 1, 1, 0], [3, 2]);
    for (const extension of [".npy", ".csv", ".parquet"]) {
      const file = join(folder, `signed${extension}`);
      await writeVotes(file, two, "signed");
      expect([...(await readVotes(file, { notation: "signed" })).toSigned()]).toEqual([...two.toSigned()]);
    }
  });

  it("say what is wrong with a bad file", async () => {
    expect(() => votesFromCsv("a,b\n1,x\n")).toThrow(/row 1, column "b" is no vote/);
    expect(() => votesFromCsv("a,b\n1\n")).toThrow(/row 1/);
    const folder = await mkdtemp(join(tmpdir(), "votes-"));
    const file = join(folder, "broken.parquet");
    await writeFile(file, "PAR1 but nothing else");
    await expect(readVotes(file)).rejects.toThrow(/cannot read this Parquet file/);
    await expect(readVotes(join(folder, "votes.xls"))).rejects.toThrow(/unknown kind of file/);
  });

  it("read and write WRENCH splits", () => {
    const text = JSON.stringify({
      "0": { label: 2, weak_labels: [-1, 2, 0], data: { text: "x" } },
      "1": { label: 0, weak_labels: [1, -1, -1], data: { text: "y" } },
    });
    const split = readWrench(text);
    expect(split.votes.classes).toBe(3);
    expect([...split.labels]).toEqual([2, 0]);
    expect(JSON.parse(writeWrench(split))).toEqual(JSON.parse(text));
    expect(() => readWrench('{"7": {"label": 1, "weak_labels": [0]}, "8": {"label": 1}}')).toThrow(
      /item "8"/,
    );
  });
});
