import {
  Tensor,
  add,
  gradients,
  matmul,
  mean,
  mul,
  random,
  square,
  sub,
  tensor,
  type Variable,
} from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { LanguageModel, Linear, parameters, type LayerSpec } from "@everlong/nn";
import { describe, expect, test, vi } from "vitest";
import { AdamW } from "./adamw.ts";
import { fit, type FitOptions, type StepReport } from "./fit.ts";
import { accuracy } from "./metrics.ts";
import { constant, cosine } from "./schedule.ts";
import { trainStep, type Batch } from "./train-step.ts";

const linear = (): Linear => new Linear({ key: random.key(1), inputs: 3, outputs: 1 });

/** Batches of a linear rule. */
function* rows(count: number): Generator<Batch> {
  for (let i = 0; i < count; i++) {
    const x = random.normal(random.key(100 + i), [8, 3]);
    yield { x, y: add(matmul(x, tensor([[1], [-2], [0.5]])), 3) };
  }
}

const squared =
  (model: Linear) =>
  ({ x, y }: Batch): Tensor =>
    mean(square(sub(model.forward(x!), y!)));

async function run(
  more: Partial<FitOptions> = {},
): Promise<{ model: Linear; losses: number[]; rates: number[] }> {
  const model = linear();
  const optimizer = new AdamW(model, { learningRate: 0.1 });
  const [losses, rates]: [number[], number[]] = [[], []];
  await fit({
    optimizer,
    loss: squared(model),
    batches: rows(200),
    steps: 150,
    clip: 5,
    onStep: ({ loss, learningRate }) => {
      losses.push(loss);
      rates.push(learningRate);
    },
    ...more,
  });
  return { model, losses, rates };
}

describe("fit", () => {
  test("finds a linear rule, under a schedule", async () => {
    const { model, losses, rates } = await run({ schedule: cosine({ steps: 150, warmup: 10, final: 0.1 }) });
    expect(losses).toHaveLength(150);
    expect(losses.at(-1)!).toBeLessThan(losses[0]! * 1e-3);
    expect(rates[0]).toBeCloseTo(0.01);
    expect(rates.at(-1)!).toBeLessThan(0.011);
    const [w] = (await model.weight.value.toArray()) as number[][];
    [1, -2, 0.5].forEach((x, i) => expect(w![i]).toBeCloseTo(x, 1));
  });

  test("two runs give equal bits", async () => {
    const [a, b] = [await run(), await run()];
    expect(a.losses).toEqual(b.losses);
    expect(await a.model.weight.value.toArray()).toEqual(await b.model.weight.value.toArray());
  });

  test("stops on request, on a signal, and when batches end", async () => {
    const model = linear();
    const make = (more: Partial<FitOptions>): FitOptions => ({
      optimizer: new AdamW(model, { learningRate: 0.1 }),
      loss: squared(model),
      batches: rows(9),
      steps: 20,
      ...more,
    });
    expect(await fit(make({ onStep: ({ step }) => step < 4 }))).toMatchObject({
      steps: 4,
      stopped: "callback",
    });
    const controller = new AbortController();
    const onStep = ({ step }: StepReport): void => {
      if (step === 3) controller.abort();
    };
    expect(await fit(make({ signal: controller.signal, onStep }))).toMatchObject({
      steps: 3,
      stopped: "signal",
    });
    expect(await fit(make({}))).toMatchObject({ steps: 9, stopped: "batches" });
    expect(await fit(make({ steps: 5 }))).toMatchObject({ steps: 5, stopped: "done" });
  });

  test("names the step where the loss breaks, and the last good one", async () => {
    const model = linear();
    function* poisoned(): Generator<Batch> {
      let i = 0;
      for (const b of rows(9)) yield ++i === 3 ? { ...b, y: mul(b["y"]!, Number.NaN) } : b;
    }
    const optimizer = new AdamW(model, { learningRate: 0.1 });
    await expect(fit({ optimizer, loss: squared(model), batches: poisoned(), steps: 9 })).rejects.toThrow(
      /the loss became NaN at step 3.*last good step was 2 with loss \d/,
    );
  });

  test("rejects unknown options", async () => {
    await expect(run({ learningrate: 1 } as never)).rejects.toThrow(/Did you mean "learningRate"/);
  });

  test("keeps batches that come back", async () => {
    const model = linear();
    const [batch] = [...rows(1)];
    const result = await fit({
      optimizer: new AdamW(model, { learningRate: 0.1 }),
      loss: squared(model),
      batches: Array.from({ length: 3 }, () => batch!),
      steps: 3,
      freeBatches: false,
    });
    expect(result.steps).toBe(3);
  });

  test("a thousand learning rates make one trace", async () => {
    const warn = vi.spyOn(console, "warn");
    const model = linear();
    const optimizer = new AdamW(model, { learningRate: 0.1 });
    const { run: step } = trainStep({ optimizer, loss: squared(model) });
    const [batch] = [...rows(1)];
    for (let i = 0; i < 1000; i++) {
      optimizer.learningRate.value = tensor(0.1 / (i + 1));
      step(batch!);
    }
    expect(step.traces).toBe(1);
    expect(await optimizer.step.value.item()).toBe(1000);
    expect(warn).not.toHaveBeenCalled();
    warn.mockRestore();
  });
});

describe("language model", () => {
  const layers: LayerSpec[] = [{ layer: "mh-attention", options: { heads: 2 } }, "swiglu"];
  const model = (seed: number, dropout = 0): LanguageModel =>
    new LanguageModel({
      key: random.key(seed),
      vocabSize: 7,
      dim: 16,
      maxLength: 12,
      layers,
      embedDropout: dropout,
    });
  const batch = (): Batch => {
    const ids = random.integers(random.key(9), [4, 12], 0, 7);
    return { ids, targets: ids };
  };
  const loss =
    (m: LanguageModel) =>
    ({ ids, targets }: Batch, { key }: { readonly key: Tensor }): { loss: Tensor; accuracy: Tensor } => {
      const logits = m.forward(ids!, { key });
      return { loss: crossEntropy(logits, targets!), accuracy: accuracy(logits, targets!) };
    };

  test("learns to repeat its input", async () => {
    const m = model(3);
    const scalars: Record<string, number>[] = [];
    const data = batch();
    await fit({
      optimizer: new AdamW(m, { learningRate: 0.02 }),
      loss: loss(m),
      batches: Array.from({ length: 60 }, () => data),
      steps: 60,
      schedule: constant(),
      freeBatches: false,
      onStep: (r) => void scalars.push(r.scalars),
    });
    expect(scalars[0]!["loss"]).toBeCloseTo(Math.log(7), 0);
    expect(scalars.at(-1)!["loss"]).toBeLessThan(0.1);
    expect(scalars.at(-1)!["accuracy"]).toBe(1);
    expect(scalars.at(-1)!["gradNorm"]).toBeGreaterThan(0);
  });

  test("draws dropout from the seed and the step", async () => {
    const data = batch();
    async function losses(seed: number, rate: number): Promise<number[]> {
      const m = model(3, rate);
      const { run: step } = trainStep({
        optimizer: new AdamW(m, { learningRate: 1e-12 }),
        loss: loss(m),
        seed,
      });
      const out: number[] = [];
      for (let i = 0; i < 3; i++) out.push((await step(data).data())[0]!);
      return out;
    }
    const dropped = await losses(1, 0.5);
    expect(await losses(1, 0.5)).toEqual(dropped);
    expect(new Set(dropped).size).toBe(3);
    expect(await losses(2, 0.5)).not.toEqual(dropped);
    expect(Math.max(...(await losses(1, 0)))).toBeCloseTo(Math.min(...(await losses(2, 0))), 9);
  });

  test("recomputed blocks train alike", async () => {
    const data = batch();
    const gradientsOf = (recompute: boolean): Tensor[] => {
      const m = new LanguageModel({
        key: random.key(5),
        vocabSize: 7,
        dim: 16,
        maxLength: 12,
        layers,
        recompute,
      });
      const variables: Variable[] = [...parameters(m).values()];
      return gradients(
        crossEntropy(m.forward(data["ids"]!), data["targets"]!),
        variables.map((v) => v.value),
      );
    };
    const [a, b] = [gradientsOf(false), gradientsOf(true)];
    for (let i = 0; i < a.length; i++) {
      const d = await mean(square(sub(a[i]!, b[i]!))).item();
      expect(d).toBeLessThan(1e-24);
    }
  });
});
