// Several training runs of one model as one compiled step: parameters and optimiser state carry a leading axis of runs, and
// vmap turns the single-run step into one over all of them. Learning rate and weight decay differ by run.

import {
  broadcastTo,
  compile,
  ConfigError,
  mul,
  NumericError,
  realize,
  stack,
  sub,
  tensor,
  unsqueeze,
  Variable,
  vmap,
  withVariables,
  type Compiled,
  type Tensor,
} from "@everlong/core";
import type { Optimizer } from "./optimizer.ts";
import { oneUpdate, type Batch, type LossFunction } from "./train-step.ts";

/** What differs between the runs of a sweep. */
export interface SweepRun {
  readonly learningRate: number;
  readonly weightDecay: number;
}

export interface SweepOptions {
  /** Loss of one run's model; the model's variables are the template's. */
  readonly loss: LossFunction;
  /** Optimiser of the template model, without weight decay or learning-rate hints: the runs bring both. */
  readonly optimizer: Optimizer;
  /** More variables of the model that differ by run once trained (buffers). */
  readonly variables?: readonly Variable[];
  readonly runs: readonly SweepRun[];
  /** Limit of each run's gradient norm. Default: none. */
  readonly clip?: number;
  /** Decides the keys of all steps. Default 0. */
  readonly seed?: number;
}

/** S runs that start from the template's values and see the same batches. */
export class Sweep {
  readonly runs: readonly SweepRun[];
  /** Names of the scalars that a step returns. */
  readonly names: readonly string[];
  /** `[S, names]` scalars of a step. */
  readonly step: Compiled<readonly [Batch, Tensor], Tensor>;
  readonly #templates: readonly Variable[];
  /** `[S, ...]` each. */
  readonly #stacked: readonly Variable[];

  constructor(options: SweepOptions) {
    const { optimizer, runs } = options;
    if (runs.length === 0) throw new ConfigError("Sweep", "needs at least one run");
    const own = optimizer.parameters.find(
      (p) => p.rateScale !== 1 || (p.usesBaseDecay && p.weightDecay !== 0),
    );
    if (own) {
      throw new ConfigError("Sweep", `the template optimiser sets a rate or decay for "${own.name}"`, {
        hint: "Make it with weightDecay 0 and hints: false.",
      });
    }
    const size = runs.length;
    const names: string[] = [];
    this.runs = runs;
    this.names = names;
    this.#templates = [
      ...optimizer.parameters.map((p) => p.variable),
      ...optimizer.state.values(),
      ...(options.variables ?? []),
    ];
    this.#stacked = this.#templates.map((v) => {
      const copies = broadcastTo(unsqueeze(v.current, 0), [size, ...v.shape]);
      return new Variable(copies, { name: v.name, trainable: v.trainable });
    });
    realize(this.#stacked.map((v) => v.current));
    const update = oneUpdate(options);
    const decays = tensor(runs.map((r) => r.weightDecay));
    const one = (
      values: readonly Tensor[],
      rate: Tensor,
      decay: Tensor,
      batch: Batch,
    ): [Tensor, Tensor[]] => {
      const bound = new Map(this.#templates.map((v, i) => [v, values[i]!]));
      bound.set(optimizer.learningRate, rate);
      const { result, written } = withVariables(bound, () => {
        const before = optimizer.parameters.map((p) => p.variable.value);
        const scalars = update(batch);
        // The decoupled decay of AdamW: p - rate * decay * p beside the update from the gradient.
        optimizer.parameters.forEach((p, i) => {
          if (p.usesBaseDecay) p.variable.value = sub(p.variable.value, mul(before[i]!, mul(rate, decay)));
        });
        return scalars;
      });
      names.splice(0, names.length, ...Object.keys(result));
      return [stack(Object.values(result)), this.#templates.map((v, i) => written.get(v) ?? values[i]!)];
    };
    this.step = compile(
      (batch: Batch, rates: Tensor): Tensor => {
        const all = vmap((values: Tensor[], rate: Tensor, decay: Tensor) => one(values, rate, decay, batch));
        const [scalars, next] = all(
          this.#stacked.map((v) => v.value),
          rates,
          decays,
        );
        next.forEach((t, i) => (this.#stacked[i]!.value = t));
        return scalars;
      },
      { name: `sweep of ${size} runs` },
    );
  }

  /**
   * One step of all runs. `factor` is the schedule's value; each run scales its own learning rate by it.
   * @returns the scalars by run. @throws NumericError when every run's loss stopped being finite
   */
  async advance(batch: Batch, factor: number): Promise<Record<string, number>[]> {
    using rates = tensor(this.runs.map((r) => r.learningRate * factor));
    const out = this.step(batch, rates);
    const values = await out.data();
    out[Symbol.dispose]();
    const width = this.names.length;
    const reports = this.runs.map((_, s) =>
      Object.fromEntries(this.names.map((n, k) => [n, values[s * width + k]!])),
    );
    if (reports.every((r) => !Number.isFinite(r["loss"]))) {
      throw new NumericError("Sweep", "the loss of every run stopped being finite", {
        hint: "Lower the learning rates or clip gradients.",
      });
    }
    return reports;
  }

  /** A function of the template model (its forward pass, an evaluation) run for all S models; results are `[S, ...]`. */
  each(fn: () => readonly Tensor[]): Tensor[] {
    const all = vmap((values: Tensor[]) => {
      const bound = new Map(this.#templates.map((v, i) => [v, values[i]!]));
      return [...withVariables(bound, fn).result];
    });
    return all(this.#stacked.map((v) => v.value));
  }

  /** Copies run `index`'s values into the template model and optimiser. */
  load(index: number): void {
    this.#templates.forEach((v, i) => (v.value = this.#stacked[i]!.value.slice([index])));
    realize(this.#templates.map((v) => v.current));
  }

  dispose(): void {
    this.step.dispose();
  }
}
