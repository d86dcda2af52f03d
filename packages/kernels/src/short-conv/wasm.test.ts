import { checkWasm } from "../wasm-check.ts";
import { shortConvGradOp, shortConvOp, type ShortConvGradInput, type ShortConvInput } from "./op.ts";
import { shortConvGradWasm, shortConvWasm } from "./wasm.ts";

const xw: readonly ShortConvInput[] = ["x", "w"];
const all: readonly ShortConvInput[] = ["x", "w", "bias"];
checkWasm(shortConvOp, shortConvWasm, [
  {
    inputs: [
      [2, 5, 3],
      [3, 4],
    ],
    params: { layout: "bld", silu: false, inputs: xw },
  },
  { inputs: [[2, 150, 70], [70, 3], [70]], params: { layout: "bld", silu: true, inputs: all } },
  { inputs: [[2, 45, 131], [45, 3], [45]], params: { layout: "bdl", silu: false, inputs: all } },
  { inputs: [[3, 32, 64], [32, 7], [32]], params: { layout: "bdl", silu: true, inputs: all } },
  { inputs: [[2, 2, 5], [5, 4], [5]], params: { layout: "bld", silu: true, inputs: all } },
  {
    inputs: [
      [3, 37, 64],
      [64, 1],
    ],
    params: { layout: "bld", silu: false, inputs: xw },
  },
]);

const names: readonly ShortConvGradInput[] = ["x", "w", "bias", "dy"];
checkWasm(
  shortConvGradOp,
  shortConvGradWasm,
  [
    {
      inputs: [
        [2, 5, 3],
        [3, 4],
        [2, 5, 3],
      ],
      params: { layout: "bld", silu: false, inputs: ["x", "w", "dy"] },
    },
    {
      inputs: [[3, 150, 70], [70, 3], [70], [3, 150, 70]],
      params: { layout: "bld", silu: true, inputs: names },
    },
    {
      inputs: [[2, 45, 131], [45, 5], [45], [2, 45, 131]],
      params: { layout: "bdl", silu: true, inputs: names },
    },
    {
      inputs: [
        [2, 45, 131],
        [45, 9],
        [2, 45, 131],
      ],
      params: { layout: "bdl", silu: false, inputs: ["x", "w", "dy"] },
    },
    { inputs: [[2, 2, 5], [5, 4], [5], [2, 2, 5]], params: { layout: "bld", silu: true, inputs: names } },
    {
      inputs: [[1, 700, 33], [33, 4], [33], [1, 700, 33]],
      params: { layout: "bld", silu: false, inputs: names },
    },
  ],
  2e-6,
);
