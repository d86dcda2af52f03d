// The tests of compiled functions (donation, replay, flat memory) once more, on the CPU device.

import { expect, test } from "vitest";
import { defaultDevice } from "@everlong/core";

const load = (path: string): Promise<unknown> =>
  import(/* @vite-ignore */ new URL(path, import.meta.url).href);

await load("../../device-cpu/src/index.ts");
process.env["EVERLONG_TEST_DEVICE"] = "cpu";
await load("../../core/src/compile.test.ts");

test("the device is the default", () => expect(defaultDevice().name).toBe("cpu"));
