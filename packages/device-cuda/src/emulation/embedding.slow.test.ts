// The embedding's gradient has the bits that the order of its sums gives: each row's places in parts of 64, then the parts behind the first
// by eight warps in turn.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { cast, tensor, withDevice } from "@everlong/core";
import { embeddingGradOp } from "@everlong/kernels";
import { normal, Random } from "@everlong/testing";
import { EmulatingDevice } from "./emulating-device.ts";

const PART = 64;
const added = (terms: readonly number[], first = 0): number =>
  terms.reduce((sum, x) => Math.fround(sum + x), first);

/** One element of the gradient from the terms of its row. */
function summed(terms: readonly number[]): number {
  const parts = Array.from({ length: Math.ceil(terms.length / PART) }, (_, k) =>
    added(terms.slice(k * PART, (k + 1) * PART)),
  );
  if (parts.length < 2) return parts[0] ?? 0;
  const further = parts.slice(1);
  return added(
    Array.from({ length: 8 }, (_, warp) => added(further.filter((_, k) => k % 8 === warp))),
    parts[0],
  );
}

describe.skipIf(spawnSync("g++", ["--version"]).status !== 0)("sums in order", () => {
  const folder = mkdtempSync(join(tmpdir(), "everlong-embedding-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  const device = new EmulatingDevice(folder);
  const random = new Random(11);
  const drawn = (count: number, below: number): number[] =>
    Array.from({ length: count }, () => Math.floor(random.uniform() * below));

  test.each([
    ["f32", 4, 400, drawn(3000, 410).map((id) => (id % 3 ? id : 7))],
    ["f32", 133, 50_257, drawn(200, 50_300)],
    ["f32", 260, 1025, drawn(1100, 1025).map((id, i) => (i % 2 ? id : 5))],
    ["bf16", 9, 1500, drawn(2100, 3).map((k) => [1499, -1, 700][k]!)],
    ["f16", 132, 140, drawn(1200, 2).map((k) => 138 + k)],
  ] as const)("%s, %i columns, %i rows", async (dtype, width, rows, ids) => {
    const values = Float32Array.from({ length: ids.length * width }, () => normal(random, 0));
    const before = device.launches;
    const [stored, got] = await withDevice(device, async () => {
      const dy = tensor(values, [ids.length, width], { dtype });
      const places = tensor(Int32Array.from(ids), [ids.length], { dtype: "i32" });
      const [sums] = embeddingGradOp([places, dy], { rows });
      return [await cast(dy, "f32").data(), await sums!.data()] as const;
    });
    expect(device.launches - before).toBe(rows > 1024 ? 7 : 5);
    const want = new Float32Array(rows * width);
    const placesOf = new Map<number, number[]>();
    ids.forEach((id, i) => {
      const row = Math.min(Math.max(id, 0), rows - 1);
      placesOf.set(row, [...(placesOf.get(row) ?? []), i]);
    });
    for (const [row, at] of placesOf)
      for (let c = 0; c < width; c++) want[row * width + c] = summed(at.map((i) => stored[i * width + c]!));
    expect(got).toEqual(want);
  });
});
