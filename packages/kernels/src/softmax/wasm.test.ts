import { checkWasm } from "../wasm-check.ts";
import { softmaxGradOp, softmaxOp } from "./op.ts";
import { softmaxGradWasm, softmaxWasm } from "./wasm.ts";

checkWasm(softmaxOp, softmaxWasm, [
  { inputs: [[5]], params: {} },
  { inputs: [[7, 16]], params: {} },
  { inputs: [[1100, 13]], params: {} },
  { inputs: [[2, 3, 1031]], params: {} },
  { inputs: [{ shape: [3, 40], sample: (r) => 60 * r.normal() }], params: {} },
]);
checkWasm(softmaxGradOp, softmaxGradWasm, [
  {
    inputs: [
      [3, 17],
      [3, 17],
    ],
    params: {},
  },
  {
    inputs: [
      [900, 45],
      [900, 45],
    ],
    params: {},
  },
]);
