import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { onlineConvOp } from "./op.ts";

const inputs = (batch: number, slots: number, channels: number): (BenchInput | number[])[] => [
  [batch, channels],
  [slots, channels],
  [batch, slots, channels],
  { shape: [], dtype: "i32", below: 1 },
];

/** One position of many; whole sequences are in the suite of generation. Not in place here: the time is that of a copy. */
export const bench: readonly BenchCase[] = [
  benchCase(
    "online convolution, a position of 1024, 256 channels",
    onlineConvOp,
    {},
    inputs(1, 1024, 256),
    inputs(2, 40, 5),
  ),
];
