// Several training runs of one model over the same batches. Runs that are computed side by side are one compiled step:
// parameters and optimiser state carry a leading axis of runs, and vmap turns the single-run step into one over all of them.
// Runs that follow each other share one compiled step too, which is called with the values of each in turn.

import {
  compile,
  ConfigError,
  defaultDevice,
  mul,
  NumericError,
  random,
  realize,
  stack,
  tensor,
  Variable,
  vmap,
  withVariables,
  zeros,
  type Compiled,
  type Device,
  type Tensor,
} from "@everlong/core";
import { checkpointInfo, loadCheckpoint, saveCheckpoint, type CheckpointInfo } from "./checkpoint.ts";
import type { Optimizer } from "./optimizer.ts";
import type { Precision } from "./precision.ts";
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
  /** What products are computed in. Default f32. See {@link Precision}. */
  readonly precision?: Precision;
  /** Decides the keys of all steps. Default 0. */
  readonly seed?: number;
  /** Runs that are computed side by side; the next ones follow. Default: all. See {@link runsTogether}. */
  readonly together?: number;
}

/**
 * How many of `runs` to compute side by side. On a CPU a batch of more than 1,024 positions (rows times length) keeps the
 * cores busy with one run, and their caches then hold that run's values alone: one. Elsewhere all.
 */
export const runsTogether = (runs: number, positions: number, on: Device = defaultDevice()): number =>
  on.name.startsWith("cpu") && positions > 1024 ? 1 : runs;

/** What a step of some runs takes besides the batch: rates and decays `[G]`, or scalars of one run, and the updates made. */
type RunInputs = { readonly [K in "rates" | "decays" | "count"]: Tensor } & {
  /** Keys of the runs where they differ. */
  readonly keys: readonly Tensor[];
};

/** Runs a function of the template model for every model of a group; results are `[G, ...]`. */
export type EachRun = (fn: () => readonly Tensor[]) => Tensor[];

/** The compiled step of groups of one width. */
interface Program {
  readonly width: number;
  /** Hold the values of the group whose turn it is. */
  readonly variables: readonly Variable[];
  /** `[G, names]` scalars of a step. */
  readonly run: Compiled<readonly [Batch, RunInputs], Tensor>;
  readonly each: EachRun;
}

/** What stands for variables while a function runs. */
type Bindings = readonly (readonly [Variable, Tensor])[];

/** What a checkpoint says beside the values. */
interface SavedSweep {
  readonly info: CheckpointInfo;
  readonly count: number;
  readonly active: readonly number[];
}

/** Some of the runs, side by side. */
interface Group {
  readonly runs: readonly number[];
  readonly program: Program;
  readonly decays: Tensor;
  readonly keys: readonly Tensor[];
  /** One for each template variable: `[G, ...]`, or as the template's where the group is one run. */
  values: readonly Tensor[];
}

/**
 * S runs that start from the template's values and see the same batches. Each ends where it would have ended alone: a run's
 * products, convolutions and norms are the calls that it makes alone, and only sums over its batch and elementwise work are
 * joined with the other runs' (1e-12 in float64; in float32 the roundings of those sums; the same bits where runs follow each
 * other). While a sweep lives, the template's variables may hold the values of any run.
 */
export class Sweep {
  readonly runs: readonly SweepRun[];
  readonly #options: SweepOptions;
  readonly #device: Device;
  readonly #names: string[] = [];
  readonly #templates: ReadonlyMap<string, Variable>;
  readonly #decaying: boolean;
  readonly #update: ReturnType<typeof oneUpdate>;
  readonly #sharedKey: Tensor | undefined;
  readonly #programs: Map<number, Program> = new Map();
  #groups: readonly Group[];
  /** Updates made so far: all runs are at the same one. */
  #count = 0;

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
    if (!Number.isInteger(together) || together < 1) {
      throw new ConfigError("Sweep", "together must be a positive integer", { got: `${together}` });
    }
    this.runs = runs;
    this.#options = options;
    this.#device = optimizer.step.current.device;
    this.#templates = new Map([
      ...optimizer.parameters.map((p) => [`model.${p.name}`, p.variable] as const),
      ...[...optimizer.state]
        .filter(([, v]) => v !== optimizer.step)
        .map(([name, v]) => [`optimizer.${name}`, v] as const),
      ...(options.variables ?? []).map((v, i) => [`variable.${i}`, v] as const),
    ]);
    this.#decaying = runs.some((r) => r.weightDecay !== 0);
    this.#update = oneUpdate(options);
    const seeds = runs.map((r) => r.seed ?? seed);
    this.#sharedKey = seeds.every((s) => s === seeds[0]) ? random.key(seeds[0]!, this.#device) : undefined;
    const start = [...this.#templates.values()].map((v) => v.current);
    this.#groups = Array.from({ length: Math.ceil(runs.length / together) }, (_, g) => {
      const first = g * together;
      const count = Math.min(together, runs.length - first);
      return this.#group(
        Array.from({ length: count }, (_x, i) => first + i),
        () => start,
      );
    });
  }

  /** Names of the scalars of a step, from the first step on. */
  get names(): readonly string[] {
    return this.#names;
  }

  /** Runs that are still trained, in order. */
  get active(): readonly number[] {
    return this.#groups.flatMap((g) => g.runs);
  }

  /** Compiled steps made so far: one for each number of runs side by side. */
  get traces(): number {
    return [...this.#programs.values()].reduce((sum, p) => sum + p.run.traces, 0);
  }

  /**
   * One step of all runs that are still trained.
   * @param rates learning rate of each of the S runs
   * @returns scalars by run, undefined for dropped ones
   */
  async step(batch: Batch, rates: readonly number[]): Promise<(Record<string, number> | undefined)[]> {
    using count = tensor(this.#count, { dtype: "i32", device: this.#device });
    const outs = this.#groups.map((group) => {
      const { program, decays, keys } = group;
      this.#enter(group);
      using own = this.#perRun(group.runs.map((s) => rates[s]!));
      const out = program.run(batch, { rates: own, decays, count, keys });
      group.values = program.variables.map((v) => v.current);
      return out;
    });
    this.#count++;
    const reports: (Record<string, number> | undefined)[] = this.runs.map(() => undefined);
    for (const [g, group] of this.#groups.entries()) {
      const values = await outs[g]!.data();
      outs[g]![Symbol.dispose]();
      const width = this.#names.length;
      group.runs.forEach((s, i) => {
        reports[s] = Object.fromEntries(this.#names.map((n, k) => [n, values[i * width + k]!]));
      });
    }
    return reports;
  }

  /**
   * One step of all runs. `factor` is the schedule's value; each run scales its own learning rate by it.
   * @returns as {@link step}. @throws NumericError when every run's loss stopped being finite
   */
  async advance(batch: Batch, factor: number): Promise<(Record<string, number> | undefined)[]> {
    const reports = await this.step(
      batch,
      this.runs.map((r) => r.learningRate * factor),
    );
    if (reports.every((r) => !Number.isFinite(r?.["loss"] ?? Number.NaN))) {
      throw new NumericError("Sweep", "the loss of every run stopped being finite", {
        hint: "Lower the learning rates or clip gradients.",
      });
    }
    return reports;
  }

  /**
   * Calls `fn` for every group of runs in turn, the template's variables standing for theirs in what `each` runs. Groups of
   * one size have the same `each`: what was compiled with it serves all of them.
   */
  async visit(fn: (runs: readonly number[], each: EachRun) => void | Promise<void>): Promise<void> {
    for (const group of this.#groups) {
      this.#enter(group);
      await fn(group.runs, group.program.each);
    }
  }

  /** Leaves runs out of further steps; their values are gone. */
  drop(runs: readonly number[]): void {
    this.#groups = this.#groups.flatMap((group) => {
      const kept = group.runs.filter((s) => !runs.includes(s));
      if (kept.length === group.runs.length) return [group];
      const narrower = kept.length === 0 ? [] : [this.#group(kept, (s) => this.#valuesOf(group, s))];
      group.values.forEach((t) => t[Symbol.dispose]());
      return narrower;
    });
    for (const [width, program] of this.#programs) {
      if (this.#groups.some((g) => g.program === program)) continue;
      program.run.dispose();
      this.#programs.delete(width);
    }
  }

  /** Copies run `index`'s values into the template model and optimiser. */
  load(index: number): void {
    const group = this.#groups.find((g) => g.runs.includes(index));
    if (!group)
      throw new ConfigError("Sweep", `no run ${index}`, { expected: `one of ${this.active.join(", ")}` });
    const values = copies(this.#valuesOf(group, index));
    [...this.#templates.values()].forEach((v, i) => (v.value = values[i]!));
    const { optimizer } = this.#options;
    optimizer.step.value = tensor(this.#count, { dtype: "i32", device: this.#device });
  }

  /** Writes what the runs go on from, run by run; see {@link saveCheckpoint}. */
  async save(path: string, info: CheckpointInfo = {}): Promise<void> {
    const held = new Map<string, { readonly value: Tensor }>();
    for (const group of this.#groups) {
      for (const s of group.runs) {
        const values = this.#valuesOf(group, s);
        [...this.#templates.keys()].forEach((name, i) => held.set(`${s}.${name}`, { value: values[i]! }));
      }
    }
    await saveCheckpoint(path, held, { info, count: this.#count, active: this.active });
  }

  /**
   * Goes on from a checkpoint of the same runs: those that had been dropped are dropped.
   * @returns the info it was saved with. @throws as {@link loadCheckpoint}
   */
  async resume(path: string): Promise<CheckpointInfo> {
    const { info, count, active } = (await checkpointInfo(path)) as unknown as SavedSweep;
    const held = new Map(
      active.flatMap((s) =>
        [...this.#templates].map(([name, v]) => [`${s}.${name}`, new Variable(mul(v.current, 1))] as const),
      ),
    );
    await loadCheckpoint(path, held);
    this.drop(this.active.filter((s) => !active.includes(s)));
    this.#groups = this.#groups.map(({ runs }) =>
      this.#group(runs, (s) => [...this.#templates.keys()].map((name) => held.get(`${s}.${name}`)!.current)),
    );
    this.#count = count;
    return info;
  }

  dispose(): void {
    for (const { run } of this.#programs.values()) run.dispose();
  }

  /** A number for each run of a group. */
  #perRun(values: readonly number[]): Tensor {
    return tensor(values.length === 1 ? values[0]! : values, { device: this.#device });
  }

  /** The values of the template's variables in run `s` of a group. */
  #valuesOf(group: Group, s: number): readonly Tensor[] {
    const { values, program, runs } = group;
    return program.width === 1 ? values : values.map((v) => v.slice([runs.indexOf(s)]));
  }

  #enter({ program, values }: Group): void {
    program.variables.forEach((v, i) => (v.value = values[i]!));
  }

  #group(runs: readonly number[], valuesOf: (run: number) => readonly Tensor[]): Group {
    const program = this.#program(runs.length);
    const rows = runs.map(valuesOf);
    const values =
      runs.length === 1 ? copies(rows[0]!) : rows[0]!.map((_, i) => stack(rows.map((r) => r[i]!)));
    const decays = this.#perRun(runs.map((s) => this.runs[s]!.weightDecay));
    const { seed = 0 } = this.#options;
    const own = this.#sharedKey ? [] : runs.map((s) => random.key(this.runs[s]!.seed ?? seed, this.#device));
    const keys = own.length > 1 ? [stack(own)] : own;
    realize([...values, decays, ...keys]);
    return { runs, program, values, decays, keys };
  }

  /** The step of `width` runs side by side; a single one needs no vmap and works on the template's own variables. */
  #program(width: number): Program {
    let program = this.#programs.get(width);
    if (!program) this.#programs.set(width, (program = width === 1 ? this.#single() : this.#wide(width)));
    return program;
  }

  /** A step's scalars `[names]` of one run; assigns what it trains to the variables that stand for the template's. */
  #one(
    batch: Batch,
    rate: Tensor,
    decay: Tensor,
    count: Tensor,
    key: Tensor | undefined,
    bound: Bindings,
  ): { scalars: Tensor; written: Map<Variable, Tensor> } {
    const { optimizer } = this.#options;
    const { result, written } = withVariables(
      new Map([...bound, [optimizer.learningRate, rate], [optimizer.step, count]]),
      () =>
        this.#update(batch, {
          key: key ?? this.#sharedKey,
          ...(this.#decaying ? { weightDecay: decay } : {}),
        }),
    );
    this.#names.splice(0, this.#names.length, ...Object.keys(result));
    return { scalars: stack(Object.values(result)), written };
  }

  #single(): Program {
    const run = compile(
      (batch: Batch, { rates, decays, count, keys }: RunInputs): Tensor =>
        this.#one(batch, rates, decays, count, keys[0], []).scalars,
      { name: "one run of a sweep" },
    );
    return {
      width: 1,
      variables: [...this.#templates.values()],
      run,
      each: (fn) => fn().map((t) => stack([t])),
    };
  }

  #wide(width: number): Program {
    const templates = [...this.#templates.values()];
    const variables = templates.map(
      ({ shape, dtype, name, trainable }) =>
        new Variable(zeros([width, ...shape], { dtype, device: this.#device }), { name, trainable }),
    );
    const bindings = (values: readonly Tensor[]): Bindings => templates.map((v, i) => [v, values[i]!]);
    const run = compile(
      (batch: Batch, { rates, decays, count, keys }: RunInputs): Tensor => {
        const one = (
          values: readonly Tensor[],
          rate: Tensor,
          decay: Tensor,
          [key]: readonly Tensor[],
        ): [Tensor, Tensor[]] => {
          const { scalars, written } = this.#one(batch, rate, decay, count, key, bindings(values));
          return [scalars, templates.map((v, i) => written.get(v) ?? values[i]!)];
        };
        const [scalars, next] = vmap(one)(
          variables.map((v) => v.value),
          rates,
          decays,
          keys,
        );
        next.forEach((t, i) => (variables[i]!.value = t));
        return scalars;
      },
      { name: `sweep of ${width} runs` },
    );
    const each: EachRun = (fn) =>
      vmap((values: Tensor[]) => [...withVariables(new Map(bindings(values)), fn).result])(
        variables.map((v) => v.value),
      );
    return { width, variables, run, each };
  }
}

/** Tensors with memory of their own: a step overwrites what it trains. */
const copies = (tensors: readonly Tensor[]): Tensor[] => tensors.map((t) => mul(t, 1));
