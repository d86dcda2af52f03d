import { checkWasm } from "../wasm-check.ts";
import { sgdOp } from "./op.ts";
import { sgdWasm } from "./wasm.ts";

const inputs = (count: number) => [[count], [count], [count], { shape: [], values: [0.1] }];
checkWasm(sgdOp, sgdWasm, [
  { inputs: inputs(5), params: { momentum: 0, weightDecay: 0, nesterov: false } },
  { inputs: inputs(40001), params: { momentum: 0.9, weightDecay: 0.1, nesterov: false } },
  { inputs: inputs(33), params: { momentum: 0.9, weightDecay: 0.1, nesterov: true } },
  {
    inputs: [[3, 20_003], [3, 20_003], [3, 20_003], [3], [3]],
    params: { momentum: 0.9, weightDecay: 0, nesterov: true },
  },
]);
