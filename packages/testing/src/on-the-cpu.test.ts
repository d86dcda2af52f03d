// The checks of every primitive and random graphs once more, with the CPU device registered.

import { expect, test } from "vitest";
import { deviceNames } from "@everlong/core";

const load = (path: string): Promise<unknown> =>
  import(/* @vite-ignore */ new URL(path, import.meta.url).href);

process.env["EVERLONG_CHECKS"] = "devices";
await load("../../device-cpu/src/index.ts");
for (const name of ["elementwise", "movement", "reduction", "kernel", "fft", "structure"]) {
  await load(`../../core/src/rules/${name}.test.ts`);
}
await load("../../core/src/schedule/random-graphs.test.ts");

test("the device is there", () => expect(deviceNames()).toContain("cpu"));
