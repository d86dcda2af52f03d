import { ConfigError } from "@everlong/core";
import { expect, test } from "vitest";
import { KeyedBits, philox4x32 } from "./philox.ts";

// known answers published with Random123 (kat_vectors, philox4x32 10)
test.each([
  [
    [0, 0, 0, 0],
    [0, 0],
    [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8],
  ],
  [
    [0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff],
    [0xffffffff, 0xffffffff],
    [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd],
  ],
  [
    [0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344],
    [0xa4093822, 0x299f31d0],
    [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1],
  ],
] as [[number, number, number, number], [number, number], number[]][])(
  "block %j of key %j",
  (counter, key, words) => {
    const out = new Uint32Array(4);
    philox4x32(counter, key, out);
    expect(Array.from(out)).toEqual(words);
  },
);

test("places and seeds have streams of their own, of uniform doubles", () => {
  const first = (seed: number, place: [number, number]): number => new KeyedBits(seed, place).uint32();
  const starts = [
    first(1, [0, 0]),
    first(1, [1, 0]),
    first(1, [0, 1]),
    first(2, [0, 0]),
    first(1 + 2 ** 32, [0, 0]),
  ];
  expect(new Set(starts).size).toBe(starts.length);
  const bits = new KeyedBits(1, [0, 0]);
  let [sum, squares] = [0, 0];
  for (let i = 0; i < 20_000; i++) {
    const x = bits.double();
    sum += x;
    squares += x * x;
  }
  // standard errors 0.002
  expect(Math.abs(sum / 20_000 - 1 / 2)).toBeLessThan(0.008);
  expect(Math.abs(squares / 20_000 - 1 / 3)).toBeLessThan(0.008);
  expect(() => new KeyedBits(-1, [0, 0])).toThrow(ConfigError);
});
