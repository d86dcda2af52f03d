import { DataError } from "@everlong/core";
import { expect, test } from "vitest";
import { toFloat32, toFloat64 } from "./convert.ts";
import type { StoredTensor } from "./reader.ts";

const cases: { tensor: StoredTensor; expected: number[] }[] = [
  { tensor: { dtype: "F64", shape: [2], data: new Float64Array([1.5, -2]) }, expected: [1.5, -2] },
  { tensor: { dtype: "F16", shape: [1], data: new Float16Array([-0.5]) }, expected: [-0.5] },
  {
    tensor: { dtype: "BF16", shape: [4], data: new Uint16Array([0x3f80, 0xc000, 0xff80, 0x0001]) },
    expected: [1, -2, -Infinity, 2 ** -133],
  },
  { tensor: { dtype: "I64", shape: [2], data: new BigInt64Array([-3n, 5n]) }, expected: [-3, 5] },
  { tensor: { dtype: "U64", shape: [1], data: new BigUint64Array([7n]) }, expected: [7] },
  { tensor: { dtype: "I8", shape: [1], data: new Int8Array([-128]) }, expected: [-128] },
  { tensor: { dtype: "BOOL", shape: [2], data: new Uint8Array([1, 0]) }, expected: [1, 0] },
];

test.each(cases)("$tensor.dtype", ({ tensor, expected }) => {
  expect(Array.from(toFloat64(tensor))).toEqual(expected);
  expect(Array.from(toFloat32(tensor))).toEqual(expected);
});

test("large integers are refused, not rounded", () => {
  const large: StoredTensor = { dtype: "I64", shape: [1], data: new BigInt64Array([2n ** 53n]) };
  expect(() => toFloat64(large)).toThrow(DataError);
  expect(() => toFloat32(large)).toThrow(/element 0 is too large/);
});

test("the result is a copy", () => {
  const data = new Float64Array([1]);
  toFloat64({ dtype: "F64", shape: [1], data })[0] = 9;
  expect(data[0]).toBe(1);
});
