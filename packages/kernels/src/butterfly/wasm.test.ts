import { checkWasm } from "../wasm-check.ts";
import {
  butterflyAdjointOp,
  butterflyConvOp,
  butterflyFilterGradOp,
  butterflyMatrixGradOp,
  butterflyOp,
} from "./op.ts";
import {
  butterflyAdjointWasm,
  butterflyConvWasm,
  butterflyFilterGradWasm,
  butterflyMatrixGradWasm,
  butterflyWasm,
} from "./wasm.ts";

const w = (m: number): number[] => [2, m, m];

checkWasm(butterflyOp, butterflyWasm, [
  { inputs: [[2, 3, 5], w(4), w(2)], params: { layout: "bdl", radices: [4, 2] } },
  { inputs: [[1, 40, 9], w(16), w(4)], params: { layout: "bld", radices: [16, 4] } },
  { inputs: [[2, 12, 15], w(3), w(5)], params: { layout: "bdl", radices: [3, 5] } },
  { inputs: [[1, 9, 256], w(16), w(16), w(2)], params: { layout: "bdl", radices: [16, 16, 2] } },
  { inputs: [[1, 1, 2], w(2)], params: { layout: "bdl", radices: [2] } },
]);
checkWasm(butterflyAdjointOp, butterflyAdjointWasm, [
  { inputs: [[2, 8, 3], [2, 8, 3], w(2), w(4)], params: { layout: "bdl", radices: [2, 4], length: 5 } },
  { inputs: [[1, 64, 9], [1, 64, 9], w(16), w(4)], params: { layout: "bld", radices: [16, 4], length: 40 } },
  { inputs: [[2, 15, 8], [2, 15, 8], w(3), w(5)], params: { layout: "bdl", radices: [3, 5], length: 15 } },
]);
checkWasm(
  butterflyMatrixGradOp,
  butterflyMatrixGradWasm,
  [
    {
      inputs: [[2, 3, 5], [2, 8, 3], [2, 8, 3], w(4), w(2)],
      params: { layout: "bdl", radices: [4, 2] },
    },
    {
      inputs: [[3, 40, 19], [3, 128, 19], [3, 128, 19], w(16), w(4), w(2)],
      params: { layout: "bld", radices: [16, 4, 2] },
    },
    { inputs: [[1, 2, 7], [1, 15, 2], [1, 15, 2], w(3), w(5)], params: { layout: "bdl", radices: [3, 5] } },
  ],
  2e-6,
);

checkWasm(butterflyConvOp, butterflyConvWasm, [
  { inputs: [[2, 3, 5], [3, 4], w(4), w(2)], params: { layout: "bdl", radices: [4, 2], adjoint: false } },
  {
    inputs: [[3, 40, 19], [40, 19], w(16), w(4), w(2)],
    params: { layout: "bld", radices: [16, 4, 2], adjoint: true },
  },
  { inputs: [[1, 33, 7], [33, 15], w(3), w(5)], params: { layout: "bdl", radices: [3, 5], adjoint: false } },
]);
checkWasm(butterflyFilterGradOp, butterflyFilterGradWasm, [
  { inputs: [[2, 3, 5], [2, 3, 5], w(4), w(2)], params: { layout: "bdl", radices: [4, 2], taps: 6 } },
  {
    inputs: [[3, 40, 19], [3, 40, 19], w(16), w(4), w(2)],
    params: { layout: "bld", radices: [16, 4, 2], taps: 33 },
  },
]);
