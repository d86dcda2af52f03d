// The program that the resume test kills: trains in a run folder, saves after every step, prints the final weights.

import { random, square, sub, type Tensor } from "@everlong/core";
import { Linear, parameters } from "@everlong/nn";
import { AdamW } from "./adamw.ts";
import { fit } from "./fit.ts";
import { RunFolder } from "./run-folder.ts";
import type { Batch } from "./train-step.ts";
import { WeightAverage } from "./weight-average.ts";

const STEPS = 40;

function* batches(from: number): Generator<Batch> {
  for (let i = from; ; i++) yield { x: random.normal(random.key(i), [6, 3]) };
}

using folder = new RunFolder(process.argv[2]!);
const model = new Linear({ key: random.key(1), inputs: 3, outputs: 3 });
const optimizer = new WeightAverage(new AdamW(model, { learningRate: 0.05 }));
const from = Number((await folder.resume({ model, optimizer }))?.["step"] ?? 0);
await fit({
  optimizer,
  from,
  steps: STEPS,
  batches: batches(from),
  loss: ({ x }: Batch): Tensor => square(sub(model.forward(x!), x!)).mean(),
  onStep: async ({ step, loss }) => {
    folder.write({ step, loss });
    await folder.save({ model, optimizer }, { step });
  },
});
const weights: number[] = [];
for (const v of parameters(model).values()) weights.push(...(await v.value.data()));
console.log(JSON.stringify(weights));
