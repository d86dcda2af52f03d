import { expect, test } from "vitest";
import type { Op } from "@everlong/core";
import { cudaSources } from "./cuda.ts";
import * as kernels from "./index.ts";

/** Ops that are made of others on every device. */
const COMPOSED = ["chunked-conv", "chunked-conv-filter-grad", "low-frequency-conv"];

test("every op has a CUDA source or is made of ops that have one", () => {
  const ops = (Object.values(kernels) as readonly unknown[]).filter(
    (value): value is Op<never> => typeof value === "function" && "def" in value,
  );
  const names = ops.map((op) => op.def.name);
  expect(names.length).toBeGreaterThan(30);
  expect(names.filter((name) => !cudaSources[name] && !COMPOSED.includes(name))).toEqual([]);
  for (const op of ops) if (COMPOSED.includes(op.def.name)) expect(op.def.decompose).toBeDefined();
});
