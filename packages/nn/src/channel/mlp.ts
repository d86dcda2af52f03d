// Two-layer perceptron over channels.

import { checkOptions, random, type Tensor } from "@everlong/core";
import { ACTIVATIONS, type Activation } from "@everlong/kernels";
import type { ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import type { ChannelMixer } from "../mixer.ts";

export interface MlpOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Default 4 dim. */
  readonly inner?: number;
  /** Default "gelu-tanh", the GELU of GPT-2 and mad-lab. */
  readonly activation?: string;
  /** Default true. */
  readonly bias?: boolean;
  /** After the activation and at the end. Default 0. */
  readonly dropout?: number;
}

/** `proj(act(fc(x)))`. */
export class Mlp implements ChannelMixer {
  readonly fc: Linear;
  readonly proj: Linear;
  readonly activation: ActivationName;
  readonly dropout: number;

  constructor(options: MlpOptions) {
    checkOptions("Mlp", options, ["key", "dim", "inner", "activation", "bias", "dropout"]);
    const { key, dim, inner = 4 * dim, activation = "gelu-tanh", bias = true } = options;
    const [a, b] = random.splitKey(key) as [Tensor, Tensor];
    this.fc = new Linear({ key: a, inputs: dim, outputs: inner, bias });
    this.proj = new Linear({ key: b, inputs: inner, outputs: dim, bias });
    this.activation = activationName(activation);
    this.dropout = checkRate("Mlp", options.dropout ?? 0);
  }

  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    // The product takes the activation along where its kernel knows it.
    const fused = (ACTIVATIONS as readonly string[]).includes(this.activation);
    const inner = fused
      ? this.fc.forward(x, this.activation as Activation)
      : activate(this.activation, this.fc.forward(x));
    return dropout(
      this.proj.forward(dropout(inner, this.dropout, options.key, 0)),
      this.dropout,
      options.key,
      1,
    );
  }

  flops(time: number): number {
    const [inner, dim] = this.fc.weight.shape as [number, number];
    return 4 * time * inner * dim;
  }
}
