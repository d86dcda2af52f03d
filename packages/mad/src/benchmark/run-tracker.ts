// Follows one run of a cell: its curve, and when it has to end.

import type { HyperParameters, Recipe } from "./recipe.ts";
import type { CellRun, EpochPoint, Measured } from "./result.ts";

/** Collects the points of one run and decides when it is over. */
export class RunTracker {
  readonly hyper: HyperParameters;
  readonly #recipe: Recipe;
  readonly #curve: EpochPoint[] = [];
  #lossSum = 0;
  #lossCount = 0;
  #best = Number.NEGATIVE_INFINITY;
  #bestEpoch = 0;
  #test: Measured | null = null;
  #stopped: CellRun["stopped"] | undefined;
  #steps = 0;

  constructor(hyper: HyperParameters, recipe: Recipe) {
    this.hyper = hyper;
    this.#recipe = recipe;
  }

  get over(): boolean {
    return this.#stopped !== undefined;
  }

  get curve(): readonly EpochPoint[] {
    return this.#curve;
  }

  /** A step was made; a loss that is not finite ends the run. */
  step(loss: number): void {
    if (this.over) return;
    this.#steps++;
    if (!Number.isFinite(loss)) this.diverge();
    this.#lossSum += loss;
    this.#lossCount++;
  }

  diverge(): void {
    this.#stopped = "diverged";
    this.#test = null;
  }

  /** The test set was measured after `epoch` (fractions count) epochs. */
  measured(epoch: number, step: number, m: Measured, last: boolean): EpochPoint | undefined {
    if (this.over) return undefined;
    if (!Number.isFinite(m.epoch.loss)) {
      this.diverge();
      return undefined;
    }
    const point: EpochPoint = {
      epoch,
      step,
      trainLoss: this.#lossCount > 0 ? this.#lossSum / this.#lossCount : null,
      testLoss: m.epoch.loss,
      tokenAccuracy: m.epoch.tokenAccuracy,
      macroAccuracy: m.epoch.macroAccuracy,
      batchAccuracy: m.batches.macroAccuracy,
    };
    [this.#lossSum, this.#lossCount] = [0, 0];
    this.#curve.push(point);
    this.#test = m;
    const accuracy = m[this.#recipe.accuracy].macroAccuracy;
    if (accuracy > this.#best) [this.#best, this.#bestEpoch] = [accuracy, epoch];
    const { stopAt, patience } = this.#recipe;
    if (step > 0 && accuracy >= stopAt) this.#stopped = "accurate";
    else if (patience > 0 && epoch - this.#bestEpoch >= patience) this.#stopped = "steady";
    else if (last) this.#stopped = "done";
    return point;
  }

  /** What is left of the run. */
  run(): CellRun {
    return {
      ...this.hyper,
      curve: this.#curve,
      test: this.#test,
      stopped: this.#stopped ?? "done",
      steps: this.#steps,
    };
  }

  /** For checkpoints. */
  save(): object {
    return {
      curve: this.#curve,
      lossSum: this.#lossSum,
      lossCount: this.#lossCount,
      best: Number.isFinite(this.#best) ? this.#best : null,
      bestEpoch: this.#bestEpoch,
      test: this.#test,
      stopped: this.#stopped ?? null,
      steps: this.#steps,
    };
  }

  /** Goes on from what {@link save} gave. */
  restore(saved: object): void {
    const s = saved as {
      curve: EpochPoint[];
      lossSum: number;
      lossCount: number;
      best: number | null;
      bestEpoch: number;
      test: Measured | null;
      stopped: CellRun["stopped"] | null;
      steps: number;
    };
    this.#curve.splice(0, this.#curve.length, ...s.curve);
    [this.#lossSum, this.#lossCount] = [s.lossSum, s.lossCount];
    [this.#best, this.#bestEpoch] = [s.best ?? Number.NEGATIVE_INFINITY, s.bestEpoch];
    [this.#test, this.#stopped, this.#steps] = [s.test, s.stopped ?? undefined, s.steps];
  }
}
