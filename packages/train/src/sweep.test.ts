import { device, random, setDefaultDevice, type Tensor } from "@everlong/core";
import { Linear } from "@everlong/nn";
import { beforeAll, expect, test } from "vitest";
import { AdamW, cosine, fit, Sweep, type Batch } from "./index.ts";

beforeAll(() => setDefaultDevice(device("reference")));

const makeModel = (): { a: Linear; b: Linear } => {
  const [k, l] = random.splitKey(random.key(3));
  return {
    a: new Linear({ key: k!, inputs: 3, outputs: 5 }),
    b: new Linear({ key: l!, inputs: 5, outputs: 1 }),
  };
};

const lossOf =
  ({ a, b }: ReturnType<typeof makeModel>) =>
  ({ x, y }: Batch): Tensor =>
    b.forward(a.forward(x!).tanh()).squeeze(-1).sub(y!).square().mean();

const batchAt = (i: number): Batch => ({
  x: random.normal(random.key(100 + i), [7, 3]),
  y: random.normal(random.key(200 + i), [7]),
});

const RUNS = [
  { learningRate: 0.01, weightDecay: 0 },
  { learningRate: 0.03, weightDecay: 0.1 },
  { learningRate: 0.001, weightDecay: 0.5 },
];
const STEPS = 6;

test("a sweep equals separate runs", async () => {
  const schedule = cosine({ steps: STEPS, warmup: 2 });
  const alone: number[][] = [];
  for (const { learningRate, weightDecay } of RUNS) {
    const model = makeModel();
    const losses: number[] = [];
    await fit({
      loss: lossOf(model),
      optimizer: new AdamW(model, { learningRate, weightDecay, hints: false }),
      batches: Array.from({ length: STEPS }, (_, i) => batchAt(i)),
      steps: STEPS,
      learningRate,
      schedule,
      clip: 0.5,
      onStep: ({ loss }) => void losses.push(loss),
    });
    alone.push(losses);
  }
  const model = makeModel();
  const optimizer = new AdamW(model, { learningRate: 1, hints: false });
  const sweep = new Sweep({ loss: lossOf(model), optimizer, runs: RUNS, clip: 0.5 });
  const together: number[][] = RUNS.map(() => []);
  for (let i = 0; i < STEPS; i++) {
    const reports = await sweep.advance(batchAt(i), schedule(i));
    reports.forEach((r, s) => together[s]!.push(r["loss"]!));
  }
  expect(sweep.step.traces).toBe(1);
  alone.forEach((losses, s) => losses.forEach((loss, i) => expect(together[s]![i]).toBeCloseTo(loss, 12)));
  // The runs did part ways.
  expect(Math.abs(together[0]!.at(-1)! - together[1]!.at(-1)!)).toBeGreaterThan(1e-4);

  sweep.load(1);
  const loss = await lossOf(model)(batchAt(9)).item();
  const [all] = sweep.each(() => [lossOf(model)(batchAt(9))]);
  expect((await all!.data())[1]).toBeCloseTo(loss, 12);
});
