import { expect, test } from "vitest";
import { concat, narrow, tensor, withDevice } from "@everlong/core";
import { Random, checkOp, relativeError, uniform, valuesOf } from "@everlong/testing";
import {
  selectiveScan,
  selectiveScanGradOp,
  selectiveScanOp,
  type SelectiveScanGradInput,
  type SelectiveScanInput,
} from "./op.ts";

const step = (shape: number[]) => ({ shape, sample: uniform(0.05, 0.6) });
const negative = (shape: number[]) => ({ shape, sample: uniform(-2, -0.2) });
const five: readonly SelectiveScanInput[] = ["u", "delta", "a", "b", "c"];

const tolerance = { f32: { gradient: 2e-5 } };
checkOp(selectiveScanOp, {
  cases: [
    {
      inputs: [[1, 4, 3], step([1, 4, 3]), negative([3, 2]), [1, 4, 2], [1, 4, 2], [1, 3, 2]],
      params: { inputs: [...five, "initial"] },
    },
  ],
  secondOrder: true,
  gradcheck: 1e-6,
  tolerance,
});
checkOp(selectiveScanOp, {
  cases: [
    {
      inputs: [[2, 41, 9], step([2, 41, 9]), negative([9, 4]), [2, 41, 4], [2, 41, 4]],
      params: { inputs: five },
    },
    {
      inputs: [[3, 5, 17], step([3, 5, 17]), negative([17, 20]), [3, 5, 20], [3, 5, 20]],
      params: { inputs: five },
    },
  ],
  batch: false,
  gradcheck: 1e-6,
  tolerance,
});

const names: readonly SelectiveScanGradInput[] = [...five, "initial", "dy", "dlast"];
checkOp(selectiveScanGradOp, {
  // twice: selective-scan.slow.test.ts
  cases: [
    {
      inputs: [
        [1, 5, 2],
        step([1, 5, 2]),
        negative([2, 3]),
        [1, 5, 3],
        [1, 5, 3],
        [1, 2, 3],
        [1, 5, 2],
        [1, 2, 3],
      ],
      params: { inputs: names },
    },
  ],
  gradcheck: 1e-6,
  tolerance: { f32: { value: 1e-5, gradient: 2e-5 } },
});

test("a sequence in two pieces with the state carried over; groups of b and c", () =>
  withDevice("reference", async () => {
    const random = new Random();
    const make = (...shape: number[]) => tensor(random.normals(shape.reduce((x, y) => x * y, 1)), shape);
    const [u, delta, a] = [make(2, 9, 4), make(2, 9, 4).square(), make(4, 3).abs().neg()];
    const [b, c] = [make(2, 9, 2, 3), make(2, 9, 2, 3)];
    const whole = selectiveScan(u, delta, a, b, c, { deltaSoftplus: true });
    const cut = (from: number, to: number) => [u, delta, b, c].map((t) => narrow(t, 1, from, to));
    const [u1, d1, b1, c1] = cut(0, 4);
    const [u2, d2, b2, c2] = cut(4, 9);
    const first = selectiveScan(u1!, d1!, a, b1!, c1!, { deltaSoftplus: true });
    const second = selectiveScan(u2!, d2!, a, b2!, c2!, { deltaSoftplus: true, initial: first.state });
    expect(
      relativeError(await valuesOf(concat([first.y, second.y], 1)), await valuesOf(whole.y)),
    ).toBeLessThan(1e-13);
    expect(relativeError(await valuesOf(second.state), await valuesOf(whole.state))).toBeLessThan(1e-13);
    // the second group serves channels 2 and 3
    const own = (t: typeof u) => narrow(t, 2, 2, 4);
    const group = (t: typeof u) => t.slice([null, null, 1]);
    const alone = selectiveScan(own(u), own(delta), narrow(a, 0, 2, 4), group(b), group(c), {
      deltaSoftplus: true,
    });
    expect(relativeError(await valuesOf(own(whole.y)), await valuesOf(alone.y))).toBeLessThan(1e-13);
  }));
