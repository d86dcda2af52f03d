// What layers ask of a state space, whatever its parameters.

import type { Complex, Tensor } from "@everlong/core";

/** A linear state space per channel: a convolution kernel, and the recurrence that makes the same numbers. */
export interface SsmKernel {
  readonly channels: number;
  /** Outputs C of each channel. */
  readonly outputs: number;
  /** Complex numbers M that a channel carries. */
  readonly modes: number;
  /** Whether step and carried state exist. */
  readonly steps: boolean;
  /** `[C, H, length]`; step sizes are `rate` times as long. */
  kernel(length: number, rate?: number): Tensor;
  /** What a state `[B, H, M]` adds to the next `length` outputs: `[B, C, H, length]`. */
  kernelOfState(state: Complex, length: number, rate?: number): Tensor;
  /** The state after `u` `[B, H, T]`. */
  advance(u: Tensor, state?: Complex): Complex;
  /** One position: `u` `[B, H]`, `y` `[B, C, H]`. */
  step(u: Tensor, state: Complex): { readonly y: Tensor; readonly state: Complex };
  flops(length: number): number;
}
