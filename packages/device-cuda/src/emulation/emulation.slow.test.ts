// The checks of some fused ops whose kernels hold no assembly but that of small tensor-core products, with these kernels run on the CPU: minutes, most of them in g++.

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import {
  gradients,
  mul,
  registerDevice,
  sum,
  tensor,
  device as openDevice,
  withDevice,
} from "@everlong/core";
import { butterflyConvOp } from "@everlong/kernels";
import { normal, Random, relativeError } from "@everlong/testing";
import { EmulatingDevice } from "./emulating-device.ts";

const OPS = [
  "butterfly",
  "dplr-transfer",
  "embedding",
  "gated-linear-attention",
  "gated-unit",
  "layer-norm",
  "matmul",
  "online-conv",
  "resolvent",
  "selective-scan",
  "sgd",
  "sine-network",
];

if (spawnSync("g++", ["--version"]).status === 0) {
  const folder = mkdtempSync(join(tmpdir(), "everlong-emulation-"));
  const device = new EmulatingDevice(folder);
  registerDevice(device.name, () => device);
  process.env["EVERLONG_CHECKS"] = "devices";
  for (const op of OPS)
    await import(/* @vite-ignore */ new URL(`../../../kernels/src/${op}/op.test.ts`, import.meta.url).href);
  afterAll(() => {
    expect(device.launches).toBeGreaterThan(100);
    rmSync(folder, { recursive: true, force: true });
  });
  // One processor instead of 132, so that blocks walk many rows; stages that are no power of two; several blocks of channels.
  test.each([
    [[16, 16, 2], 11],
    [[64, 2], 3],
    [[17, 5], 3],
    [[2, 2], 70],
  ])("butterflies of %j points, %i channels", async (radices, channels) => {
    const small = new EmulatingDevice(folder, {
      arch: 80,
      processors: 1,
      sharedLimit: 166_912,
      cacheBytes: 0,
    });
    const points = radices.reduce((a, b) => a * b, 1);
    const random = new Random(points);
    const [length, taps] = [Math.ceil(points * 0.6), Math.ceil(points / 3)];
    const shapes = [[3, length, channels], [taps, channels], ...radices.map((m) => [2, m, m])];
    const values = shapes.map((s) =>
      Float32Array.from({ length: s.reduce((a, b) => a * b, 1) }, () => normal(random, 0)),
    );
    const results = (on: typeof small | ReturnType<typeof openDevice>): Promise<ArrayLike<number>[]> =>
      withDevice(on, async () => {
        const given = values.map((v, i) => tensor(v, shapes[i]!, { dtype: on.defaultFloat }));
        const params = { layout: "bld", radices } as const;
        const [y] = butterflyConvOp(given, { ...params, adjoint: false });
        const [g] = butterflyConvOp(given, { ...params, adjoint: true });
        const all = [y!, ...gradients(sum(mul(y!, g!)), given)];
        const out: ArrayLike<number>[] = [];
        for (const t of all) out.push(await t.data());
        return out;
      });
    const [got, want] = [await results(small), await results(openDevice("reference"))];
    want.forEach((w, i) => expect(relativeError(got[i]!, w), `result ${i}`).toBeLessThan(5e-6));
    expect(small.launches).toBeGreaterThan(5);
  });
}
