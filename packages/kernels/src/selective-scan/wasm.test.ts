import { uniform } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import {
  selectiveScanGradOp,
  selectiveScanOp,
  type SelectiveScanGradInput,
  type SelectiveScanInput,
} from "./op.ts";
import { selectiveScanGradWasm, selectiveScanWasm } from "./wasm.ts";

const step = (...shape: number[]) => ({ shape, sample: uniform(0.05, 0.6) });
const negative = (...shape: number[]) => ({ shape, sample: uniform(-2, -0.2) });
const five: readonly SelectiveScanInput[] = ["u", "delta", "a", "b", "c"];

checkWasm(selectiveScanOp, selectiveScanWasm, [
  { inputs: [[1, 4, 3], step(1, 4, 3), negative(3, 2), [1, 4, 2], [1, 4, 2]], params: { inputs: five } },
  {
    inputs: [[2, 75, 21], step(2, 75, 21), negative(21, 5), [2, 75, 5], [2, 75, 5], [2, 21, 5]],
    params: { inputs: [...five, "initial"] },
  },
  {
    inputs: [[3, 32, 64], step(3, 32, 64), negative(64, 16), [3, 32, 16], [3, 32, 16]],
    params: { inputs: five },
  },
]);

const grad: readonly SelectiveScanGradInput[] = [...five, "dy"];
const all: readonly SelectiveScanGradInput[] = [...five, "initial", "dy", "dlast"];
checkWasm(
  selectiveScanGradOp,
  selectiveScanGradWasm,
  [
    {
      inputs: [[1, 4, 3], step(1, 4, 3), negative(3, 2), [1, 4, 2], [1, 4, 2], [1, 4, 3]],
      params: { inputs: grad },
    },
    {
      inputs: [
        [2, 75, 21],
        step(2, 75, 21),
        negative(21, 5),
        [2, 75, 5],
        [2, 75, 5],
        [2, 21, 5],
        [2, 75, 21],
        [2, 21, 5],
      ],
      params: { inputs: all },
    },
    {
      inputs: [[17, 64, 33], step(17, 64, 33), negative(33, 4), [17, 64, 4], [17, 64, 4], [17, 64, 33]],
      params: { inputs: grad },
    },
    {
      inputs: [[1, 1300, 9], step(1, 1300, 9), negative(9, 3), [1, 1300, 3], [1, 1300, 3], [1, 1300, 9]],
      params: { inputs: grad },
    },
  ],
  5e-6,
);
