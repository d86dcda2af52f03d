// Attention's mma.sync kernels on the CPU against float64, with the tiles that GPUs of 99 KiB and of 163 KiB of shared memory a block take.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import {
  cast,
  device as openDevice,
  gradients,
  mul,
  sum,
  tensor,
  withDevice,
  type Device,
  type DType,
} from "@everlong/core";
import { attention, attentionBlocks, type AttentionOptions } from "@everlong/kernels";
import { A100 } from "@everlong/kernels/cuda";
import { normal, Random, relativeError } from "@everlong/testing";
import { EmulatingDevice } from "./emulating-device.ts";

const GPUS = {
  sm_86: { arch: 86, processors: 82, sharedLimit: 101_376, cacheBytes: 6 * 1024 ** 2 },
  sm_80: A100,
};

interface Case {
  readonly gpu: keyof typeof GPUS;
  readonly dtype: DType;
  /** Rows that the gradient's kernels stream at a time. */
  readonly block: number;
  /** Queries, keys, heads, heads of keys, size of heads. */
  readonly sizes: readonly [number, number, number, number, number];
  readonly options?: AttentionOptions;
  readonly padded?: readonly number[];
  readonly slopes?: readonly number[];
  /** Blocks of 32 keys that those of 64 queries see. */
  readonly lists?: readonly (readonly number[])[];
}

const causal = { causal: true };
const narrow = { gpu: "sm_86", dtype: "f32", block: 16 } as const;
const CASES: readonly Case[] = [
  { ...narrow, sizes: [37, 37, 2, 2, 128], options: causal },
  { ...narrow, sizes: [65, 83, 4, 2, 128], options: { window: [19, 5], softCap: 3 } },
  { ...narrow, sizes: [70, 70, 2, 1, 121], padded: [70, 41], slopes: [0.3, 0.05], options: causal },
  {
    ...narrow,
    sizes: [130, 75, 1, 1, 127],
    lists: [[0, 2], [1, 2], []],
  },
  { ...narrow, block: 32, sizes: [50, 50, 2, 2, 120], options: causal },
  { ...narrow, gpu: "sm_80", block: 32, sizes: [50, 67, 2, 1, 128], options: causal },
  { gpu: "sm_86", dtype: "bf16", block: 32, sizes: [70, 70, 2, 1, 128], options: causal },
  { gpu: "sm_86", dtype: "f16", block: 64, sizes: [67, 130, 2, 2, 40], options: { softCap: 2 } },
];
const LIMITS = { f32: 2e-6, f16: 1e-3, bf16: 6e-3 } as const;

describe.skipIf(spawnSync("g++", ["--version"]).status !== 0)("attention in tiles", () => {
  const folder = mkdtempSync(join(tmpdir(), "everlong-attention-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  test.each(CASES)("$gpu $dtype $sizes $options", async (given) => {
    const { gpu, dtype, block, padded, slopes, lists, options } = given;
    const [queries, keys, heads, keyHeads, size] = given.sizes;
    const batch = padded?.length ?? 1;
    const random = new Random(queries * keys + size);
    const shapes = [
      [batch, queries, heads, size],
      [batch, keys, keyHeads, size],
      [batch, keys, keyHeads, size],
      [batch, queries, heads, size],
    ];
    const draw = (shape: readonly number[]): Float32Array =>
      Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => normal(random, 0));
    const drawn = shapes.map(draw);
    /** Values and gradients; `values` are those of q, k, v and of the cotangent. */
    const results = (
      on: Device,
      values: readonly ArrayLike<number>[],
      as: DType,
    ): Promise<ArrayLike<number>[]> =>
      withDevice(on, async () => {
        const [q, k, v, dy] = values.map((x, i) => tensor(Float64Array.from(x), shapes[i]!, { dtype: as }));
        const y = attention(q!, k!, v!, {
          ...options,
          ...(padded ? { keyLengths: tensor([...padded], [batch], { dtype: "i32" }) } : {}),
          ...(slopes ? { alibiSlopes: tensor([...slopes], [heads], { dtype: as }) } : {}),
          ...(lists ? { blocks: attentionBlocks({ queries: 64, keys: 32 }, lists) } : {}),
        });
        const all = [q!, k!, v!, dy!, y, ...gradients(sum(mul(y, dy!)), [q!, k!, v!])];
        const out: ArrayLike<number>[] = [];
        for (const t of all) out.push(await (as === "f64" ? t : cast(t, "f32")).data());
        return out;
      });
    const emulated = new EmulatingDevice(folder, GPUS[gpu]);
    const got = await results(emulated, drawn, dtype);
    // With that which permutes the sums of dy y.
    expect(emulated.launches).toBeGreaterThanOrEqual(lists ? 5 : 4);
    const gradientKernels = [...emulated.kernels.values()].filter(({ entry }) => entry.endsWith("_grad"));
    expect(gradientKernels.map(({ entry }) => entry)).toEqual(["attention_query_grad", "attention_key_grad"]);
    for (const kernel of gradientKernels) expect(kernel.source()).toContain(`#define BLOCK ${block}\n`);
    const want = await results(openDevice("reference"), got.slice(0, 4), "f64");
    for (const [i, name] of ["y", "dq", "dk", "dv"].entries())
      expect(relativeError(got[4 + i]!, want[4 + i]!), name).toBeLessThan(
        LIMITS[dtype as keyof typeof LIMITS],
      );
  });
});
