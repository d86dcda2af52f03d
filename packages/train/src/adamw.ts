// AdamW (Loshchilov & Hutter 2019, algorithm 2), with torch's defaults.

import { cast, checkOptions, type Tensor, type Variable } from "@everlong/core";
import { adamwUpdate } from "@everlong/kernels";
import type { Module } from "@everlong/nn";
import {
  countStep,
  groupParameters,
  GROUP_OPTIONS,
  scaledRates,
  scalarVariable,
  slot,
  stepVariable,
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
  readonly baseRate: number;
  readonly learningRate: Variable;
  readonly step: Variable;
  readonly state: ReadonlyMap<string, Variable>;
  readonly #first: readonly Variable[];
  readonly #second: readonly Variable[];
  readonly #betas: readonly [number, number];
  readonly #eps: number;

  constructor(of: Module | ReadonlyMap<string, Variable>, options: AdamWOptions) {
    checkOptions("AdamW", options, [...GROUP_OPTIONS, "betas", "eps"]);
    this.parameters = groupParameters("AdamW", of, options);
    const { device } = this.parameters[0]!.variable.current;
    this.baseRate = options.learningRate;
    this.learningRate = scalarVariable("learning_rate", options.learningRate, device);
    this.step = stepVariable(device);
    this.#betas = options.betas ?? [0.9, 0.999];
    this.#eps = options.eps ?? 1e-8;
    this.#first = this.parameters.map((p) => slot(p, "exp_avg"));
    this.#second = this.parameters.map((p) => slot(p, "exp_avg_sq"));
    this.state = new Map([this.step, ...this.#first, ...this.#second].map((v) => [v.name, v]));
  }

  apply(gradients: readonly Tensor[], baseDecay?: Tensor): void {
    // One number for all parameters, in their dtype.
    const step = cast(countStep(this.step), this.learningRate.dtype);
    const rate = scaledRates(this.learningRate.value);
    this.parameters.forEach(({ variable, weightDecay: own, usesBaseDecay, rateScale }, i) => {
      const weightDecay = (usesBaseDecay ? baseDecay : undefined) ?? own;
      const [first, second] = [this.#first[i]!, this.#second[i]!];
      const { p, m, v } = adamwUpdate(
        { p: variable.value, g: gradients[i]!, m: first.value, v: second.value },
        rate(rateScale),
        step,
        { betas: this.#betas, eps: this.#eps, weightDecay },
      );
      [variable.value, first.value, second.value] = [p, m, v];
    });
  }
}
