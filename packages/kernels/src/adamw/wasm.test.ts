import { positive } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import { adamwOp } from "./op.ts";
import { adamwWasm } from "./wasm.ts";

const params = { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1 };
const inputs = (count: number, step: number) => [
  [count],
  [count],
  [count],
  { shape: [count], sample: positive },
  { shape: [], values: [0.01] },
  { shape: [], values: [step] },
];
checkWasm(adamwOp, adamwWasm, [
  { inputs: inputs(5, 1), params },
  { inputs: inputs(70001, 2), params },
  { inputs: inputs(33, 1000), params: { ...params, weightDecay: 0, beta1: 0 } },
  {
    inputs: [
      ...[0, 1, 2].map(() => [3, 20_003]),
      { shape: [3, 20_003], sample: positive },
      { shape: [3], values: [0.01, 0.1, 0.003] },
      { shape: [3], values: [1, 7, 2000] },
      { shape: [3], values: [0, 0.5, 0.1] },
    ],
    params,
  },
  {
    inputs: [
      ...[0, 1, 2].map(() => [5, 3, 7]),
      { shape: [5, 3, 7], sample: positive },
      { shape: [5], sample: positive },
      { shape: [], values: [7] },
      { shape: [], values: [0.3] },
    ],
    params,
  },
]);
