// Elementwise activations by name.

import {
  ConfigError,
  exp,
  gelu,
  mul,
  narrow,
  neg,
  abs,
  add,
  div,
  erf,
  expm1,
  relu,
  sigmoid,
  silu,
  square,
  sub,
  tanh,
  where,
  greater,
  log1p,
  type Tensor,
} from "@everlong/core";

export const ACTIVATION_NAMES = [
  "identity",
  "relu",
  "gelu",
  "gelu-tanh",
  "silu",
  "tanh",
  "sigmoid",
  "softplus",
  "elu",
  "squared-relu",
  "laplace",
  "glu",
] as const;
type SimpleName = (typeof ACTIVATION_NAMES)[number];
/** `glu-silu` and the like gate with another function than the sigmoid (Shazeer 2020). */
export type ActivationName = SimpleName | `glu-${Exclude<SimpleName, "glu">}`;

const functions: Readonly<Record<SimpleName, (x: Tensor) => Tensor>> = {
  identity: (x: Tensor): Tensor => x,
  relu,
  gelu: (x) => gelu(x),
  "gelu-tanh": (x) => gelu(x, { approximate: true }),
  silu,
  tanh,
  sigmoid,
  softplus: (x) => torchSoftplus(x),
  /** Clevert et al. 2016; the exponential sees no positive value, whose overflow would spoil gradients. */
  elu: (x) => where(greater(x, 0), x, expm1(where(greater(x, 0), 0, x))),
  /** `relu(x)^2` (So et al. 2021, Primer). */
  "squared-relu": (x) => square(relu(x)),
  /** Normal distribution function with mean sqrt(1/2) and standard deviation sqrt(1/(4 pi)) (Ma et al. 2022, Mega). */
  laplace: (x) => mul(add(erf(div(sub(x, Math.SQRT1_2), Math.SQRT2 * Math.sqrt(0.25 / Math.PI))), 1), 0.5),
  /** Halves the last axis: first half times the sigmoid of the second (Dauphin et al. 2016). */
  glu: (x) => gated(x, sigmoid),
};

function gated(x: Tensor, gate: (x: Tensor) => Tensor): Tensor {
  const half = x.shape[x.rank - 1]! / 2;
  return mul(narrow(x, -1, 0, half), gate(narrow(x, -1, half, 2 * half)));
}

/** Whether an activation halves the last axis. */
export const isGated = (name: ActivationName): boolean => name.startsWith("glu");

/** Other names of the same functions. */
const SYNONYMS: Readonly<Record<string, ActivationName>> = {
  id: "identity",
  linear: "identity",
  none: "identity",
  swish: "silu",
  sqrelu: "squared-relu",
  relu2: "squared-relu",
};

/** Applies the activation called `name` (or a synonym: id, linear, none, swish, sqrelu, relu2). */
export function activate(name: string, x: Tensor): Tensor {
  const canonical = activationName(name);
  const gate = canonical.startsWith("glu-") ? (canonical.slice(4) as SimpleName) : undefined;
  return gate ? gated(x, functions[gate]) : functions[canonical as SimpleName](x);
}

/** The canonical name. @throws ConfigError for an unknown one. */
export function activationName(name: string): ActivationName {
  const gate = /^glu-(?!glu)(.*)$/.exec(name)?.[1];
  const inner = gate ?? name;
  const canonical = SYNONYMS[inner] ?? inner;
  if (!Object.hasOwn(functions, canonical)) {
    throw new ConfigError("activation", `unknown activation "${name}"`, {
      expected: `${ACTIVATION_NAMES.join(", ")}, or glu- with one of them`,
    });
  }
  return (gate === undefined ? canonical : `glu-${canonical}`) as ActivationName;
}

// torch returns x itself above 20, where the two agree to 2e-9: kept so that both give the same digits in float64.
const torchSoftplus = (x: Tensor): Tensor =>
  where(greater(x, 20), x, add(mul(add(x, abs(x)), 0.5), log1p(exp(neg(abs(x))))));
