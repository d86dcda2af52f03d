// The optimiser contract, parameter groups, and what all optimisers share. It is not: a loop, a schedule.

import { ConfigError, tensor, Variable, zeros, type Tensor } from "@everlong/core";
import { hintsOf, parameters, type Module } from "@everlong/nn";

/** One parameter with what its group says. */
export interface GroupedParameter {
  readonly name: string;
  readonly variable: Variable;
  /** Decoupled weight decay. */
  readonly weightDecay: number;
  /** Factor on the scheduled learning rate. */
  readonly rateScale: number;
}

/** An optimiser over a fixed list of parameters. Called inside a compiled step: every number that changes is a Variable. */
export interface Optimizer {
  readonly parameters: readonly GroupedParameter[];
  /** Scalar base learning rate; schedules assign it. */
  readonly learningRate: Variable;
  /** Slots and counters by name, for checkpoints. */
  readonly state: ReadonlyMap<string, Variable>;
  /** Updates the parameters from gradients in the order of `parameters`. */
  apply(gradients: readonly Tensor[]): void;
}

/** Overrides for parameters whose name a group matches; later groups win. */
export interface ParameterGroup {
  readonly match: RegExp | ((name: string, variable: Variable) => boolean);
  readonly weightDecay?: number;
  /** Absolute learning rate at schedule value `learningRate`; the schedule still scales it. */
  readonly learningRate?: number;
}

export interface GroupOptions {
  /** Base learning rate; must be positive. */
  readonly learningRate: number;
  /** Default 0. */
  readonly weightDecay?: number;
  readonly groups?: readonly ParameterGroup[];
}

/** The parameters of a module (or a named list of variables) with group settings and layer hints resolved. */
export function groupParameters(
  of: Module | ReadonlyMap<string, Variable>,
  options: GroupOptions,
): GroupedParameter[] {
  const { learningRate, weightDecay = 0, groups = [] } = options;
  if (!(learningRate > 0)) {
    throw new ConfigError("optimizer", "learning rate must be positive", { got: `${learningRate}` });
  }
  const named = of instanceof Map ? (of as ReadonlyMap<string, Variable>) : parameters(of);
  if (named.size === 0) throw new ConfigError("optimizer", "the module has no trainable parameters");
  return [...named].map(([name, variable]) => {
    const hints = hintsOf(variable);
    let decay = hints.weightDecay ?? weightDecay;
    let rate = hints.learningRate ?? learningRate;
    for (const g of groups) {
      const hit = g.match instanceof RegExp ? g.match.test(name) : g.match(name, variable);
      if (!hit) continue;
      decay = g.weightDecay ?? decay;
      rate = g.learningRate ?? rate;
    }
    return { name, variable, weightDecay: decay, rateScale: rate / learningRate };
  });
}

/** A scalar held in a variable. */
export const scalarVariable = (name: string, value: number): Variable =>
  new Variable(tensor(value), { name, trainable: false });

/** Zeros shaped like a parameter. */
export function slot(parameter: GroupedParameter, name: string): Variable {
  const { shape, dtype, current } = parameter.variable;
  return new Variable(zeros(shape, { dtype, device: current.device }), {
    name: `${parameter.name}.${name}`,
    trainable: false,
  });
}
