// Training in mixed precision: on a device that lowers every step for CUDA and computes it in float64, rounding what is stored.

import { expect, test } from "vitest";
import { random, registerDevice, setStrict, tensor, withDevice, device } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { LanguageModel } from "@everlong/nn";
import { AdamW, Sweep, trainStep, type Precision } from "@everlong/train";
import { LoweringDevice } from "@everlong/device-cuda/lowering";

const lowering = new LoweringDevice();
registerDevice(lowering.name, () => lowering);

const MIXERS = {
  attention: { layer: "mh-attention", options: { heads: 4 } },
  hyena: { layer: "hyena", options: { filterWidth: 8, embeddingDim: 5 } },
} as const;

const makeModel = (kind: keyof typeof MIXERS): LanguageModel =>
  new LanguageModel({
    key: random.key(3),
    vocabSize: 8,
    dim: 32,
    maxLength: 12,
    layers: [MIXERS[kind], "swiglu"],
  });

const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 3 + (i >> 2)) % 8);

/** Losses of a few strict steps. */
async function losses(name: string, kind: keyof typeof MIXERS, precision: Precision): Promise<number[]> {
  setStrict(true);
  try {
    return await withDevice(device(name), async () => {
      const model = makeModel(kind);
      // Adam's first updates are signs of gradients: a large rate would show roundings of those near 0.
      const optimizer = new AdamW(model, { learningRate: 1e-3, weightDecay: 0.1 });
      const step = trainStep({
        optimizer,
        precision,
        clip: 1,
        loss: (batch) => crossEntropy(model.forward(batch["ids"]!), batch["ids"]!),
      });
      const batch = { ids: tensor(ids, [2, 12]) };
      const found: number[] = [];
      for (let i = 0; i < 4; i++)
        found.push((await step.run(batch).data())[step.names.indexOf("loss")] as number);
      // Weights and state stay float32.
      expect(optimizer.parameters.every((p) => p.variable.dtype === "f32")).toBe(true);
      step.run.dispose();
      return found;
    });
  } finally {
    setStrict(false);
  }
}

for (const kind of ["attention", "hyena"] as const) {
  test(`${kind}: every step has a kernel, and losses follow float32's to bf16's rounding`, async () => {
    const mixed = await losses(lowering.name, kind, "bf16");
    const full = await losses(lowering.name, kind, "f32");
    mixed.forEach((loss, i) => {
      expect(Math.abs(loss - full[i]!) / full[i]!).toBeLessThan(i === 0 ? 2e-3 : 1e-2);
    });
    // Not the same computation.
    expect(mixed[3]).not.toBe(full[3]);
    expect(mixed[3]!).toBeLessThan(mixed[0]!);
  });

  test(`${kind}: the runs of a sweep are those of steps on their own`, () =>
    withDevice(lowering, async () => {
      const runs = [
        { learningRate: 1e-3, weightDecay: 0 },
        { learningRate: 1e-2, weightDecay: 0.1 },
      ];
      const model = makeModel(kind);
      const sweep = new Sweep({
        loss: (batch) => crossEntropy(model.forward(batch["ids"]!), batch["ids"]!),
        optimizer: new AdamW(model, { learningRate: 1, hints: false }),
        runs,
        precision: "bf16",
      });
      const batch = { ids: tensor(ids, [2, 12]) };
      let last: readonly (Record<string, number> | undefined)[] = [];
      for (let i = 0; i < 3; i++) last = await sweep.advance(batch, 1);
      sweep.dispose();
      for (const [s, run] of runs.entries()) {
        const alone = makeModel(kind);
        const optimizer = new AdamW(alone, { ...run, hints: false });
        const step = trainStep({
          optimizer,
          precision: "bf16",
          loss: (b) => crossEntropy(alone.forward(b["ids"]!), b["ids"]!),
        });
        let loss = Number.NaN;
        for (let i = 0; i < 3; i++)
          loss = (await step.run(batch).data())[step.names.indexOf("loss")] as number;
        // A biased product is rounded once more in a sweep.
        expect(Math.abs(last[s]!["loss"]! - loss) / loss).toBeLessThan(3e-3);
        step.run.dispose();
      }
    }));
}

test("a device that does not multiply in bf16 refuses, and so does an unknown precision", () =>
  withDevice("reference", () => {
    const model = makeModel("attention");
    const optimizer = new AdamW(model, { learningRate: 1e-2 });
    const loss = (): never => {
      throw new Error("not reached");
    };
    expect(() => trainStep({ optimizer, precision: "bf16", loss })).toThrow(
      /does not multiply in bf16: expected cuda, got reference/,
    );
    expect(() => trainStep({ optimizer, precision: "fp8" as never, loss })).toThrow(/precision is not known/);
  }));
