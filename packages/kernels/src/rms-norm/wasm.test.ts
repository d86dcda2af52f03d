import { positive } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import { rmsNormGradOp, rmsNormOp } from "./op.ts";
import { rmsNormGradWasm, rmsNormWasm } from "./wasm.ts";

const eps = 1e-5;
checkWasm(rmsNormOp, rmsNormWasm, [
  { inputs: [[3, 7]], params: { eps, inputs: ["x"] } },
  { inputs: [[500, 33], [33]], params: { eps, inputs: ["x", "weight"] } },
  { inputs: [[2, 30, 128], [128], [128]], params: { eps, inputs: ["x", "weight", "bias"] } },
]);
const row = (rows: number) => ({ shape: [rows], sample: positive });
checkWasm(
  rmsNormGradOp,
  rmsNormGradWasm,
  [
    {
      inputs: [[300, 71], [71], row(300), [300, 71]],
      params: { bias: false, inputs: ["x", "weight", "rstd", "dy"] },
    },
    { inputs: [[5, 8], [8], row(5), [5, 8]], params: { bias: true, inputs: ["x", "weight", "rstd", "dy"] } },
    { inputs: [[5, 8], row(5), [5, 8]], params: { bias: false, inputs: ["x", "rstd", "dy"] } },
  ],
  2e-6,
);
