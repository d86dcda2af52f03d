import { checkWasm } from "../wasm-check.ts";
import { onlineConvOp } from "./op.ts";
import { onlineConvWasm } from "./wasm.ts";

const inputs = ([batch, slots, channels, now]: readonly [number, number, number, number]) => [
  [batch, channels],
  [slots, channels],
  [batch, slots, channels],
  { shape: [], dtype: "i32" as const, values: [now] },
];
// Within a block, at the end of the smallest, of larger ones, of one whose successor is cut short, and at the last slot.
checkWasm(
  onlineConvOp,
  onlineConvWasm,
  (
    [
      [1, 5, 1, 3],
      [3, 40, 37, 31],
      [2, 300, 18, 77],
      [2, 257, 300, 127],
      [9, 150, 20, 127],
      [1, 129, 5, 95],
      [2, 64, 70, 63],
    ] as const
  ).map((sizes) => ({ inputs: inputs(sizes), params: {} })),
  2e-6,
);
