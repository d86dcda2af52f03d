import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { registerLabel } from "./cli.ts";

const fixture = (name: string): string =>
  fileURLToPath(new URL(`../fixtures/youtube-spam/${name}.jsonl`, import.meta.url));
const module = fileURLToPath(new URL("./youtube-spam/comments.ts", import.meta.url));

let printed: string[] = [];
async function label(...args: (string | string[])[]): Promise<string> {
  printed = [];
  const program = new Command("everlong");
  registerLabel(program);
  await program.parseAsync(["node", "everlong", "label", ...args.flat()]);
  return printed.join("\n");
}

describe("everlong label", () => {
  beforeEach(() => {
    vi.spyOn(console, "log").mockImplementation((line: string) => void printed.push(line));
  });
  afterEach(() => vi.restoreAllMocks());

  it("goes from records to labels and a report", async () => {
    const folder = await mkdtemp(join(tmpdir(), "label-"));
    const at = (name: string): string => join(folder, name);
    const lines = (await readFile(fixture("train"), "utf8")).split("\n").slice(0, 500);
    await writeFile(at("train.jsonl"), lines.join("\n"));
    const train = at("train.jsonl");
    for (const split of ["train", "valid", "test"]) {
      const records = split === "train" ? train : fixture(split);
      const out = await label("apply", module, records, "--out", at(`${split}.csv`));
      expect(out).toContain("check_out");
      await label(["embed", records, "--train", train, "--size", "16"], ["--out", at(`${split}.npy`)]);
    }
    const extended = await label(
      ["extend", "--votes", at("train.csv"), "--embeddings", at("train.npy")],
      ["--to-votes", at("test.csv"), "--to-embeddings", at("test.npy")],
      ["--dev-votes", at("valid.csv"), "--dev-embeddings", at("valid.npy"), "--dev-labels", fixture("valid")],
      ["--model", "majority", "--out", at("extended.parquet")],
    );
    expect(extended).toMatch(/radii chosen on 100 dev items/);
    await label("fit", at("train.csv"), "--model", "weighted", "--out", at("model.json"));
    const scored = await label(
      "predict",
      at("model.json"),
      at("extended.parquet"),
      "--labels",
      fixture("test"),
    );
    expect(Number(/accuracy (0\.\d+)/.exec(scored)![1])).toBeGreaterThan(0.85);
    await label(
      ["report", at("extended.parquet"), "--labels", fixture("test"), "--model", at("model.json")],
      ["--before", at("test.csv"), "--records", fixture("test"), "--out", at("report.html")],
    );
    const page = await readFile(at("report.html"), "utf8");
    for (const part of [
      "Systems compared",
      "Conflicts",
      "What extension adds",
      "Calibration",
      "Errors",
      "<svg",
    ])
      expect(page).toContain(part);
    // self-contained: no scripts, and nothing loaded from elsewhere
    expect(page).not.toMatch(/<script|src=|<link|url\(http/);
  });

  it("names the file that is missing, and the option that is wrong", async () => {
    await expect(label("fit", "/nowhere/votes.csv")).rejects.toThrow(/votes\.csv\] cannot read the file/);
    const folder = await mkdtemp(join(tmpdir(), "label-"));
    const votes = join(folder, "votes.csv");
    await label("apply", module, fixture("valid"), "--out", votes);
    await expect(label("fit", votes, "--model", "squid")).rejects.toThrow(/no label model "squid"/);
    await expect(label("extend", "--votes", votes, "--embeddings", votes, "--out", votes)).rejects.toThrow(
      /unknown kind of file/,
    );
    await expect(label("apply", fixture("valid"), votes, "--out", votes)).rejects.toThrow(/cannot import/);
    await expect(label("embed", fixture("valid"), "--field", "body", "--out", votes)).rejects.toThrow(
      /record 0 has no text in "body"/,
    );
  });

  it("refuses an output that cannot be written before it works", async () => {
    const folder = await mkdtemp(join(tmpdir(), "label-"));
    const problems: string[] = [];
    vi.spyOn(process.stderr, "write").mockImplementation((text) => problems.push(String(text)) > 0);
    vi.spyOn(process, "exit").mockImplementation((code) => {
      throw new Error(`exit ${code}`);
    });
    for (const out of [folder, join(folder, "none", "x.html")])
      await expect(label("demo", "--out", out)).rejects.toThrow("exit 1");
    expect(problems.join("")).toContain(`${folder} is not a file`);
    expect(problems.join("")).toContain(`there is no folder ${join(folder, "none")}`);
  });
});
