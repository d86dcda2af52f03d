import { expect, test } from "vitest";
import { cosine } from "./schedule.ts";

test("cosine warms up in a line and ends at its final factor", () => {
  const s = cosine({ steps: 100, warmup: 10, final: 0.1 });
  expect([0, 4, 9].map(s)).toEqual([0.1, 0.5, 1]);
  expect(s(10)).toBe(1);
  expect(s(55)).toBeCloseTo(0.55, 12);
  expect(s(100)).toBeCloseTo(0.1, 12);
  expect(s(1000)).toBeCloseTo(0.1, 12);
  expect(() => cosine({ steps: 5, warmup: 6 })).toThrow(/steps do not fit/);
});
