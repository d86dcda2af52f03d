import { abs, max, random, sub, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { RtfFilter } from "./rtf-filter.ts";
import { RtfHyena } from "./rtf-hyena.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;

test.each([
  [33, 3, 6],
  [16, 5, 2],
  [9, 1, 3],
])(
  "length %i, %i states, %i denominators: the recurrence has the filter's taps",
  async (length, stateSize, denominators) => {
    const filter = new RtfFilter({
      key: random.key(1),
      channels: 6,
      maxLength: length,
      stateSize,
      denominators,
    });
    const taps = await filter.forward(length).data();
    const { a, b, first } = filter.recurrence();
    const [av, bv, fv] = await Promise.all(
      [a, b, first].map(async (t) => Array.from(await t.data(), Number)),
    );
    for (let c = 0; c < 6; c++) {
      const w = Array.from({ length: stateSize }, () => 0);
      for (let t = 0; t < length; t++) {
        const u = t === 0 ? 1 : 0;
        let y = fv![c]! * u;
        let next = u;
        for (let i = 0; i < stateSize; i++) {
          y += bv![c * stateSize + i]! * w[i]!;
          next -= av![c * stateSize + i]! * w[i]!;
        }
        w.unshift(next);
        w.pop();
        expect(Number(taps[t * 6 + c])).toBeCloseTo(y, 12);
      }
    }
  },
);

test("shared denominators serve neighbouring channels", async () => {
  const filter = new RtfFilter({
    key: random.key(2),
    channels: 4,
    maxLength: 8,
    stateSize: 2,
    denominators: 2,
  });
  const { a } = filter.recurrence();
  expect(await distance(a.slice([0]), a.slice([1]))).toBe(0);
  expect(await distance(a.slice([1]), a.slice([2]))).toBeGreaterThan(1e-3);
});

test("inputs up to maxLength, steps beyond", async () => {
  const layer = new RtfHyena({ key: random.key(3), dim: 4, maxLength: 7, stateSize: 2 });
  const x = random.normal(random.key(4), [1, 12, 4]);
  expect(() => layer.forward(x)).toThrow(/longer than maxLength/);
  let { state } = layer.prefill(x.narrow(1, 0, 7), { capacity: 12 });
  for (let t = 7; t < 12; t++) {
    const next = layer.step(x.slice([null, t]), state);
    expect(Number.isFinite(await next.y.sum().item())).toBe(true);
    state = next.state;
  }
});

test("wrong options", () => {
  const of = (more: object): unknown =>
    new RtfFilter({ key: random.key(0), channels: 4, maxLength: 8, ...more });
  expect(() => of({ stateSize: 8 })).toThrow(/between 1 and the length/);
  expect(() => of({ denominators: 3 })).toThrow(/do not divide/);
  expect(() => of({ start: "ones" })).toThrow(/unknown start/);
});
