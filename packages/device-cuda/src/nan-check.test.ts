import { expect, test } from "vitest";
import {
  contiguousView,
  DTYPES,
  NumericError,
  writeElement,
  type DType,
  type Program,
  type TypedArray,
  type View,
} from "@everlong/core";
import { checkFinite } from "./nan-check.ts";
import type { Layout } from "./runtime.ts";
import type { Transfers } from "./transfers.ts";

/** One step that writes `outputs`, whose buffers hold `data`. */
function check(
  outputs: readonly { readonly dtype: DType; readonly view: View; readonly data: TypedArray }[],
): void {
  const program = {
    steps: [
      {
        kind: "loop",
        shape: [],
        args: [],
        code: [],
        outputs: outputs.map(({ dtype, view }, buffer) => ({ operand: { buffer, dtype, view }, value: 0 })),
      },
    ],
    sites: ["model.ts:7"],
  } as unknown as Program;
  const layout = {
    frame: { addresses: outputs.map((_, i) => 1000 + i) },
    steps: [{ name: "loop div" }],
  } as unknown as Layout;
  const transfers = {
    downloadNow: (address: number, into: Uint8Array) => {
      const { data } = outputs[address - 1000]!;
      into.set(new Uint8Array(data.buffer, 0, into.length));
    },
  } as unknown as Transfers;
  checkFinite(transfers, layout, program, 0);
}

const filled = (dtype: DType, values: readonly number[]): TypedArray => {
  const data = DTYPES[dtype].array(values.length);
  values.forEach((x, i) => writeElement(dtype, data, i, x));
  return data;
};
const { NaN: nan } = Number;

test.each(["f32", "f16", "bf16"] as const)(
  "the first NaN of %s is named with its step and its line",
  (dtype) => {
    const view = contiguousView([2, 3]);
    const first = { dtype, view, data: filled(dtype, [0, Infinity, -1, 2, -Infinity, 0]) };
    expect(() => check([first])).not.toThrow();
    const second = { dtype, view, data: filled(dtype, [0, 1, 2, 3, nan, nan]) };
    expect(() => check([first, second])).toThrow(NumericError);
    expect(() => check([first, second])).toThrow(
      `step 0 (loop div) made the first NaN, at [1, 1] of ${dtype}[2, 3]. It was recorded at model.ts:7.`,
    );
  },
);

test("only what a step wrote is looked at, where its view says", () => {
  // Two columns of four, from the second row on.
  const view = { shape: [2, 2], strides: [4, 2], offset: 5 };
  const values = Array.from({ length: 12 }, () => nan);
  for (const i of [5, 7, 9, 11]) values[i] = 1;
  expect(() => check([{ dtype: "f32", view, data: filled("f32", values) }])).not.toThrow();
  values[9] = nan;
  expect(() => check([{ dtype: "f32", view, data: filled("f32", values) }])).toThrow(
    /at \[1, 0\] of f32\[2, 2\]/,
  );
});

test("integers and empty results have no NaN", () => {
  const bits = new Int32Array(4).fill(-1);
  check([
    { dtype: "i32", view: contiguousView([4]), data: bits },
    { dtype: "f32", view: contiguousView([0, 4]), data: new Float32Array(0) },
  ]);
});
