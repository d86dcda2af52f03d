// How MAD measures: macro accuracy and perplexity as torchmetrics and Lightning combine them in mad-lab, and the same
// quantities over a whole epoch. Definitions: https://lightning.ai/docs/torchmetrics (MulticlassAccuracy, Perplexity).

import { DataError, ShapeError } from "@everlong/core";
import { IGNORE_INDEX } from "./tasks/task.ts";

/** One set of measurements. */
export interface TaskScores {
  /**
   * Mean over classes of the share of a class's targets that were predicted. A class that is predicted but never a
   * target counts as 0, one that is neither is left out.
   */
  readonly macroAccuracy: number;
  /** Share of targets that were predicted. */
  readonly tokenAccuracy: number;
  /** Mean negative log-likelihood of the targets, in nats. */
  readonly loss: number;
  /** exp(loss). */
  readonly perplexity: number;
}

/** A batch reduced to what the metrics need. */
export interface BatchPredictions {
  /** The predicted class at each position. */
  readonly predictions: ArrayLike<number>;
  /** The wanted class at each position, or the meter's ignoreIndex. */
  readonly targets: ArrayLike<number>;
  /** Sum over targets of the negative log-likelihood, in nats. */
  readonly negLogLikelihood: number;
  /** Sequences in the batch, its weight among batches; default 1. */
  readonly rows?: number;
}

/**
 * Accumulates predictions of an epoch.
 *
 * @example
 * const meter = new TaskMeter(16);
 * for (const batch of batches) meter.addLogits(batch.logits, batch.targets, batch.rows);
 * meter.scores().macroAccuracy; // over the epoch
 * meter.batchMeans().macroAccuracy; // as mad-lab reports it
 */
export class TaskMeter {
  readonly numClasses: number;
  readonly ignoreIndex: number;
  readonly #epoch: Tally;
  readonly #sums: { -readonly [K in keyof TaskScores]: number } = {
    macroAccuracy: 0,
    tokenAccuracy: 0,
    loss: 0,
    perplexity: 0,
  };
  #rows = 0;

  /**
   * @param numClasses size of the vocabulary: N
   * @param ignoreIndex target at positions that do not count
   */
  constructor(numClasses: number, ignoreIndex: number = IGNORE_INDEX) {
    this.numClasses = numClasses;
    this.ignoreIndex = ignoreIndex;
    this.#epoch = new Tally(numClasses, ignoreIndex);
  }

  /**
   * Adds a batch of logits `[..., N]` with targets `[...]`; of equal logits the first counts as the prediction.
   *
   * @param rows sequences in the batch, its weight in {@link batchMeans}
   * @returns the scores of this batch alone
   * @throws ShapeError when sizes disagree, DataError for a target that is no class
   */
  addLogits(logits: ArrayLike<number>, targets: ArrayLike<number>, rows: number = 1): TaskScores {
    const n = this.numClasses;
    if (logits.length !== targets.length * n) {
      throw new ShapeError("TaskMeter", "logits and targets disagree", {
        expected: `${targets.length} x ${n} logits`,
        got: `${logits.length}`,
      });
    }
    const predictions = new Int32Array(targets.length);
    let negLogLikelihood = 0;
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i]!;
      if (target === this.ignoreIndex) continue;
      let best = 0;
      for (let c = 1; c < n; c++) if (logits[i * n + c]! > logits[i * n + best]!) best = c;
      predictions[i] = best;
      const peak = logits[i * n + best]!;
      let total = 0;
      for (let c = 0; c < n; c++) total += Math.exp(logits[i * n + c]! - peak);
      negLogLikelihood += Math.log(total) + (peak - (logits[i * n + target] ?? Number.NaN));
    }
    return this.add({ predictions, targets, negLogLikelihood, rows });
  }

  /** Adds a batch whose predictions and loss were made elsewhere, and returns the scores of this batch alone. */
  add(batch: BatchPredictions): TaskScores {
    const { rows = 1 } = batch;
    const tally = new Tally(this.numClasses, this.ignoreIndex);
    tally.add(batch);
    this.#epoch.add(batch);
    const scores = tally.scores();
    for (const name of Object.keys(this.#sums) as (keyof TaskScores)[])
      this.#sums[name] += rows * scores[name];
    this.#rows += rows;
    return scores;
  }

  /** Scores over everything added: each target counts once. */
  scores(): TaskScores {
    return this.#epoch.scores();
  }

  /**
   * Means over batches of the scores of each batch, weighted by rows: mad-lab's figures. They depend on the batch
   * size, since in a small batch a wrongly predicted class is more often one without targets, which counts as 0.
   */
  batchMeans(): TaskScores {
    const { macroAccuracy, tokenAccuracy, loss, perplexity } = this.#sums;
    const w = this.#rows;
    return {
      macroAccuracy: macroAccuracy / w,
      tokenAccuracy: tokenAccuracy / w,
      loss: loss / w,
      perplexity: perplexity / w,
    };
  }
}

/** Counts per class. */
class Tally {
  readonly #hits: Float64Array;
  readonly #wanted: Float64Array;
  readonly #predicted: Float64Array;
  readonly #ignoreIndex: number;
  #negLogLikelihood = 0;

  constructor(numClasses: number, ignoreIndex: number) {
    this.#ignoreIndex = ignoreIndex;
    this.#hits = new Float64Array(numClasses);
    this.#wanted = new Float64Array(numClasses);
    this.#predicted = new Float64Array(numClasses);
  }

  add({ predictions, targets, negLogLikelihood }: BatchPredictions): void {
    if (predictions.length !== targets.length) {
      throw new ShapeError("TaskMeter", "predictions and targets disagree", {
        expected: `${targets.length} predictions`,
        got: `${predictions.length}`,
      });
    }
    for (let i = 0; i < targets.length; i++) {
      const target = targets[i]!;
      if (target === this.#ignoreIndex) continue;
      const prediction = predictions[i]!;
      if (!(target in this.#wanted) || !(prediction in this.#wanted)) {
        throw new DataError("TaskMeter", `position ${i} holds no class`, {
          expected: `0 to ${this.#wanted.length - 1}, or ${this.#ignoreIndex} to ignore a target`,
          got: `target ${target}, prediction ${prediction}`,
        });
      }
      this.#wanted[target]!++;
      this.#predicted[prediction]!++;
      if (prediction === target) this.#hits[target]!++;
    }
    this.#negLogLikelihood += negLogLikelihood;
  }

  scores(): TaskScores {
    let classes = 0;
    let recalls = 0;
    let hits = 0;
    let targets = 0;
    for (let c = 0; c < this.#wanted.length; c++) {
      const wanted = this.#wanted[c]!;
      const predicted = this.#predicted[c]!;
      if (wanted + predicted === 0) continue;
      classes++;
      if (wanted > 0) recalls += this.#hits[c]! / wanted;
      hits += this.#hits[c]!;
      targets += wanted;
    }
    const loss = this.#negLogLikelihood / targets;
    return {
      // torchmetrics gives 0 where there is nothing to divide by
      macroAccuracy: classes === 0 ? 0 : recalls / classes,
      tokenAccuracy: targets === 0 ? 0 : hits / targets,
      loss,
      perplexity: Math.exp(loss),
    };
  }
}
