// The optimiser contract, parameter groups, and what all optimisers share. It is not: a loop, a schedule.

import { add, ConfigError, mul, tensor, Variable, zeros, type Device, type Tensor } from "@everlong/core";
import { hintsOf, parameters, type Module } from "@everlong/nn";

/** One parameter with what its group says. */
export interface GroupedParameter {
  readonly name: string;
  readonly variable: Variable;
  readonly weightDecay: number;
  /** Whether the decay is the optimiser's own: neither a layer's hint nor a group says otherwise. */
  readonly usesBaseDecay: boolean;
  /** Factor on the scheduled learning rate. */
  readonly rateScale: number;
}

/** An optimiser over a fixed list of parameters. Called inside a compiled step: every number that changes is a Variable. */
export interface Optimizer {
  readonly parameters: readonly GroupedParameter[];
  /** The learning rate it was made with. */
  readonly baseRate: number;
  /** Scalar learning rate of the next update; schedules assign it. */
  readonly learningRate: Variable;
  /** Updates made so far, an i32 scalar. */
  readonly step: Variable;
  /** Slots and the step by name, for checkpoints. */
  readonly state: ReadonlyMap<string, Variable>;
  /**
   * Updates the parameters from gradients in the order of `parameters`.
   * @param baseDecay a scalar in place of the base weight decay, for runs that differ in it
   */
  apply(gradients: readonly Tensor[], baseDecay?: Tensor): void;
}

/** Overrides for parameters whose name a group matches; later groups win. */
export interface ParameterGroup {
  readonly match: RegExp | ((name: string, variable: Variable) => boolean);
  readonly weightDecay?: number;
  /** Learning rate where others have the base rate; the schedule still scales it. */
  readonly learningRate?: number;
}

export interface GroupOptions {
  /** Base learning rate; must be positive. */
  readonly learningRate: number;
  /** Default 0. */
  readonly weightDecay?: number;
  /**
   * Follow what layers say about their parameters (no decay of norms, the slow rates of Hyena's position features).
   * Default true; the original MAD protocol does not.
   */
  readonly hints?: boolean;
  readonly groups?: readonly ParameterGroup[];
}

export const GROUP_OPTIONS: readonly (keyof GroupOptions)[] = [
  "learningRate",
  "weightDecay",
  "hints",
  "groups",
];

/** The parameters of a module (or a named list of variables) with group settings and layer hints resolved. */
export function groupParameters(
  op: string,
  of: Module | ReadonlyMap<string, Variable>,
  options: GroupOptions,
): GroupedParameter[] {
  const { learningRate, weightDecay = 0, hints: follow = true, groups = [] } = options;
  if (!(learningRate > 0)) {
    throw new ConfigError(op, "learning rate must be positive", { got: `${learningRate}` });
  }
  if (!(weightDecay >= 0)) {
    throw new ConfigError(op, "weight decay must not be negative", { got: `${weightDecay}` });
  }
  const named = of instanceof Map ? (of as ReadonlyMap<string, Variable>) : parameters(of);
  if (named.size === 0) throw new ConfigError(op, "the module has no trainable parameters");
  const hit = groups.map(() => false);
  const made = [...named].map(([name, variable]) => {
    const hints = follow ? hintsOf(variable) : {};
    let decay = hints.weightDecay;
    let rate = hints.learningRate ?? learningRate;
    groups.forEach((g, i) => {
      if (!(g.match instanceof RegExp ? g.match.test(name) : g.match(name, variable))) return;
      hit[i] = true;
      decay = g.weightDecay ?? decay;
      rate = g.learningRate ?? rate;
    });
    return {
      name,
      variable,
      weightDecay: decay ?? weightDecay,
      usesBaseDecay: decay === undefined,
      rateScale: rate / learningRate,
    };
  });
  const idle = hit.indexOf(false);
  if (idle >= 0) {
    throw new ConfigError(op, `parameter group ${idle} matches nothing`, {
      got: String(groups[idle]!.match),
      hint: `Names look like "${made[0]!.name}".`,
    });
  }
  return made;
}

/** A scalar held in a variable. */
export const scalarVariable = (name: string, value: number, device: Device): Variable =>
  new Variable(tensor(value, { device }), { name, trainable: false });

/** The count of updates, 0 at first. */
export const stepVariable = (device: Device): Variable =>
  new Variable(tensor(0, { dtype: "i32", device }), { name: "step", trainable: false });

/** Adds one to the count; returns it. */
export function countStep(step: Variable): Tensor {
  const next = add(step.value, 1);
  step.value = next;
  return next;
}

/** The rate times a factor, one tensor for equal factors. */
export function scaledRates(rate: Tensor): (scale: number) => Tensor {
  const made = new Map<number, Tensor>([[1, rate]]);
  return (scale) => {
    const known = made.get(scale) ?? mul(rate, scale);
    made.set(scale, known);
    return known;
  };
}

/** Zeros shaped like a parameter. */
export function slot(parameter: GroupedParameter, name: string): Variable {
  const { shape, dtype, current } = parameter.variable;
  return new Variable(zeros(shape, { dtype, device: current.device }), {
    name: `${parameter.name}.${name}`,
    trainable: false,
  });
}
