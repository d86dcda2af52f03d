// The checks of every fused op once more, with the CPU device registered: strict, memory poisoned, threads switched.

import { existsSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import { definedOps } from "@everlong/core";

const load = (path: string): Promise<unknown> =>
  import(/* @vite-ignore */ new URL(path, import.meta.url).href);
const kernels = "../../kernels/src/";

process.env["EVERLONG_CHECKS"] = "devices";
await load("../../device-cpu/src/index.ts");
for (const folder of readdirSync(new URL(kernels, import.meta.url))) {
  const path = `${kernels}${folder}/op.test.ts`;
  if (existsSync(new URL(path, import.meta.url))) await load(path);
}

test("ops were found", () => expect(definedOps().length).toBeGreaterThan(0));
