// AdamW (Loshchilov & Hutter 2019, algorithm 2), with torch's defaults.

import {
  add,
  checkOptions,
  div,
  mul,
  pow,
  sqrt,
  square,
  sub,
  type Tensor,
  type Variable,
} from "@everlong/core";
import type { Module } from "@everlong/nn";
import {
  groupParameters,
  scalarVariable,
  slot,
  type GroupedParameter,
  type GroupOptions,
  type Optimizer,
} from "./optimizer.ts";

export interface AdamWOptions extends GroupOptions {
  /** Decay rates of the two moments. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
}

/**
 * `m = b1 m + (1 - b1) g`, `v = b2 v + (1 - b2) g^2`,
 * `p = p - lr (decay p + (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps))`; the decay is decoupled from the gradient.
 */
export class AdamW implements Optimizer {
  readonly parameters: readonly GroupedParameter[];
  readonly learningRate: Variable;
  readonly state: ReadonlyMap<string, Variable>;
  readonly #step: Variable;
  readonly #first: readonly Variable[];
  readonly #second: readonly Variable[];
  readonly #betas: readonly [number, number];
  readonly #eps: number;

  constructor(of: Module | ReadonlyMap<string, Variable>, options: AdamWOptions) {
    checkOptions("AdamW", options, ["learningRate", "weightDecay", "groups", "betas", "eps"]);
    this.parameters = groupParameters(of, options);
    this.learningRate = scalarVariable("learning_rate", options.learningRate);
    this.#betas = options.betas ?? [0.9, 0.999];
    this.#eps = options.eps ?? 1e-8;
    this.#step = scalarVariable("step", 0);
    this.#first = this.parameters.map((p) => slot(p, "exp_avg"));
    this.#second = this.parameters.map((p) => slot(p, "exp_avg_sq"));
    this.state = new Map([this.#step, ...this.#first, ...this.#second].map((v) => [v.name, v]));
  }

  apply(gradients: readonly Tensor[]): void {
    const [b1, b2] = this.#betas;
    const t = add(this.#step.value, 1);
    this.#step.value = t;
    const rate = this.learningRate.value;
    // Scalars of the step, shared by all parameters.
    const stepSize = div(rate, sub(1, pow(b1, t)));
    const correction = sqrt(sub(1, pow(b2, t)));
    const scaled = shared((scale: number) => (scale === 1 ? stepSize : mul(stepSize, scale)));
    const shrinks = shared((decay: number) => sub(1, mul(rate, decay)));
    this.parameters.forEach(({ variable, weightDecay, rateScale }, i) => {
      const g = gradients[i]!;
      const m = add(mul(this.#first[i]!.value, b1), mul(g, 1 - b1));
      const v = add(mul(this.#second[i]!.value, b2), mul(square(g), 1 - b2));
      const update = div(mul(m, scaled(rateScale)), add(div(sqrt(v), correction), this.#eps));
      const p = variable.value;
      const kept = weightDecay === 0 ? p : mul(p, shrinks(weightDecay * rateScale));
      this.#first[i]!.value = m;
      this.#second[i]!.value = v;
      variable.value = sub(kept, update);
    });
  }
}

/** One tensor for equal numbers. */
function shared(make: (x: number) => Tensor): (x: number) => Tensor {
  const made = new Map<number, Tensor>();
  return (x) => {
    const known = made.get(x) ?? make(x);
    made.set(x, known);
    return known;
  };
}
