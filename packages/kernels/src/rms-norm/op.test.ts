import { checkOp, positive } from "@everlong/testing";
import { rmsNormGradOp, rmsNormOp } from "./op.ts";

checkOp(rmsNormOp, {
  cases: [
    { inputs: [[3, 7]], params: { eps: 1e-5, inputs: ["x"] } },
    { inputs: [[5, 33], [33]], params: { eps: 1e-3, inputs: ["x", "weight"] } },
    { inputs: [[2, 67, 12], [12], [12]], params: { eps: 1e-5, inputs: ["x", "weight", "bias"] } },
  ],
  secondOrder: true,
});

const statistics = { shape: [5], sample: positive };
checkOp(rmsNormGradOp, {
  cases: [
    {
      inputs: [[5, 7], [7], statistics, [5, 7]],
      params: { bias: true, inputs: ["x", "weight", "rstd", "dy"] },
    },
    { inputs: [[5, 8], statistics, [5, 8]], params: { bias: false, inputs: ["x", "rstd", "dy"] } },
  ],
  secondOrder: true,
});
