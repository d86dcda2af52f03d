import { positive } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import { layerNormGradOp, layerNormOp } from "./op.ts";
import { layerNormGradWasm, layerNormWasm } from "./wasm.ts";

const eps = 1e-5;
checkWasm(
  layerNormOp,
  layerNormWasm,
  [
    { inputs: [[3, 7]], params: { eps, inputs: ["x"] } },
    { inputs: [[5, 33], [33]], params: { eps, inputs: ["x", "weight"] } },
    { inputs: [[3, 9], [9]], params: { eps, inputs: ["x", "bias"] } },
    { inputs: [[2, 300, 128], [128], [128]], params: { eps, inputs: ["x", "weight", "bias"] } },
    // rows far from zero: the variance must not come from a difference of squares
    { inputs: [{ shape: [4, 60], sample: (r) => 100 + r.normal() }], params: { eps, inputs: ["x"] } },
  ],
  2e-5,
);

const names = ["x", "weight", "mean", "rstd", "dy"] as const;
const row = (rows: number) => ({ shape: [rows], sample: positive });
checkWasm(
  layerNormGradOp,
  layerNormGradWasm,
  [
    { inputs: [[5, 7], [7], row(5), row(5), [5, 7]], params: { bias: true, inputs: names } },
    { inputs: [[400, 100], [100], row(400), row(400), [400, 100]], params: { bias: true, inputs: names } },
    { inputs: [[400, 100], [100], row(400), row(400), [400, 100]], params: { bias: false, inputs: names } },
    {
      inputs: [[5, 8], row(5), row(5), [5, 8]],
      params: { bias: false, inputs: ["x", "mean", "rstd", "dy"] },
    },
    {
      inputs: [[5, 130], row(5), row(5), [5, 130]],
      params: { bias: true, inputs: ["x", "mean", "rstd", "dy"] },
    },
  ],
  2e-6,
);
