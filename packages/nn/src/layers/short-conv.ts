// Short causal depthwise convolution over time.

import {
  ConfigError,
  concat,
  narrow,
  random,
  squeeze,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fanInUniform } from "../initial.ts";
import { parameter } from "../layer.ts";
import { shortConv } from "@everlong/kernels";

export interface ShortConvOptions {
  readonly key: Tensor;
  readonly channels: number;
  /** Number of taps W. Default 3. */
  readonly width?: number;
  /** Default true. */
  readonly bias?: boolean;
}

/** `y[t] = sum_j w[c, j] x[t + j - (W - 1)] + b`, per channel: `[B, T, C]` to `[B, T, C]`. Names and layout of torch's grouped Conv1d. */
export class ShortConv {
  /** `[C, 1, W]`; the last tap acts on the present. */
  readonly weight: Variable;
  /** `[C]`. */
  readonly bias: Variable | undefined;
  readonly width: number;

  constructor(options: ShortConvOptions) {
    const { key, channels, width = 3, bias = true } = options;
    if (!Number.isInteger(width) || width < 1)
      throw new ConfigError("ShortConv", "width must be a positive integer", { got: `${width}` });
    this.width = width;
    const [weightKey, biasKey] = random.splitKey(key) as [Tensor, Tensor];
    this.weight = parameter(fanInUniform(weightKey, [channels, 1, width], width));
    if (bias) this.bias = parameter(fanInUniform(biasKey, [channels], width));
  }

  /** @param x `[B, T, C]` */
  forward(x: Tensor): Tensor {
    return shortConv(x, this.weight.value, this.bias ? { bias: this.bias.value } : {});
  }

  /** One position: `x` and `y` `[B, C]`, `tail` the W - 1 inputs before it, `[B, W - 1, C]`. */
  step(x: Tensor, tail: Tensor): { readonly y: Tensor; readonly tail: Tensor } {
    const window = concat([tail, unsqueeze(x, 1)], 1);
    const now = narrow(this.forward(window), 1, this.width - 1, this.width);
    return { y: squeeze(now, 1), tail: narrow(window, 1, 1, this.width) };
  }
}
