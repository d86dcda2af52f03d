import { checkWasm } from "../wasm-check.ts";
import { rotaryOp } from "./op.ts";
import { rotaryWasm } from "./wasm.ts";

checkWasm(
  rotaryOp,
  rotaryWasm,
  [false, true].flatMap((interleaved) => [
    {
      inputs: [
        [2, 3, 2, 4],
        [3, 2],
        [3, 2],
      ],
      params: { interleaved, inverse: false },
    },
    {
      inputs: [
        [2, 40, 16, 8],
        [40, 4],
        [40, 4],
      ],
      params: { interleaved, inverse: true },
    },
    {
      inputs: [
        [2, 5, 3, 25],
        [2, 5, 11],
        [2, 5, 11],
      ],
      params: { interleaved, inverse: true },
    },
  ]),
);
