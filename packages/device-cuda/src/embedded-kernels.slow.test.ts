// `npm run embed` for one kind of program, with whichever compiler there is.

import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { selectiveScan } from "@everlong/kernels";
import { gradients, realize, registerDevice, sum, withDevice, zeros } from "@everlong/core";
import { EmbeddedKernels } from "./embedded-kernels.ts";
import { wholeSource } from "./kernel-cache.ts";
import { LoweringDevice } from "./lowering-device.ts";

const hasNvcc = spawnSync("nvcc", ["--version"]).status === 0;
const out = mkdtempSync(join(tmpdir(), "everlong-embed-test-"));
afterAll(() => rmSync(out, { recursive: true, force: true }));

test.skipIf(!hasNvcc)(
  "kernels of a selective scan are found at other sizes than they were built for",
  async () => {
    const script = new URL("../../../scripts/embed-kernels.ts", import.meta.url).pathname;
    const args = ["--conditions=everlong-source", script, "--only", "recurrence", "--out", out];
    execFileSync(process.execPath, args, {
      stdio: "pipe",
      env: { ...process.env, EVERLONG_NVRTC: "/nowhere" },
    });
    const device = new LoweringDevice({ computes: false });
    registerDevice(device.name, () => device);
    withDevice(device, () => {
      const make = (...shape: number[]) => zeros(shape);
      const inputs = [make(3, 333, 64), make(3, 333, 64), make(64, 16), make(3, 333, 16), make(3, 333, 16)];
      const [u, delta, a, b, c] = inputs as [ReturnType<typeof make>, ...ReturnType<typeof make>[]];
      realize(gradients(sum(selectiveScan(u, delta!, a!, b!, c!).y), inputs));
    });
    const scans = [...device.kernels.values()].filter((k) => k.entry.startsWith("selective_scan"));
    expect(scans.length).toBeGreaterThan(2);
    for (const [arch, starts] of [
      [90, "\x7fELF"],
      [80, "\x7fELF"],
      [120, "//"],
    ] as const) {
      const kernels = EmbeddedKernels.open(arch, out)!;
      for (const kernel of scans) {
        const image = kernels.find(wholeSource(kernel), kernel);
        expect(image, `${kernel.entry} for ${kernels.target}`).toBeDefined();
        expect(Buffer.from(image!).toString("latin1").trimStart().startsWith(starts)).toBe(true);
      }
    }
  },
);
