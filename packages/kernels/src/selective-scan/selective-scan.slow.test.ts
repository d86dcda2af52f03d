// The gradient of the gradient's gradient: a scan differentiated three times.

import { checkOp, uniform } from "@everlong/testing";
import { selectiveScanGradOp, type SelectiveScanGradInput, type SelectiveScanInput } from "./op.ts";

const step = (shape: number[]) => ({ shape, sample: uniform(0.05, 0.6) });
const negative = (shape: number[]) => ({ shape, sample: uniform(-2, -0.2) });
const five: readonly SelectiveScanInput[] = ["u", "delta", "a", "b", "c"];

const names: readonly SelectiveScanGradInput[] = [...five, "initial", "dy", "dlast"];
checkOp(selectiveScanGradOp, {
  cases: [
    {
      inputs: [
        [1, 5, 2],
        step([1, 5, 2]),
        negative([2, 3]),
        [1, 5, 3],
        [1, 5, 3],
        [1, 2, 3],
        [1, 5, 2],
        [1, 2, 3],
      ],
      params: { inputs: names },
    },
  ],
  secondOrder: true,
  gradcheck: 1e-6,
  tolerance: { f32: { value: 1e-5, gradient: 2e-5 } },
});
