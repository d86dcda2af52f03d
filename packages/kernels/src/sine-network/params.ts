// What a sine network is given, and which of it has a gradient.

/** `w0`, `b0`, `w1`, ...: weights and biases by layer; the last layer has no activation. */
export type SineNetworkInput = "z" | "frequency" | "time" | "decay" | "dy" | `w${number}` | `b${number}`;

export interface SineNetworkParams {
  /** Layers with an activation; one more follows them. */
  readonly hidden: number;
  /** Added to the window. */
  readonly shift: number;
  readonly inputs: readonly SineNetworkInput[];
}

/** Inputs that the gradient op gives gradients of, in the order of its outputs. */
export const trained = (inputs: readonly SineNetworkInput[]): SineNetworkInput[] =>
  inputs.filter((n) => n !== "time" && n !== "decay" && n !== "dy");
