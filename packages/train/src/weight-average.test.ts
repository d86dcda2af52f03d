import { add, compile, random, tensor, Variable, type Tensor } from "@everlong/core";
import { Linear } from "@everlong/nn";
import { expect, test } from "vitest";
import { AdamW } from "./adamw.ts";
import { fit } from "./fit.ts";
import { Sgd } from "./sgd.ts";
import { WeightAverage } from "./weight-average.ts";

const ramp = (): Variable => new Variable(tensor([0, 10]), { name: "w" });
const slopes = tensor([1, -2]);

test.each([
  { warmup: false, decays: [0.5, 0.5, 0.5] },
  { warmup: true, decays: [0.1, 2 / 11, 0.25] },
])("the average follows its recurrence, warm-up $warmup", async ({ warmup, decays }) => {
  const w = ramp();
  const optimizer = new WeightAverage(new Sgd(new Map([["w", w]]), { learningRate: 0.3 }), {
    decay: 0.5,
    warmup,
  });
  const [want, weights] = [
    [0, 10],
    [0, 10],
  ];
  for (const d of decays) {
    optimizer.apply([slopes]);
    [1, -2].forEach((g, i) => {
      weights[i]! -= 0.3 * g;
      want[i] = d * want[i]! + (1 - d) * weights[i]!;
    });
  }
  const seen = await optimizer.averaged(() => w.value).data();
  want.forEach((x, i) => expect(seen[i]).toBeCloseTo(x, 5));
  expect([...(await w.value.data())].map((x) => Number(x.toFixed(5)))).toEqual([-0.9, 11.8]);
  optimizer.adopt();
  expect([...(await w.value.data())]).toEqual([...seen]);
});

test("training goes the same way with an average beside it, and the averages are part of the state", async () => {
  const run = async (averaged: boolean): Promise<{ losses: number[]; average: Tensor; model: Linear }> => {
    const model = new Linear({ key: random.key(1), inputs: 3, outputs: 2 });
    const inner = new AdamW(model, { learningRate: 0.1 });
    const optimizer = averaged ? new WeightAverage(inner, { decay: 0.9 }) : inner;
    const losses: number[] = [];
    const x = random.normal(random.key(5), [8, 3]);
    await fit({
      optimizer,
      steps: 6,
      batches: Array.from({ length: 6 }, () => ({ x })),
      freeBatches: false,
      loss: (b) => add(model.forward(b["x"]!), -1).square().mean(),
      onStep: ({ loss }) => void losses.push(loss),
    });
    const forward = compile((t: Tensor) =>
      averaged ? (optimizer as WeightAverage).averaged(() => model.forward(t)) : model.forward(t),
    );
    expect([...optimizer.state.keys()].filter((n) => n.endsWith(".average"))).toHaveLength(averaged ? 2 : 0);
    return { losses, average: forward(x), model };
  };
  const [plain, averaged] = [await run(false), await run(true)];
  expect(averaged.losses).toEqual(plain.losses);
  expect([...(await averaged.average.data())]).not.toEqual([...(await plain.average.data())]);
});

test("a decay outside of [0, 1) is refused", () => {
  const inner = new Sgd(new Map([["w", ramp()]]), { learningRate: 0.3 });
  expect(() => new WeightAverage(inner, { decay: 1 })).toThrow("expected 0 <= decay < 1, got 1");
});
