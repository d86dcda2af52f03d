// Options of state spaces.

import type { Tensor } from "@everlong/core";
import type { InputStart, SsmStart } from "./start.ts";
import type { PositiveTransform } from "./transform.ts";

export const DISCRETIZATIONS = ["zoh", "bilinear", "dss"] as const;
/** How the continuous system is sampled: zero-order hold, bilinear, or DSS's softmax over time (kernel only). */
export type Discretization = (typeof DISCRETIZATIONS)[number];

/**
 * Names and shapes of the parameters, and the sign of stored frequencies:
 * - `s4`: state-spaces/s4's kernels. `dt [H, 1 or N/2]`, `B [1, S, N/2, 2]`, `C [C, H, N/2, 2]`, `A_real`, `A_imag` `[S, N/2]`
 *   with modes `-a_real - i a_imag`.
 * - `h3`: `dt [H]`, `B [S, N/2, 2]`, modes `-a_real + i a_imag`.
 * - `minimal`: s4d.py. As `h3` without B (ones), `C [H, N/2, 2]`.
 */
export type SsmLayout = "s4" | "h3" | "minimal";

/** What mixers pass on. */
export interface SsmSettings {
  /** State size N; N/2 complex modes (N real ones with `real`). Default 64. */
  readonly stateSize?: number;
  readonly start?: SsmStart;
  /** First input vectors of diagonal starts. Default constant. */
  readonly inputStart?: InputStart;
  /** Scales first input vectors to unit variance. Default false. */
  readonly normalize?: boolean;
  readonly discretization?: Discretization;
  /** Step sizes start log-uniform between these. Defaults 0.001 and 0.1. */
  readonly minStep?: number;
  readonly maxStep?: number;
  /** One step size for all modes of a channel. Default true. */
  readonly tieSteps?: boolean;
  /** Step sizes evenly spread in place of random ones, and `C` reading the first mode. Default false. */
  readonly deterministic?: boolean;
  readonly stepTransform?: PositiveTransform;
  readonly realTransform?: PositiveTransform;
  readonly imagTransform?: PositiveTransform;
  /** Step sizes are stored through asinh. Default false. */
  readonly fastSteps?: boolean;
  /** Modes at or above this fraction of the sampling rate at rate 1, halved, are silent. Default: none. */
  readonly bandlimit?: number;
  /** Independent systems S that channels share. Default H. */
  readonly copies?: number;
  /** Real modes in place of conjugate pairs. Default false. */
  readonly real?: boolean;
  /** Modes are taken at frequency 0 whatever frequencies are stored, H3's `force_real`. Default false. */
  readonly ignoreFrequencies?: boolean;
  /** Rank of the low-rank part (S4 only). Default 1. */
  readonly rank?: number;
  /** Learning-rate hint of step sizes, modes and input vectors; 0 keeps them fixed. */
  readonly learningRate?: number;
  /**
   * The originals' starts: frequencies not below 1e-4, HiPPO's input vector cut at +-2i and not halved for `diag-legs`; and
   * DSS without the conjugate half. Default false.
   */
  readonly compat?: boolean;
}

export interface SsmOptions extends SsmSettings {
  readonly key: Tensor;
  /** Channels H. */
  readonly channels: number;
  /** Outputs of each channel, C. Default 1. */
  readonly outputs?: number;
  readonly layout?: SsmLayout;
}

export const SSM_SETTINGS: readonly (keyof SsmSettings)[] = [
  "stateSize",
  "start",
  "inputStart",
  "normalize",
  "discretization",
  "minStep",
  "maxStep",
  "tieSteps",
  "deterministic",
  "stepTransform",
  "realTransform",
  "imagTransform",
  "fastSteps",
  "bandlimit",
  "copies",
  "real",
  "ignoreFrequencies",
  "rank",
  "learningRate",
  "compat",
];
