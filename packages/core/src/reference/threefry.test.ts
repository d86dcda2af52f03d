import { expect, test } from "vitest";
import { threefry2x32, threefryStream } from "./threefry.ts";

const hex = (words: readonly number[]): string[] => words.map((w) => (w >>> 0).toString(16).padStart(8, "0"));

// Known answers published with Random123 (kat_vectors, threefry2x32 with 20 rounds).
test.each([
  [0, 0, 0, 0, ["6b200159", "99ba4efe"]],
  [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, ["1cb996fc", "bb002be7"]],
  [0x13198a2e, 0x03707344, 0x243f6a88, 0x85a308d3, ["c4923a9c", "483df7a0"]],
])("known answer for key %i %i, counter %i %i", (k0, k1, c0, c1, words) => {
  expect(hex(threefry2x32(k0, k1, c0, c1))).toEqual(words);
});

test("a stream is a function of the index, whatever its length", () => {
  const long = new Float64Array(101);
  threefryStream(7, -3, long);
  for (const n of [1, 2, 63, 100]) {
    const short = new Float64Array(n);
    threefryStream(7, -3, short);
    expect([...short]).toEqual([...long.subarray(0, n)]);
  }
  expect([long[84], long[85]]).toEqual(threefry2x32(7, -3, 42, 0));
});
