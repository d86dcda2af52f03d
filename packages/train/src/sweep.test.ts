import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { device, random, setDefaultDevice, tensor, type Tensor } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { LanguageModel, Linear } from "@everlong/nn";
import { beforeAll, describe, expect, test } from "vitest";
import {
  AdamW,
  cosine,
  fit,
  runsTogether,
  Sgd,
  Sweep,
  type Batch,
  type LossFunction,
  type Optimizer,
} from "./index.ts";

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

test.each([
  [3, 1],
  [2, 2],
  [1, 1],
])("a sweep equals separate runs, %i side by side", async (together, traces) => {
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
  const sweep = new Sweep({ loss: lossOf(model), optimizer, runs: RUNS, clip: 0.5, together });
  const swept: number[][] = RUNS.map(() => []);
  for (let i = 0; i < STEPS; i++) {
    const reports = await sweep.advance(batchAt(i), schedule(i));
    reports.forEach((r, s) => swept[s]!.push(r!["loss"]!));
  }
  expect(sweep.traces).toBe(traces);
  alone.forEach((losses, s) => losses.forEach((loss, i) => expect(swept[s]![i]).toBeCloseTo(loss, 12)));
  // The runs did part ways.
  expect(Math.abs(swept[0]!.at(-1)! - swept[1]!.at(-1)!)).toBeGreaterThan(1e-4);

  sweep.load(1);
  const loss = await lossOf(model)(batchAt(9)).item();
  const all: number[] = [];
  await sweep.visit(async (runs, each) => {
    const values = await each(() => [lossOf(model)(batchAt(9))])[0]!.data();
    runs.forEach((s, i) => (all[s] = values[i]!));
  });
  expect(all[1]).toBeCloseTo(loss, 12);
  expect(all.length).toBe(RUNS.length);
  expect(() => sweep.load(3)).toThrow(/no run 3/);
});

/** The losses of the runs of a sweep, step by step, and those of runs on their own; models all start alike. */
async function bothWays<M>(options: {
  readonly make: () => M;
  readonly loss: (model: M) => LossFunction;
  readonly optimizer: (model: M, run: { learningRate: number; weightDecay: number }) => Optimizer;
  readonly runs: readonly { learningRate: number; weightDecay: number; seed?: number }[];
  readonly batches: readonly Batch[];
  readonly together?: number;
}): Promise<{ together: number[][]; alone: number[][] }> {
  const { make, loss, optimizer, runs, batches } = options;
  const alone: number[][] = [];
  for (const { learningRate, weightDecay, seed = 5 } of runs) {
    const model = make();
    const losses: number[] = [];
    await fit({
      loss: loss(model),
      optimizer: optimizer(model, { learningRate, weightDecay }),
      batches,
      steps: batches.length,
      learningRate,
      seed,
      freeBatches: false,
      onStep: (report) => void losses.push(report.loss),
    });
    alone.push(losses);
  }
  const model = make();
  const sweep = new Sweep({
    loss: loss(model),
    optimizer: optimizer(model, { learningRate: 1, weightDecay: 0 }),
    runs,
    seed: 5,
    ...(options.together ? { together: options.together } : {}),
  });
  const together: number[][] = runs.map(() => []);
  for (const batch of batches) {
    (await sweep.advance(batch, 1)).forEach((r, s) => together[s]!.push(r!["loss"]!));
  }
  sweep.dispose();
  return { together, alone };
}

const worst = (a: readonly number[][], b: readonly number[][]): number =>
  Math.max(...a.flatMap((list, s) => list.map((x, i) => Math.abs(x - b[s]![i]!) / Math.abs(b[s]![i]!))));

const tokens = (step: number): Batch => ({
  ids: tensor(
    Int32Array.from({ length: 2 * 7 }, (_, i) => (i * 3 + step * 5 + (i >> 2)) % 6),
    [2, 7],
  ),
});

test.each([
  ["one seed", undefined, undefined, 2],
  ["a seed each", 8, 9, 2],
  ["one after the other", 8, undefined, 1],
])("a model with every kind of layer and dropout, %s", async (_, first, second, side) => {
  const { together, alone } = await bothWays({
    make: () =>
      new LanguageModel({
        key: random.key(1),
        vocabSize: 6,
        dim: 8,
        maxLength: 7,
        embedDropout: 0.3,
        layers: [{ layer: "mh-attention", options: { heads: 2 } }, "hyena", "swiglu"],
      }),
    loss:
      (model) =>
      ({ ids }, { key }) =>
        crossEntropy(model.forward(ids!, { key }), ids!),
    optimizer: (model, run) => new AdamW(model, { ...run, hints: false }),
    runs: [
      { learningRate: 0.003, weightDecay: 0, ...(first ? { seed: first } : {}) },
      { learningRate: 0.02, weightDecay: 0.5, ...(second ? { seed: second } : {}) },
    ],
    batches: [0, 1, 2].map(tokens),
    together: side,
  });
  expect(worst(together, alone)).toBeLessThan(1e-12);
  // The first losses differ by the masks alone.
  expect(together[0]![0] === together[1]![0]).toBe(first === undefined);
});

test("gradient descent's decay is a penalty in a sweep too", async () => {
  const { together, alone } = await bothWays({
    make: makeModel,
    loss: lossOf,
    optimizer: (model, run) => new Sgd(model, { ...run, hints: false, momentum: 0.9 }),
    runs: [
      { learningRate: 0.01, weightDecay: 0.3 },
      { learningRate: 0.05, weightDecay: 0 },
    ],
    batches: [0, 1, 2, 3].map(batchAt),
  });
  expect(worst(together, alone)).toBeLessThan(1e-12);
});

describe.each([3, 1])("%i side by side", (together) => {
  const start = (): { model: ReturnType<typeof makeModel>; sweep: Sweep } => {
    const model = makeModel();
    const optimizer = new AdamW(model, { learningRate: 1, hints: false });
    return { model, sweep: new Sweep({ loss: lossOf(model), optimizer, runs: RUNS, together }) };
  };
  const losses = async (sweep: Sweep, from: number, to: number): Promise<(number | undefined)[][]> => {
    const made: (number | undefined)[][] = [];
    for (let i = from; i < to; i++) made.push((await sweep.advance(batchAt(i), 1)).map((r) => r?.["loss"]));
    return made;
  };

  test("runs that are dropped leave the others as they were", async () => {
    const whole = await losses(start().sweep, 0, 9);
    const { model, sweep } = start();
    const seen = await losses(sweep, 0, 3);
    sweep.drop([1]);
    expect(sweep.active).toEqual([0, 2]);
    seen.push(...(await losses(sweep, 3, 6)));
    sweep.drop([0]);
    seen.push(...(await losses(sweep, 6, 9)));
    seen.forEach((row, i) =>
      row.forEach((loss, s) => {
        if ((s === 1 && i >= 3) || (s === 0 && i >= 6)) expect(loss).toBeUndefined();
        else expect(loss).toBeCloseTo(whole[i]![s]!, 12);
      }),
    );
    expect(() => sweep.load(0)).toThrow(/no run 0.*2/s);
    sweep.load(2);
    const loaded = await lossOf(model)(batchAt(9)).item();
    expect((await losses(sweep, 9, 10))[0]![2]).toBeCloseTo(loaded, 12);
  });

  test("a sweep that goes on from a checkpoint gives the bits of one that never stopped", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sweep-"));
    const path = join(folder, "sweep.safetensors");
    const first = start().sweep;
    await losses(first, 0, 4);
    first.drop([0]);
    await losses(first, 4, 5);
    await first.save(path, { note: "half way" });
    const rest = await losses(first, 5, 9);
    const second = start().sweep;
    expect(await second.resume(path)).toEqual({ note: "half way" });
    expect(second.active).toEqual([1, 2]);
    expect(await losses(second, 5, 9)).toEqual(rest);
    // Runs side by side may go on one after the other.
    const model = makeModel();
    const optimizer = new AdamW(model, { learningRate: 1, hints: false });
    const third = new Sweep({ loss: lossOf(model), optimizer, runs: RUNS, together: 4 - together });
    await third.resume(path);
    (await losses(third, 5, 9)).forEach((row, i) =>
      row.forEach((x, s) => s > 0 && expect(x).toBeCloseTo(rest[i]![s]!, 12)),
    );
    rmSync(folder, { recursive: true });
  });
});

test("large batches on a CPU go run by run", () => {
  const cpu = { ...device("reference"), name: "cpu" };
  expect(runsTogether(6, 1024, cpu)).toBe(6);
  expect(runsTogether(6, 1025, cpu)).toBe(1);
  expect(runsTogether(6, 1 << 20)).toBe(6);
});
