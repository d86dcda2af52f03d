import {
  compile,
  gradients,
  mul,
  random,
  square,
  sub,
  sum,
  tensor,
  Variable,
  type Tensor,
} from "@everlong/core";
import { parameter } from "@everlong/nn";
import { describe, expect, test } from "vitest";
import { AdamW, type AdamWOptions } from "./adamw.ts";
import { clipByGlobalNorm } from "./clip.ts";
import { Sgd } from "./sgd.ts";

const values = async (v: Variable): Promise<number[]> => [...(await v.value.data())];

/** AdamW on one list of numbers, in plain loops. */
function adamwLoop(p: number[], gs: number[][], rates: number[], decay: number): number[] {
  const m = p.map(() => 0);
  const v = p.map(() => 0);
  let w = [...p];
  gs.forEach((g, t) => {
    w = w.map((x, i) => {
      m[i] = 0.9 * m[i]! + 0.1 * g[i]!;
      v[i] = 0.999 * v[i]! + 0.001 * g[i]! ** 2;
      const step = m[i]! / (1 - 0.9 ** (t + 1)) / (Math.sqrt(v[i]! / (1 - 0.999 ** (t + 1))) + 1e-8);
      return x * (1 - rates[t]! * decay) - rates[t]! * step;
    });
  });
  return w;
}

class Two {
  readonly kernel: Variable = parameter(tensor([1, -2, 3]), { learningRate: 0.002, weightDecay: 0 });
  readonly weight: Variable = parameter(tensor([0.5, 4, -1]));
}

describe("AdamW", () => {
  const gs = [
    [1, -2, 0.5],
    [0.1, 3, -0.5],
    [-1, 0.01, 2],
  ];
  const rates = [0.1, 0.05, 0.02];
  async function run(model: Two, options: Omit<AdamWOptions, "learningRate">): Promise<void> {
    const optimizer = new AdamW(model, { learningRate: 0.1, ...options });
    const step = compile((g: Tensor) => {
      optimizer.apply([g, g]);
      return sum(g);
    });
    gs.forEach((g, t) => {
      optimizer.learningRate.value = tensor(rates[t]!);
      step(tensor(g));
    });
    expect(step.traces).toBe(1);
    expect(await optimizer.step.value.item()).toBe(3);
  }

  test("equals a plain loop; layers' hints set rate and decay of their own", async () => {
    const model = new Two();
    await run(model, { weightDecay: 0.3 });
    const slow = rates.map((r) => r * 0.02);
    for (const [v, want] of [
      [model.kernel, adamwLoop([1, -2, 3], gs, slow, 0)],
      [model.weight, adamwLoop([0.5, 4, -1], gs, rates, 0.3)],
    ] as const) {
      (await values(v)).forEach((x, i) => expect(Math.abs(x - want[i]!)).toBeLessThan(1e-13));
    }
  });

  test("hints can be switched off and groups override", async () => {
    const model = new Two();
    await run(model, {
      weightDecay: 0.3,
      hints: false,
      groups: [{ match: /weight/, learningRate: 0.2, weightDecay: 0 }],
    });
    for (const [v, want] of [
      [model.kernel, adamwLoop([1, -2, 3], gs, rates, 0.3)],
      [
        model.weight,
        adamwLoop(
          [0.5, 4, -1],
          gs,
          rates.map((r) => 2 * r),
          0,
        ),
      ],
    ] as const) {
      (await values(v)).forEach((x, i) => expect(Math.abs(x - want[i]!)).toBeLessThan(1e-13));
    }
  });

  test("says what is wrong", () => {
    expect(() => new AdamW(new Two(), { learningRate: 0 })).toThrow(/learning rate must be positive/);
    expect(() => new AdamW({}, { learningRate: 1 })).toThrow(/no trainable parameters/);
    expect(() => new AdamW(new Two(), { learningRate: 1, groups: [{ match: /bias/ }] })).toThrow(
      /group 0 matches nothing/,
    );
    expect(() => new AdamW(new Two(), { learningRate: 1, weigthDecay: 1 } as never)).toThrow(
      /Did you mean "weightDecay"/,
    );
  });
});

test("Sgd equals a plain loop with momentum and an L2 penalty", async () => {
  const w = parameter(tensor([1, -3]));
  const optimizer = new Sgd({ w }, { learningRate: 0.1, momentum: 0.9, weightDecay: 0.5 });
  let [x, v] = [
    [1, -3],
    [0, 0],
  ];
  for (let t = 0; t < 4; t++) {
    const loss = sum(square(sub(w.value, tensor([2, 2]))));
    optimizer.apply(gradients(loss, [w.value]));
    v = v.map((u, i) => 0.9 * u + 2 * (x[i]! - 2) + 0.5 * x[i]!);
    x = x.map((y, i) => y - 0.1 * v[i]!);
  }
  (await values(w)).forEach((y, i) => expect(Math.abs(y - x[i]!)).toBeLessThan(1e-13));
});

test("clipping scales to the limit and leaves small gradients alone", async () => {
  const g = [tensor([3, 0]), tensor([[4]])];
  const { clipped, norm } = clipByGlobalNorm(g, 1);
  expect(await norm.item()).toBeCloseTo(5, 12);
  expect(await clipped[0]!.toArray()).toEqual([expect.closeTo(0.6, 5), 0]);
  expect(await clipByGlobalNorm(g, 10).clipped[1]!.toArray()).toEqual([[4]]);
  const zero = clipByGlobalNorm([mul(random.normal(random.key(1), [3]), 0)], 1);
  for (const x of (await zero.clipped[0]!.toArray()) as number[]) expect(Math.abs(x)).toBe(0);
});
