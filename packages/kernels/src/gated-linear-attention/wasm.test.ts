import { uniform } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import { linearScanOp, type LinearScanInput } from "./op.ts";
import { linearScanWasm } from "./wasm.ts";

const decay = (shape: number[]) => ({ shape, sample: uniform(-0.7, 0) });
const abc: readonly LinearScanInput[] = ["a", "b", "c"];
const shapes = (batch: number, time: number, heads: number, i: number, j: number) => [
  [batch, time, heads, i],
  [batch, time, heads, j],
  [batch, time, heads, i],
];

checkWasm(
  linearScanOp,
  linearScanWasm,
  [false, true].flatMap((reverse) => [
    { inputs: shapes(1, 4, 1, 2, 3), params: { reverse, decay: "rows" as const, inputs: abc } },
    {
      inputs: [...shapes(2, 70, 2, 13, 21), decay([2, 70, 2, 13]), [2, 2, 13, 21]],
      params: { reverse, decay: "rows" as const, inputs: [...abc, "g", "initial"] as const },
    },
    {
      inputs: [...shapes(1, 45, 3, 8, 40), decay([1, 45, 3, 40])],
      params: { reverse, decay: "columns" as const, inputs: [...abc, "g"] as const },
    },
    {
      inputs: [...shapes(2, 33, 1, 16, 16), [2, 1, 16, 16]],
      params: { reverse, decay: "columns" as const, inputs: [...abc, "initial"] as const },
    },
  ]),
);
