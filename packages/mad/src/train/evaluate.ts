// Measuring a model on a test set.

import { argmax, compile, sum, tensor, type Compiled, type Tensor } from "@everlong/core";
import { crossEntropy } from "@everlong/kernels";
import { TaskMeter, type TaskScores } from "../metrics.ts";
import type { TaskData } from "../tasks/generate.ts";
import { IGNORE_INDEX } from "../tasks/task.ts";
import { gatherRows } from "./batches.ts";

/** Anything that maps token numbers `[B, T]` to logits `[B, T, N]`. */
export interface TokenModel {
  forward(ids: Tensor): Tensor;
}

/** Holds the compiled forward pass and the test set. */
export class Evaluator {
  readonly #data: TaskData;
  readonly #classes: number;
  readonly #batch: number;
  readonly #forward: Compiled<readonly [Tensor, Tensor], { predictions: Tensor; loss: Tensor }>;

  constructor(model: TokenModel, data: TaskData, classes: number, batch: number) {
    this.#data = data;
    this.#classes = classes;
    this.#batch = Math.min(batch, data.count);
    this.#forward = compile(
      (inputs: Tensor, targets: Tensor) => {
        const logits = model.forward(inputs);
        const losses = crossEntropy(logits, targets, { ignoreIndex: IGNORE_INDEX, reduction: "none" });
        return { predictions: argmax(logits, -1), loss: sum(losses) };
      },
      { name: "evaluation" },
    );
  }

  /** Scores over the whole set. */
  async scores(): Promise<TaskScores> {
    const meter = new TaskMeter(this.#classes);
    const order = Int32Array.from({ length: this.#data.count }, (_, i) => i);
    for (let at = 0; at < this.#data.count; at += this.#batch) {
      const rows = Math.min(this.#batch, this.#data.count - at);
      const { inputs, targets } = gatherRows(this.#data, order, at, rows);
      const shape = [rows, this.#data.length];
      using ids = tensor(inputs, shape);
      using wanted = tensor(targets, shape);
      const { predictions, loss } = this.#forward(ids, wanted);
      meter.add({
        predictions: await predictions.data(),
        targets,
        negLogLikelihood: await loss.item(),
        rows,
      });
      predictions[Symbol.dispose]();
      loss[Symbol.dispose]();
    }
    return meter.scores();
  }

  dispose(): void {
    this.#forward.dispose();
  }
}
