import { mkdtemp, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeNpy, writeSafetensors } from "@everlong/data";
import { parquetWriteBuffer } from "hyparquet-writer";
import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { describe, expect, it } from "vitest";
import { seededUniform } from "../evaluation/synthetic-votes.ts";
import { readEmbeddings, writeEmbeddings } from "./embedding-files.ts";
import { embeddings } from "./embeddings.ts";
import { foundationEmbeddings } from "./foundation-model.ts";
import { TextEncoder } from "./text-encoder.ts";
import { TextEmbedder } from "./text-embedder.ts";
import { TextFeatures, tokenize } from "./text-features.ts";
import type { SparseRows } from "./text-features.ts";
import { project, truncatedSvd } from "./truncated-svd.ts";

const uniform = seededUniform(Date.now() % 1e9);

describe("text features", () => {
  it("split words, numbers and signs", () => {
    expect(tokenize("Don't miss it!!<br />123 cats\uFEFF 😀")).toEqual([
      "don't",
      "miss",
      "it",
      "!",
      "!",
      "123",
      "cats",
      "😀",
    ]);
  });

  it("are TF-IDF weights of unit length by group", () => {
    const features = new TextFeatures({
      words: [1, 1],
      characters: [0, 0],
      shape: false,
      minDocuments: 1,
      maxShare: 1,
    });
    const rows = features.fit(["a b", "a c", "a a d"]).transform(["a b", "z"]);
    expect([...rows.starts]).toEqual([0, 2, 2]);
    const idf = (df: number): number => Math.log(4 / (1 + df)) + 1;
    const norm = Math.hypot(idf(3), idf(1));
    const sorted = [...rows.values].sort((x, y) => x - y);
    expect(sorted[0]).toBeCloseTo(idf(3) / norm, 6);
    expect(sorted[1]).toBeCloseTo(idf(1) / norm, 6);
  });

  it("say when nothing is left", () => {
    expect(() => new TextFeatures({ minDocuments: 5 }).fit(["one", "two"])).toThrow(/no feature is left/);
    expect(() => new TextFeatures({ words: [0, 0], characters: [0, 0] })).toThrow(/neither/);
  });
});

describe("truncatedSvd", () => {
  it("finds the leading singular values of a sparse matrix", () => {
    const [n, d, k] = [60, 45, 5];
    const dense = new Matrix(n, d);
    for (let i = 0; i < n; i++)
      for (let j = 0; j < d; j++) if (uniform() < 0.2) dense.set(i, j, uniform() * (j < k ? 9 : 1));
    const starts = new Int32Array(n + 1);
    const columns: number[] = [];
    const values: number[] = [];
    for (let i = 0; i < n; i++) {
      for (let j = 0; j < d; j++)
        if (dense.get(i, j) !== 0) {
          columns.push(j);
          values.push(dense.get(i, j));
        }
      starts[i + 1] = columns.length;
    }
    const rows: SparseRows = {
      starts,
      columns: Int32Array.from(columns),
      values: Float32Array.from(values),
      width: d,
    };
    const svd = truncatedSvd(rows, { size: k, iterations: 6 });
    const exact = new EigenvalueDecomposition(dense.transpose().mmul(dense)).realEigenvalues
      .map((x) => Math.sqrt(Math.max(0, x)))
      .sort((a, b) => b - a);
    for (let i = 0; i < k; i++) expect(Math.abs(svd.singularValues[i]! / exact[i]! - 1)).toBeLessThan(1e-3);
    // columns of A V have the singular values as lengths
    const p = project(rows, svd);
    const length = Math.hypot(...Array.from({ length: n }, (_, i) => p.data[i * k]!));
    expect(length).toBeCloseTo(svd.singularValues[0]!, 3);
    expect(() => truncatedSvd(rows, { size: 46 })).toThrow(/1\.\.45/);
  });
});

describe("TextEmbedder", () => {
  it("puts texts on a subject near each other", () => {
    const words = { cats: ["cat", "purr", "whisker", "paw"], cars: ["engine", "wheel", "brake", "gear"] };
    const texts = Array.from({ length: 80 }, (_, i) => {
      const list = i % 2 === 0 ? words.cats : words.cars;
      return Array.from({ length: 5 }, () => list[Math.floor(uniform() * 4)]).join(" ");
    });
    const e = new TextEmbedder({ size: 4 }).fit(texts).transform([...texts, "no such words: xyzzy"]);
    const cosine = (a: number, b: number): number => {
      let sum = 0;
      for (let k = 0; k < 4; k++) sum += e.data[a * 4 + k]! * e.data[b * 4 + k]!;
      return sum;
    };
    // Two texts may share no word with each other; what counts is the mean over all pairs.
    const mean = (odd: number): number => {
      const found = texts.flatMap((_, i) =>
        Array.from({ length: i }, (_, j) => j)
          .filter((j) => (i + j) % 2 === odd)
          .map((j) => cosine(i, j)),
      );
      return found.reduce((a, b) => a + b) / found.length;
    };
    expect(mean(0)).toBeGreaterThan(mean(1) + 0.5);
    expect(cosine(0, 0)).toBeCloseTo(1, 5);
  });
});

describe("TextEncoder", () => {
  it("learns from texts alone which of them belong together", async () => {
    const words = { cats: ["cat", "purr", "whisker", "paw"], cars: ["engine", "wheel", "brake", "gear"] };
    const texts = Array.from({ length: 48 }, (_, i) => {
      const list = i % 2 === 0 ? words.cats : words.cars;
      return Array.from({ length: 5 }, () => list[Math.floor(uniform() * 4)]).join(" ");
    });
    const losses: number[] = [];
    const encoder = new TextEncoder({
      size: 8,
      batch: 16,
      maxLength: 6,
      steps: 240,
      layers: ["short-conv"],
      onStep: (_, loss) => losses.push(loss),
    });
    const e = await (await encoder.fit(texts)).transform(texts);
    const average = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0) / list.length;
    expect(average(losses.slice(-40))).toBeLessThan(average(losses.slice(0, 8)));
    const mean = (same: boolean): number => {
      const values: number[] = [];
      for (let a = 0; a < 48; a++)
        for (let b = 0; b < a; b++)
          if ((a % 2 === b % 2) === same)
            values.push(e.data.subarray(a * 8, a * 8 + 8).reduce((s, x, k) => s + x * e.data[b * 8 + k]!, 0));
      return values.reduce((s, x) => s + x, 0) / values.length;
    };
    expect(mean(true)).toBeGreaterThan(mean(false) + 0.1);
    await expect(new TextEncoder().transform(["x"])).rejects.toThrow(/not fitted/);
    await expect(new TextEncoder().fit(["x"])).rejects.toThrow(/at least 2 texts/);
  });
});

describe("embedding files", () => {
  it("come from npy, safetensors and Parquet", async () => {
    const folder = await mkdtemp(join(tmpdir(), "emb-"));
    const data = Float32Array.from({ length: 12 }, () => uniform());
    const wanted = embeddings(data, [4, 3]);
    const at = (name: string): string => join(folder, name);
    await writeEmbeddings(at("a.npy"), wanted);
    await writeFile(at("b.npy"), writeNpy({ dtype: "f8", shape: [4, 3], data: Float64Array.from(data) }));
    await writeFile(
      at("c.safetensors"),
      writeSafetensors(new Map([["x", { dtype: "F32", shape: [4, 3], data }]])),
    );
    await writeFile(
      at("d.parquet"),
      new Uint8Array(
        parquetWriteBuffer({
          columnData: [0, 1, 2].map((k) => ({
            name: `e${k}`,
            data: Float32Array.from([0, 1, 2, 3], (i) => data[i * 3 + k]!),
            type: "FLOAT",
          })),
        }),
      ),
    );
    for (const name of ["a.npy", "b.npy", "c.safetensors", "d.parquet"])
      expect((await readEmbeddings(at(name))).data).toEqual(data);
    await writeFile(at("flat.npy"), writeNpy({ dtype: "f4", shape: [12], data }));
    await expect(readEmbeddings(at("flat.npy"))).rejects.toThrow(/must be a matrix/);
    const broken = Float32Array.from(data);
    broken[7] = Number.NaN;
    await writeFile(at("nan.npy"), writeNpy({ dtype: "f4", shape: [4, 3], data: broken }));
    await expect(readEmbeddings(at("nan.npy"))).rejects.toThrow(/embedding 2 is not finite/);
    await expect(readEmbeddings(at("x.txt"))).rejects.toThrow(/unknown kind of file/);
  });
});

describe("foundationEmbeddings", () => {
  it("asks for the optional library when it is absent", async () => {
    await expect(foundationEmbeddings(["text"])).rejects.toThrow(
      /not installed.*npm install|cannot load the model/,
    );
  });
});
