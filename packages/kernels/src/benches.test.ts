import { expect, test } from "vitest";
import { definedOps } from "@everlong/core";
import { benches } from "./benches.ts";
import "./index.ts";
import { wasmSources } from "./wasm.ts";

test("case names are unique; shapes fit their ops; every cost is counted", () => {
  expect(new Set(benches.map((b) => b.name)).size).toBe(benches.length);
  for (const { op, params, inputs, small, name } of benches) {
    for (const list of [inputs, small]) {
      const types = list.map((i) => ({ shape: i.shape, dtype: i.dtype ?? ("f32" as const) }));
      const outputs = op.def.shape(types, params as never);
      const { flops, bytes } = op.def.cost(types, outputs, params as never);
      expect(bytes, name).toBeGreaterThan(0);
      expect(flops, name).toBeGreaterThanOrEqual(0);
    }
  }
});

/** Ops that are loops around other ops wherever they run. */
const LOOPS = ["chunked-conv", "chunked-conv-filter-grad"];
/** Ops that spare launches, or passes over half-precision values, where only GPUs have either; CPUs run their parts. */
const FOR_GPUS = [
  "fft-conv-backward",
  "gate",
  "gate-grad",
  "gated-unit",
  "gated-unit-grad",
  "global-norm",
  "linear-weight-grad",
  "mean-cross-entropy",
  "mean-cross-entropy-grad",
  "packed-attention",
  "packed-attention-grad",
  "packed-hyena",
  "packed-hyena-grad",
  "rounded-copies",
  "scaled-all",
  "sine-network",
  "sine-network-grad",
];

test("every op has a WebAssembly source and a case", () => {
  const all = definedOps().map((d) => d.name);
  expect(all).toEqual(expect.arrayContaining([...LOOPS, ...FOR_GPUS]));
  const names = all.filter((n) => !LOOPS.includes(n) && !FOR_GPUS.includes(n));
  expect(names.filter((n) => !(n in wasmSources))).toEqual([]);
  expect(Object.keys(wasmSources).filter((n) => !names.includes(n))).toEqual([]);
  const timed = new Set(
    benches.flatMap((b) => [b.op, ...b.inputs.flatMap((i) => i.made?.op ?? [])]).map((op) => op.def.name),
  );
  expect(names.filter((n) => !timed.has(n))).toEqual([]);
});
