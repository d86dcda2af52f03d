// Measuring models on a test set, one or several at once.

import { argmax, compile, stack, sum, tensor, type Compiled, type Tensor } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import type { Measured } from "../benchmark/result.ts";
import { TaskMeter, type TaskScores } from "../metrics.ts";
import type { TaskData } from "../tasks/generate.ts";
import { IGNORE_INDEX } from "../tasks/task.ts";
import { gatherRows } from "./batches.ts";

/** Anything that maps token numbers `[B, T]` to logits `[B, T, N]`. */
export interface TokenModel {
  forward(ids: Tensor): Tensor;
}

/** Runs a function of the model for every model that is measured; results are `[S, ...]`, S models. */
export type ForEachModel = (fn: () => readonly Tensor[]) => readonly Tensor[];

const alone: ForEachModel = (fn) => fn().map((t) => stack([t]));

/** Holds the compiled forward pass and the test set. */
export class Evaluator {
  readonly #data: TaskData;
  readonly #classes: number;
  readonly #batch: number;
  readonly #forward: Compiled<readonly [Tensor, Tensor], { predictions: Tensor; losses: Tensor }>;

  /** @param each for several models that share one template, e.g. a sweep's; default: the model alone */
  constructor(model: TokenModel, data: TaskData, classes: number, batch: number, each: ForEachModel = alone) {
    this.#data = data;
    this.#classes = classes;
    this.#batch = Math.min(batch, data.count);
    this.#forward = compile(
      (inputs: Tensor, targets: Tensor) => {
        const [predictions, losses] = each(() => {
          const logits = model.forward(inputs);
          const all = crossEntropy(logits, targets, { ignoreIndex: IGNORE_INDEX, reduction: "none" });
          return [argmax(logits, -1), sum(all)];
        });
        return { predictions: predictions!, losses: losses! };
      },
      { name: "evaluation" },
    );
  }

  /** Scores over the whole set, of the one model. */
  async scores(): Promise<TaskScores> {
    return (await this.measure())[0]!.epoch;
  }

  /** Scores over the whole set in both conventions, by model. */
  async measure(): Promise<Measured[]> {
    let meters: TaskMeter[] = [];
    const order = Int32Array.from({ length: this.#data.count }, (_, i) => i);
    for (let at = 0; at < this.#data.count; at += this.#batch) {
      const rows = Math.min(this.#batch, this.#data.count - at);
      const { inputs, targets } = gatherRows(this.#data, order, at, rows);
      const shape = [rows, this.#data.length];
      using ids = tensor(inputs, shape);
      using wanted = tensor(targets, shape);
      const out = this.#forward(ids, wanted);
      const predictions = await out.predictions.data();
      const losses = await out.losses.data();
      out.predictions[Symbol.dispose]();
      out.losses[Symbol.dispose]();
      if (meters.length === 0) meters = Array.from(losses, () => new TaskMeter(this.#classes));
      meters.forEach((meter, s) =>
        meter.add({
          predictions: predictions.subarray(s * targets.length, (s + 1) * targets.length),
          targets,
          negLogLikelihood: losses[s]!,
          rows,
        }),
      );
    }
    return meters.map((meter) => ({ epoch: meter.scores(), batches: meter.batchMeans() }));
  }

  dispose(): void {
    this.#forward.dispose();
  }
}
