import { checkWasm } from "../wasm-check.ts";
import { lowFrequencyConvOp, type LowFrequencyConvInput } from "./op.ts";
import { lowFrequencyConvWasm } from "./wasm.ts";

const plain: readonly LowFrequencyConvInput[] = ["u", "k"];
const gated: readonly LowFrequencyConvInput[] = ["u", "k", "preGate", "postGate"];
const rows = { layout: "bdl", adjoint: false, inputs: plain } as const;

checkWasm(lowFrequencyConvOp, lowFrequencyConvWasm, [
  // periods of few samples, eight at once
  {
    inputs: [
      [2, 9, 512],
      [9, 512],
    ],
    params: { ...rows, bins: 128 },
  },
  {
    inputs: [
      [1, 3, 1024],
      [3, 200],
    ],
    params: { ...rows, bins: 64, adjoint: true },
  },
  {
    inputs: [
      [1, 8, 640],
      [8, 640],
      [1, 8, 640],
      [1, 8, 640],
    ],
    params: { ...rows, bins: 213, inputs: gated },
  },
  // nearly all frequencies: pairs of which both are kept
  {
    inputs: [
      [1, 4, 256],
      [4, 256],
    ],
    params: { ...rows, bins: 200 },
  },
  {
    inputs: [
      [1, 2, 100],
      [2, 100],
    ],
    params: { ...rows, bins: 100 },
  },
  // lengths without common factors, and shorter than the window
  {
    inputs: [
      [1, 5, 499],
      [5, 300],
    ],
    params: { ...rows, bins: 100 },
  },
  {
    inputs: [
      [3, 2, 7],
      [2, 7],
    ],
    params: { ...rows, bins: 3 },
  },
  {
    inputs: [
      [2, 3, 1],
      [3, 1],
    ],
    params: { ...rows, bins: 1 },
  },
  // channels next to each other
  {
    inputs: [
      [2, 384, 37],
      [384, 37],
      [2, 384, 37],
      [2, 384, 37],
    ],
    params: { layout: "bld", bins: 90, adjoint: false, inputs: gated },
  },
  {
    inputs: [
      [9, 331, 16],
      [120, 16],
    ],
    params: { layout: "bld", bins: 40, adjoint: true, inputs: plain },
  },
]);
