import { checkOp } from "@everlong/testing";
import { sineNetworkGradOp, sineNetworkOp, type SineNetworkInput } from "./op.ts";

const plain: readonly SineNetworkInput[] = ["z", "frequency", "w0", "b0", "w1"];
const whole: readonly SineNetworkInput[] = ["z", "frequency", "w0", "b0", "w1", "b1", "w2", "time", "decay"];
const shapes = [[19, 3], [6], [6, 3], [6], [6, 6], [6], [11, 6], [19], [11]];

checkOp(sineNetworkOp, {
  cases: [
    { inputs: [[5, 3], [4], [4, 3], [4], [7, 4]], params: { hidden: 1, shift: 0, inputs: plain } },
    { inputs: shapes, params: { hidden: 2, shift: 0.1, inputs: whole } },
  ],
  strict: false,
  tolerance: { f32: { value: 2e-6, gradient: 1e-5 } },
});

checkOp(sineNetworkGradOp, {
  cases: [
    {
      inputs: [[5, 3], [4], [4, 3], [4], [7, 4], [5, 7]],
      params: { hidden: 1, shift: 0, inputs: [...plain, "dy"] },
    },
    { inputs: [...shapes, [19, 11]], params: { hidden: 2, shift: 0.1, inputs: [...whole, "dy"] } },
  ],
  differentiable: false,
  strict: false,
  tolerance: { f32: { value: 1e-5, gradient: 1e-5 } },
});
