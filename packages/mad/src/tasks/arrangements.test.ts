import { expect, test } from "vitest";
import { arrangements, unrankArrangement } from "./arrangements.ts";

/** All ordered selections in lexicographic order, the slow way. */
function all(items: readonly number[], size: number): number[][] {
  if (size === 0) return [[]];
  return items.flatMap((item) =>
    all(
      items.filter((other) => other !== item),
      size - 1,
    ).map((rest) => [item, ...rest]),
  );
}

test.each([
  [1, 1],
  [5, 1],
  [4, 4],
  [7, 3],
  [9, 2],
  [6, 5],
])("every rank of %d items taken %d at a time", (count, size) => {
  const first = 11;
  const expected = all(
    Array.from({ length: count }, (_, i) => first + i),
    size,
  );
  expect(arrangements(count, size)).toBe(expected.length);
  const out = new Int32Array(size + 2).fill(-7);
  expected.forEach((selection, rank) => {
    unrankArrangement(rank, count, size, first, out, 1);
    expect(Array.from(out)).toEqual([-7, ...selection, -7]);
  });
});
