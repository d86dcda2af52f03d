import { Complex, random, tensor } from "@everlong/core";
import { checkOp, roundingOf, uniform } from "@everlong/testing";
import { expect, test } from "vitest";
import { resolvent, resolventOp, resolventSumsOp } from "./op.ts";

const damped = (shape: number[]) => ({ shape, sample: uniform(-2, -0.2) });
checkOp(resolventOp, {
  cases: [
    { inputs: [[2, 3, 4], [2, 3, 4], damped([3, 4]), [3, 4]], params: { nodes: 9 } },
    { inputs: [[1, 2, 5], [1, 2, 5], damped([2, 5]), [2, 5]], params: { nodes: 6 } },
    { inputs: [[1, 1, 1], [1, 1, 1], damped([1, 1]), [1, 1]], params: { nodes: 1 } },
  ],
  secondOrder: true,
  gradcheck: 1e-6,
  tolerance: { f32: { value: 3e-6, gradient: 1e-5 } },
});
checkOp(resolventSumsOp, {
  cases: [
    { inputs: [[2, 3, 5], [2, 3, 5], damped([3, 4]), [3, 4]], params: { nodes: 9 } },
    { inputs: [[5, 2, 70], [5, 2, 70], damped([2, 3]), [2, 3]], params: { nodes: 138 } },
    // points enough for several blocks
    { inputs: [[1, 1, 600], [1, 1, 600], damped([1, 2]), [1, 2]], params: { nodes: 1198 } },
  ],
  gradcheck: 1e-6,
  tolerance: { f32: { value: 3e-6, gradient: 1e-5 } },
});

test("one pole: the transform of its sampled exponential", async () => {
  // With weights v and a bilinear step, sum_l k[l] w^l = v / ((1 - w) - (1 + w) a / 2) for k[l] = v g m^l.
  const [a, nodes] = [-0.8, 64];
  const [mode, gain] = [(1 + a / 2) / (1 - a / 2), 1 / (1 - a / 2)];
  const one = (x: number, shape: number[]) => tensor(x).reshape(shape);
  const zero = (shape: number[]) => one(0, shape);
  const y = resolvent(
    new Complex(one(1.5, [1, 1, 1]), zero([1, 1, 1])),
    new Complex(one(a, [1, 1]), zero([1, 1])),
    nodes,
  );
  const [re, im] = [await y.re.data(), await y.im.data()];
  for (const p of [0, 5, 32]) {
    let [sumRe, sumIm] = [0, 0];
    for (let l = 0; l < 200; l++) {
      const angle = (-2 * Math.PI * p * l) / nodes;
      sumRe += 1.5 * gain * mode ** l * Math.cos(angle);
      sumIm += 1.5 * gain * mode ** l * Math.sin(angle);
    }
    const off = Math.hypot(Number(re[p]) - sumRe, Number(im[p]) - sumIm);
    expect(off / Math.hypot(sumRe, sumIm)).toBeLessThan(roundingOf(y.re));
  }
  const v = random.normal(random.key(1), [1, 2, 3]);
  expect(() => resolvent(new Complex(v, v), new Complex(v.slice([0]), v.slice([0])), 0)).toThrow(
    /positive integer/,
  );
});
