// Follows one run of a cell: its curve, and when it has to end.

import type { HyperParameters, Recipe } from "./recipe.ts";
import type { CellRun, EpochPoint, Measured } from "./result.ts";

/** What a checkpoint keeps of a run that is under way. */
export interface SavedTracker {
  readonly curve: readonly EpochPoint[];
  readonly lossSum: number;
  readonly lossCount: number;
  readonly best: number | null;
  readonly bestEpoch: number;
  readonly lowest: number | null;
  readonly poorEpochs: number;
  readonly drops: number;
  readonly test: Measured | null;
  readonly steps: number;
  /** Absent while the run goes on. */
  readonly stopped?: CellRun["stopped"];
}

/** Collects the points of one run and decides when it is over. */
export class RunTracker {
  readonly hyper: HyperParameters;
  readonly #recipe: Recipe;
  readonly #curve: EpochPoint[] = [];
  #lossSum = 0;
  #lossCount = 0;
  #best = Number.NEGATIVE_INFINITY;
  #bestEpoch = 0;
  #lowest = Number.POSITIVE_INFINITY;
  #poorEpochs = 0;
  #drops = 0;
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

  /** How often the plateau schedule has lowered the rate. */
  get drops(): number {
    return this.#drops;
  }

  /** The lowest test loss so far; infinite before the first. */
  get lowest(): number {
    return this.#curve.reduce((least, p) => Math.min(least, p.testLoss), Number.POSITIVE_INFINITY);
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
    this.#plateau(m.epoch.loss);
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

  /** For checkpoints: plain JSON. */
  save(): SavedTracker {
    return {
      curve: this.#curve,
      lossSum: this.#lossSum,
      lossCount: this.#lossCount,
      best: this.#curve.length > 0 ? this.#best : null,
      bestEpoch: this.#bestEpoch,
      lowest: this.#curve.length > 0 ? this.#lowest : null,
      poorEpochs: this.#poorEpochs,
      drops: this.#drops,
      test: this.#test,
      steps: this.#steps,
      ...(this.#stopped ? { stopped: this.#stopped } : {}),
    };
  }

  /** Goes on from what {@link save} gave. */
  restore(s: SavedTracker): void {
    this.#curve.splice(0, this.#curve.length, ...s.curve);
    [this.#lossSum, this.#lossCount] = [s.lossSum, s.lossCount];
    this.#best = s.best ?? Number.NEGATIVE_INFINITY;
    this.#lowest = s.lowest ?? Number.POSITIVE_INFINITY;
    [this.#bestEpoch, this.#poorEpochs, this.#drops] = [s.bestEpoch, s.poorEpochs, s.drops];
    [this.#test, this.#steps, this.#stopped] = [s.test, s.steps, s.stopped];
  }

  /** As torch's ReduceLROnPlateau: an improvement is one of more than 1e-4 of the lowest loss. */
  #plateau(loss: number): void {
    if (loss < this.#lowest * (1 - 1e-4)) [this.#lowest, this.#poorEpochs] = [loss, 0];
    else this.#poorEpochs++;
    if (this.#poorEpochs <= this.#recipe.plateauPatience) return;
    this.#drops++;
    this.#poorEpochs = 0;
  }
}
