// Stochastic gradient descent with momentum, as torch's.

import { checkOptions, type Tensor, type Variable } from "@everlong/core";
import { sgdUpdate } from "@everlong/kernels";
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

export interface SgdOptions extends GroupOptions {
  /** Default 0. */
  readonly momentum?: number;
  /** Looks one step of momentum ahead. Default false. */
  readonly nesterov?: boolean;
}

/** `v = momentum v + g + decay p`, `p = p - lr v`; here the decay is an L2 penalty and joins the gradient. */
export class Sgd implements Optimizer {
  readonly parameters: readonly GroupedParameter[];
  readonly baseRate: number;
  readonly learningRate: Variable;
  readonly step: Variable;
  readonly state: ReadonlyMap<string, Variable>;
  readonly #velocity: readonly Variable[];
  readonly #momentum: number;
  readonly #nesterov: boolean;

  constructor(of: Module | ReadonlyMap<string, Variable>, options: SgdOptions) {
    checkOptions("Sgd", options, [...GROUP_OPTIONS, "momentum", "nesterov"]);
    this.parameters = groupParameters("Sgd", of, options);
    const { device } = this.parameters[0]!.variable.current;
    this.baseRate = options.learningRate;
    this.learningRate = scalarVariable("learning_rate", options.learningRate, device);
    this.step = stepVariable(device);
    this.#momentum = options.momentum ?? 0;
    this.#nesterov = options.nesterov ?? false;
    this.#velocity = this.parameters.map((p) => slot(p, "momentum_buffer"));
    this.state = new Map([this.step, ...this.#velocity].map((v) => [v.name, v]));
  }

  apply(gradients: readonly Tensor[], baseDecay?: Tensor): void {
    countStep(this.step);
    const rate = scaledRates(this.learningRate.value);
    this.parameters.forEach(({ variable, weightDecay: own, usesBaseDecay, rateScale }, i) => {
      const weightDecay = (usesBaseDecay ? baseDecay : undefined) ?? own;
      const velocity = this.#velocity[i]!;
      const next = sgdUpdate(
        { p: variable.value, g: gradients[i]!, velocity: velocity.value },
        rate(rateScale),
        { momentum: this.#momentum, nesterov: this.#nesterov, weightDecay },
      );
      [variable.value, velocity.value] = [next.p, next.velocity];
    });
  }
}
