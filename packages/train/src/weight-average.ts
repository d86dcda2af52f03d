// Averages of weights over training.

import {
  add,
  checkOptions,
  ConfigError,
  div,
  minimum,
  mul,
  sub,
  type Tensor,
  Variable,
} from "@everlong/core";
import { withVariables } from "@everlong/core";
import type { GroupedParameter, Optimizer } from "./optimizer.ts";

export interface WeightAverageOptions {
  /** Weight of the past in each step, in [0, 1). Default 0.999. */
  readonly decay?: number;
  /** Start with the smaller decay `(1 + t) / (10 + t)` at step t, so that the first weights are soon forgotten. Default true. */
  readonly warmup?: boolean;
}

/**
 * An exponential moving average of all parameters (Polyak & Juditsky 1992; the warm-up is TensorFlow's), kept beside any
 * optimiser: `a = d a + (1 - d) p` after every update. Use it in the optimiser's place; checkpoints then hold the averages.
 *
 * @example
 * const optimizer = new WeightAverage(new AdamW(model, { learningRate: 1e-3 }), { decay: 0.999 });
 * await fit({ optimizer, ... });
 * const score = optimizer.averaged(() => model.forward(ids)); // with the averaged weights
 */
export class WeightAverage implements Optimizer {
  readonly parameters: readonly GroupedParameter[];
  readonly baseRate: number;
  readonly learningRate: Variable;
  readonly step: Variable;
  readonly state: ReadonlyMap<string, Variable>;
  readonly #inner: Optimizer;
  readonly #decay: number;
  readonly #warmup: boolean;
  readonly #averages: readonly Variable[];

  constructor(inner: Optimizer, options: WeightAverageOptions = {}) {
    checkOptions("WeightAverage", options, ["decay", "warmup"]);
    const { decay = 0.999, warmup = true } = options;
    if (!(decay >= 0 && decay < 1))
      throw new ConfigError("WeightAverage", "bad decay", { expected: "0 <= decay < 1", got: `${decay}` });
    this.#inner = inner;
    this.#decay = decay;
    this.#warmup = warmup;
    this.parameters = inner.parameters;
    this.baseRate = inner.baseRate;
    this.learningRate = inner.learningRate;
    this.step = inner.step;
    // The averages need memory of their own: an update overwrites the parameters in place.
    this.#averages = this.parameters.map(
      ({ name, variable }) =>
        new Variable(mul(variable.current, 1), { name: `${name}.average`, trainable: false }),
    );
    this.state = new Map([...inner.state, ...this.#averages.map((v) => [v.name, v] as const)]);
  }

  apply(gradients: readonly Tensor[], baseDecay?: Tensor): void {
    const done = this.step.value;
    this.#inner.apply(gradients, baseDecay);
    const t = done.cast(this.learningRate.dtype);
    const past = this.#warmup ? minimum(div(add(t, 1), add(t, 10)), this.#decay) : this.#decay;
    this.parameters.forEach(({ variable }, i) => {
      const average = this.#averages[i]!;
      const now = variable.value;
      average.value = add(now, mul(sub(average.value, now), past));
    });
  }

  /** Runs `fn` with the averaged weights in place of the trained ones. */
  averaged<R>(fn: () => R): R {
    const values = new Map(this.parameters.map((p, i) => [p.variable, this.#averages[i]!.value]));
    return withVariables(values, fn).result;
  }

  /** Puts the averaged weights into the model, for good. */
  adopt(): void {
    this.parameters.forEach(({ variable }, i) => {
      variable.value = mul(this.#averages[i]!.current, 1);
    });
  }
}
