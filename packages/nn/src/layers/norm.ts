// Normalisation over the last axis.

import { ConfigError, ones, zeros, type Device, type Tensor, type Variable } from "@everlong/core";
import { layerNorm, rmsNorm } from "@everlong/kernels";
import { parameter } from "../layer.ts";

export interface NormOptions {
  readonly dim: number;
  /** Added to the variance (to the mean square). Default 1e-5. */
  readonly eps?: number;
  readonly device?: Device;
}

/** Zero mean and unit variance over the last axis, then scale and shift (Ba et al. 2016). */
export class LayerNorm {
  /** `[dim]`. */
  readonly weight: Variable;
  /** `[dim]`. */
  readonly bias: Variable;
  readonly eps: number;

  constructor(options: NormOptions) {
    this.eps = options.eps ?? 1e-5;
    const on = options.device ? { device: options.device } : {};
    this.weight = parameter(ones([options.dim], on), { weightDecay: 0 });
    this.bias = parameter(zeros([options.dim], on), { weightDecay: 0 });
  }

  forward(x: Tensor): Tensor {
    return layerNorm(x, this.weight.value, this.bias.value, { eps: this.eps });
  }
}

/** Unit mean square over the last axis, then scale (Zhang & Sennrich 2019). */
export class RMSNorm {
  /** `[dim]`. */
  readonly weight: Variable;
  readonly eps: number;

  constructor(options: NormOptions) {
    this.eps = options.eps ?? 1e-5;
    this.weight = parameter(ones([options.dim], options.device ? { device: options.device } : {}), {
      weightDecay: 0,
    });
  }

  forward(x: Tensor): Tensor {
    return rmsNorm(x, this.weight.value, undefined, { eps: this.eps });
  }
}

export const NORMS = ["layer", "rms"] as const;
export type NormName = (typeof NORMS)[number];

/** A norm by name. */
export function makeNorm(name: NormName, options: NormOptions): LayerNorm | RMSNorm {
  if (name === "layer") return new LayerNorm(options);
  if (name === "rms") return new RMSNorm(options);
  throw new ConfigError("norm", `unknown norm "${String(name)}"`, { expected: NORMS.join(" or ") });
}
