// Several training runs of one model as one compiled step: parameters and optimiser state carry a leading axis of runs, and
// vmap turns the single-run step into one over all of them. Learning rate, weight decay and seed differ by run.

import {
  broadcastTo,
  compile,
  concat,
  ConfigError,
  defaultDevice,
  narrow,
  NumericError,
  random,
  realize,
  stack,
  tensor,
  unsqueeze,
  Variable,
  vmap,
  withVariables,
  type Compiled,
  type Device,
  type Tensor,
} from "@everlong/core";
import type { Optimizer } from "./optimizer.ts";
import { oneUpdate, type Batch, type LossFunction } from "./train-step.ts";

/** What differs between the runs of a sweep. */
export interface SweepRun {
  readonly learningRate: number;
  /** As the optimiser means it: decoupled in AdamW, a penalty in SGD. */
  readonly weightDecay: number;
  /** Decides the keys of the run's steps. Default: the sweep's; runs of one seed draw the same numbers once. */
  readonly seed?: number;
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
  /** Runs that are computed side by side; the next ones follow within the compiled step. Default: all. See {@link runsTogether}. */
  readonly together?: number;
}

/**
 * How many of `runs` to compute side by side. On a CPU a batch of more than 1,024 positions (rows times length) keeps the
 * cores busy with one run, and their caches then hold that run's values alone: one. Elsewhere all.
 */
export const runsTogether = (runs: number, positions: number, on: Device = defaultDevice()): number =>
  on.name.startsWith("cpu") && positions > 1024 ? 1 : runs;

/** Some of the runs, side by side. */
interface Group {
  readonly first: number;
  readonly size: number;
  /** `[G, ...]`, one for each template variable. */
  readonly stacked: readonly Variable[];
}

/**
 * S runs that start from the template's values and see the same batches. Each ends where it would have ended alone: a run's
 * products, convolutions and norms are the calls that it makes alone, and only sums over its batch and elementwise work are
 * joined with the other runs' (1e-12 in float64; in float32 the roundings of those sums).
 */
export class Sweep {
  readonly runs: readonly SweepRun[];
  /** Names of the scalars that a step returns. */
  readonly names: readonly string[];
  /** `[S, names]` scalars of a step, from a batch and the learning rates `[S]` of this step. */
  readonly step: Compiled<readonly [Batch, Tensor], Tensor>;
  readonly #templates: readonly Variable[];
  readonly #groups: readonly Group[];
  readonly #optimizer: Optimizer;
  /** Updates made so far: all runs are at the same one. */
  readonly #count: Variable;

  constructor(options: SweepOptions) {
    const { optimizer, runs, seed = 0, together = Math.max(1, runs.length) } = options;
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
    this.#optimizer = optimizer;
    this.#templates = [
      ...optimizer.parameters.map((p) => p.variable),
      ...[...optimizer.state.values()].filter((v) => v !== optimizer.step),
      ...(options.variables ?? []),
    ];
    if (!Number.isInteger(together) || together < 1) {
      throw new ConfigError("Sweep", "together must be a positive integer", { got: `${together}` });
    }
    this.#groups = Array.from({ length: Math.ceil(size / together) }, (_, g): Group => {
      const first = g * together;
      const count = Math.min(together, size - first);
      const stacked = this.#templates.map((v) => {
        const copies = broadcastTo(unsqueeze(v.current, 0), [count, ...v.shape]);
        return new Variable(copies, { name: v.name, trainable: v.trainable });
      });
      return { first, size: count, stacked };
    });
    this.#count = new Variable(optimizer.step.current, { name: optimizer.step.name, trainable: false });
    realize([...this.#groups.flatMap((g) => g.stacked), this.#count].map((v) => v.current));
    const { device } = optimizer.step.current;
    const update = oneUpdate(options);
    const decays = tensor(
      runs.map((r) => r.weightDecay),
      { device },
    );
    const decaying = runs.some((r) => r.weightDecay !== 0);
    const seeds = runs.map((r) => r.seed ?? seed);
    const sharedKey = seeds.every((s) => s === seeds[0]) ? random.key(seeds[0]!, device) : undefined;
    const keys = sharedKey ? [] : [stack(seeds.map((s) => random.key(s, device)))];
    this.step = compile(
      (batch: Batch, rates: Tensor): Tensor => {
        const before = this.#count.value;
        let count = before;
        const one = (
          values: readonly Tensor[],
          rate: Tensor,
          weightDecay: Tensor,
          [key = sharedKey]: readonly Tensor[],
        ): [Tensor, Tensor[]] => {
          const bound = new Map(this.#templates.map((v, i) => [v, values[i]!]));
          bound.set(optimizer.learningRate, rate).set(optimizer.step, before);
          const { result, written } = withVariables(bound, () =>
            update(batch, { key, ...(decaying ? { weightDecay } : {}) }),
          );
          names.splice(0, names.length, ...Object.keys(result));
          // It depends on nothing that differs by run.
          count = written.get(optimizer.step) ?? count;
          return [stack(Object.values(result)), this.#templates.map((v, i) => written.get(v) ?? values[i]!)];
        };
        const scalars = this.#groups.map(({ first, size: width, stacked }) => {
          const own = (t: Tensor): Tensor => narrow(t, 0, first, first + width);
          const [made, next] = vmap(one)(
            stacked.map((v) => v.value),
            own(rates),
            own(decays),
            keys.map(own),
          );
          next.forEach((t, i) => (stacked[i]!.value = t));
          return made;
        });
        this.#count.value = count;
        return concat(scalars);
      },
      { name: `sweep of ${size} runs` },
    );
  }

  /**
   * One step of all runs. `factor` is the schedule's value; each run scales its own learning rate by it.
   * @returns the scalars by run. @throws NumericError when every run's loss stopped being finite
   */
  async advance(batch: Batch, factor: number): Promise<Record<string, number>[]> {
    using rates = tensor(
      this.runs.map((r) => r.learningRate * factor),
      { device: this.#count.current.device },
    );
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
    const parts = this.#groups.map(({ stacked }) => all(stacked.map((v) => v.value)));
    return parts[0]!.map((_, k) => concat(parts.map((p) => p[k]!)));
  }

  /** Copies run `index`'s values into the template model and optimiser. */
  load(index: number): void {
    const group = this.#groups.find((g) => index >= g.first && index < g.first + g.size);
    if (!group)
      throw new ConfigError("Sweep", `no run ${index}`, { expected: `0 to ${this.runs.length - 1}` });
    this.#templates.forEach((v, i) => (v.value = group.stacked[i]!.value.slice([index - group.first])));
    this.#optimizer.step.value = this.#count.value.add(0);
    realize([...this.#templates, this.#optimizer.step].map((v) => v.current));
  }

  dispose(): void {
    this.step.dispose();
  }
}
