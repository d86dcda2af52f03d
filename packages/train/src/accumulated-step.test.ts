import { random, square, sub, type Tensor } from "@everlong/core";
import { LanguageModel, Linear, parameters } from "@everlong/nn";
import { crossEntropy } from "@everlong/kernels";
import { expect, test } from "vitest";
import { AdamW } from "./adamw.ts";
import { fit, type FitOptions, type FitResult } from "./fit.ts";
import type { Batch } from "./train-step.ts";

const rows = (n: number, seed: number): Batch => ({
  x: random.normal(random.key(seed), [n, 3]),
  y: random.normal(random.key(seed + 50), [n, 2]),
});

async function train(
  batches: Batch[],
  more: Partial<FitOptions>,
): Promise<{ weights: number[]; losses: number[]; norms: number[]; result: FitResult }> {
  const model = new Linear({ key: random.key(1), inputs: 3, outputs: 2 });
  const [losses, norms]: [number[], number[]] = [[], []];
  const result = await fit({
    optimizer: new AdamW(model, { learningRate: 0.05 }),
    batches,
    steps: 4,
    clip: 0.5,
    loss: ({ x, y }: Batch): Tensor => square(sub(model.forward(x!), y!)).mean(),
    onStep: ({ loss, scalars }) => {
      losses.push(loss);
      norms.push(scalars["gradNorm"]!);
    },
    ...more,
  });
  const weights: number[] = [];
  for (const v of parameters(model).values()) weights.push(...(await v.value.data()));
  return { weights, losses, norms, result };
}

test("three batches a step equal one batch of all rows", async () => {
  const whole = Array.from({ length: 4 }, (_, i) => rows(15, i));
  const parts = Array.from({ length: 4 }, (_, i) => {
    const all = rows(15, i);
    return [0, 5, 10].map((at) => ({
      x: all["x"]!.narrow(0, at, at + 5),
      y: all["y"]!.narrow(0, at, at + 5),
    }));
  }).flat();
  const [a, b] = [await train(whole, {}), await train(parts, { accumulate: 3, freeBatches: false })];
  expect(b.losses).toHaveLength(4);
  for (const key of ["weights", "losses", "norms"] as const)
    b[key].forEach((v, i) => expect(Math.abs(v - a[key][i]!)).toBeLessThan(1e-5 * (1 + Math.abs(v))));
});

test("a step that batches do not fill is not made", async () => {
  const { result } = await train(
    Array.from({ length: 5 }, (_, i) => rows(4, i)),
    { accumulate: 2 },
  );
  expect(result).toMatchObject({ steps: 2, stopped: "batches" });
});

test("every batch of a step has a key of its own, the same in every run", async () => {
  const run = async (): Promise<number[]> => {
    const model = new LanguageModel({
      key: random.key(1),
      vocabSize: 5,
      dim: 8,
      maxLength: 6,
      layers: ["mlp"],
      embedDropout: 0.5,
    });
    const seen: number[] = [];
    await fit({
      optimizer: new AdamW(model, { learningRate: 0.01 }),
      steps: 2,
      accumulate: 2,
      batches: Array.from({ length: 4 }, () => ({ ids: random.integers(random.key(3), [2, 6], 0, 5) })),
      loss: ({ ids }, { key }) => ({
        loss: crossEntropy(model.forward(ids!, { key }), ids!),
        draw: random.uniform(key, []),
      }),
      onStep: ({ scalars }) => void seen.push(scalars["draw"]!),
    });
    return seen;
  };
  const [a, b] = [await run(), await run()];
  expect(a).toEqual(b);
  expect(a[0]).not.toBe(a[1]);
});

test("a loss that is not finite stops before the weights change", async () => {
  const bad = rows(4, 1);
  bad["x"]!.mul(0);
  const batches = [rows(4, 0), { ...bad, y: bad["y"]!.div(0) }, rows(4, 2), rows(4, 3)];
  await expect(train(batches, { accumulate: 2 })).rejects.toThrow("at step 1");
});
