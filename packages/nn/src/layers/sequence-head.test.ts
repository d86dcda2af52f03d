import { concat, max, abs, narrow, mul, random, sub, tensor, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { READOUTS, SequenceHead, type SequenceHeadOptions } from "./sequence-head.ts";

const make = (more: Partial<SequenceHeadOptions>): SequenceHead =>
  new SequenceHead({ key: random.key(1), dim: 4, ...more });
const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();
const x = random.normal(random.key(2), [1, 9, 4]);

test("reads positions, means and sums", async () => {
  const rows = ((await x.toArray()) as number[][][])[0]!;
  const column = (r: number[]): number => r[2]!;
  const at = async (more: Partial<SequenceHeadOptions>): Promise<number> =>
    ((await make(more).forward(x).toArray()) as number[][])[0]![2]!;
  expect(await at({})).toBeCloseTo(column(rows[8]!), 12);
  expect(await at({ readout: "first" })).toBeCloseTo(column(rows[0]!), 12);
  const total = rows.map(column).reduce((a, b) => a + b, 0);
  expect(await at({ readout: "sum" })).toBeCloseTo(total, 12);
  expect(await at({ readout: "mean" })).toBeCloseTo(total / 9, 12);
  const three = (await make({ readout: "mean", positions: 3 }).forward(x).toArray()) as number[][][];
  const partial = rows
    .slice(0, 8)
    .map(column)
    .reduce((a, b) => a + b, 0);
  expect(three[0]![1]![2]).toBeCloseTo(partial / 8, 12);
  expect(make({ positions: "all", outputs: 5 }).forward(x).shape).toEqual([1, 9, 5]);
});

test.each(READOUTS)("does not see padding (%s)", async (readout) => {
  const junk = mul(random.normal(random.key(3), [1, 4, 4]), 100);
  for (const positions of ["one", 3] as const) {
    const head = make({ readout, positions, outputs: 2 });
    for (const side of ["left", "right"]) {
      const mask = tensor(
        Array.from({ length: 13 }, (_, i) => (side === "left" ? i >= 4 : i < 9)),
        { dtype: "bool" },
      ).reshape([1, 13]);
      const wide = concat(side === "left" ? [junk, x] : [x, junk], 1);
      expect(await distance(head.forward(wide, { mask }), head.forward(x)), side).toBeLessThan(1e-12);
    }
  }
});

test("says what does not fit", () => {
  expect(() => make({ readout: "pool" as never })).toThrow(/unknown readout "pool"/);
  expect(() => make({ positions: 0 })).toThrow(/positive integer/);
  expect(() => make({ positions: 4 }).forward(narrow(x, 1, 0, 3))).toThrow(/at most 3, got 4/);
});
