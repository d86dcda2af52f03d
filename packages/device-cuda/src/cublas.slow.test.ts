// What cuBLAS is asked for, by a library that tells it.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";

const LIBRARY = `
#include <stdint.h>
#include <stdio.h>
int cublasCreate_v2(uint64_t *to) { *to = 1; return 0; }
int cublasDestroy_v2(uint64_t h) { return 0; }
int cublasSetStream_v2(uint64_t h, uint64_t s) { return 0; }
int cublasSetWorkspace_v2(uint64_t h, uint64_t at, uint64_t bytes) { return 0; }
int cublasGemmStridedBatchedEx(uint64_t h, int ta, int tb, int m, int n, int k, void *alpha, uint64_t a, int at, int la, int64_t sa,
  uint64_t b, int bt, int lb, int64_t sb, void *beta, uint64_t c, int ct, int lc, int64_t sc, int batch, int compute, int algorithm) {
  printf("%lu %lu %lu x%d\\n", a, b, c, batch);
  return 0;
}`;

test.skipIf(spawnSync("cc", ["--version"]).status !== 0)(
  "many products go in parts, large sizes not at all",
  () => {
    const folder = mkdtempSync(join(tmpdir(), "everlong-cublas-"));
    writeFileSync(join(folder, "library.c"), LIBRARY);
    const file = join(folder, "libcublas.so.13");
    execFileSync("cc", ["-shared", "-fPIC", "-w", "-o", file, join(folder, "library.c")]);
    const matrix = (size: number): string =>
      `{ leading: ${size}, batchStride: ${size} * 2, transposed: false, word: { input: 0 } }`;
    const program = `
import { Cublas } from ${JSON.stringify(fileURLToPath(new URL("./cublas.ts", import.meta.url)))};
const library = Cublas.open({ allocate: () => 8 }, 0);
const product = (batch, m) => ({ dtype: "bf16", m, n: 4, k: 3, batch, a: ${matrix(3)}, b: ${matrix(4)}, c: ${matrix(5)} });
const base = 2 ** 40;
library.multiply(product(131_071, 2), base, base + 1, base + 2, {});
console.log([[1, 2], [1, 2 ** 31]].map(([batch, m]) => library.has(product(batch, m))).join());`;
    const args = ["--conditions=everlong-source", "--input-type=module-typescript", "-e", program];
    const { stdout, stderr } = spawnSync(process.execPath, args, {
      encoding: "utf8",
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      env: { ...process.env, LD_LIBRARY_PATH: folder },
    });
    rmSync(folder, { recursive: true });
    // Row-major: the second factor is the library's first.
    const at = (first: number): string =>
      [1 + 8 * first * 2, 6 * first * 2, 2 + 10 * first * 2].map((n) => 2 ** 40 + n).join(" ");
    expect([stdout.trim().split("\n").sort(), stderr]).toEqual([
      [`${at(0)} x65535`, `${at(65_535)} x65535`, `${at(131_070)} x1`, "true,false"].sort(),
      expect.not.stringContaining("Error"),
    ]);
  },
);
