import { expect, test } from "vitest";
import { concat, narrow, tensor, withDevice } from "@everlong/core";
import { Random, checkOp, relativeError, uniform, valuesOf } from "@everlong/testing";
import { gatedLinearAttention, linearScanOp, type LinearScanInput } from "./op.ts";

const decay = (shape: number[]) => ({ shape, sample: uniform(-0.7, 0) });
const abc: readonly LinearScanInput[] = ["a", "b", "c"];
const shapes = (batch: number, time: number, heads: number, i: number, j: number) => [
  [batch, time, heads, i],
  [batch, time, heads, j],
  [batch, time, heads, i],
];

checkOp(linearScanOp, {
  cases: [false, true].flatMap((reverse) => [
    { inputs: shapes(1, 4, 1, 2, 3), params: { reverse, decay: "rows" as const, inputs: abc } },
    {
      inputs: [...shapes(2, 5, 2, 3, 4), decay([2, 5, 2, 3]), [2, 2, 3, 4]],
      params: { reverse, decay: "rows" as const, inputs: [...abc, "g", "initial"] as const },
    },
    {
      inputs: [...shapes(1, 6, 2, 3, 9), decay([1, 6, 2, 9])],
      params: { reverse, decay: "columns" as const, inputs: [...abc, "g"] as const },
    },
    {
      inputs: [...shapes(1, 5, 1, 2, 3), [1, 1, 2, 3]],
      params: { reverse, decay: "columns" as const, inputs: [...abc, "initial"] as const },
    },
  ]),
  secondOrder: true,
  gradcheck: 1e-6,
  tolerance: { f32: { gradient: 2e-5 } },
});

checkOp(linearScanOp, {
  cases: [
    {
      inputs: [...shapes(1, 70, 2, 16, 17), decay([1, 70, 2, 16])],
      params: { reverse: false, decay: "rows", inputs: [...abc, "g"] },
    },
    {
      inputs: [...shapes(2, 3, 2, 3, 35), decay([2, 3, 2, 35]), [2, 2, 3, 35]],
      params: { reverse: true, decay: "columns", inputs: [...abc, "g", "initial"] },
    },
  ],
  batch: false,
  gradcheck: 1e-6,
  tolerance: { f32: { gradient: 2e-5 } },
});

// Long enough for a GPU to cut time; the gradients take both directions and both sides.
checkOp(linearScanOp, {
  cases: [
    {
      inputs: [...shapes(1, 333, 1, 40, 33), decay([1, 333, 1, 40]), [1, 1, 40, 33]],
      params: { reverse: false, decay: "rows", inputs: [...abc, "g", "initial"] },
    },
    {
      inputs: [...shapes(1, 401, 1, 9, 35), decay([1, 401, 1, 35]), [1, 1, 9, 35]],
      params: { reverse: true, decay: "columns", inputs: [...abc, "g", "initial"] },
    },
    {
      inputs: shapes(1, 350, 2, 16, 21),
      params: { reverse: true, decay: "rows", inputs: abc },
    },
  ],
  batch: false,
  gradcheck: 1e-6,
  tolerance: { f32: { gradient: 2e-5 } },
});

test("recurrent, chunked and cut in two agree; one decay per head", () =>
  withDevice("reference", async () => {
    const random = new Random();
    const make = (...shape: number[]) => tensor(random.normals(shape.reduce((x, y) => x * y, 1)), shape);
    const [q, k, v] = [make(2, 13, 2, 4), make(2, 13, 2, 4), make(2, 13, 2, 5)];
    for (const logDecay of [make(2, 13, 2, 4).abs().neg(), make(2, 13, 2, 1).abs().neg(), undefined]) {
      const given = logDecay ? { logDecay } : {};
      const whole = gatedLinearAttention(q, k, v, given);
      const chunked = gatedLinearAttention(q, k, v, { ...given, form: "chunked", chunk: 5 });
      expect(relativeError(await valuesOf(chunked.y), await valuesOf(whole.y))).toBeLessThan(1e-12);
      expect(relativeError(await valuesOf(chunked.state), await valuesOf(whole.state))).toBeLessThan(1e-12);
      const part = (from: number, to: number, initial?: typeof q) =>
        gatedLinearAttention(narrow(q, 1, from, to), narrow(k, 1, from, to), narrow(v, 1, from, to), {
          ...(logDecay ? { logDecay: narrow(logDecay, 1, from, to) } : {}),
          ...(initial ? { initial } : {}),
        });
      const first = part(0, 6);
      const second = part(6, 13, first.state);
      expect(
        relativeError(await valuesOf(concat([first.y, second.y], 1)), await valuesOf(whole.y)),
      ).toBeLessThan(1e-12);
    }
  }));
