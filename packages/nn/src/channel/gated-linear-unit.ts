// Gated linear units over channels (Dauphin et al. 2016; Shazeer 2020).

import { ConfigError, checkOptions, mul, random, type Tensor } from "@everlong/core";
import { ACTIVATIONS, gatedUnit, isMixed, type Activation, type GateActivation } from "@everlong/kernels";
import type { ForwardOptions } from "../layer.ts";
import { activate, activationName, type ActivationName } from "../layers/activation.ts";
import { checkRate, dropout } from "../layers/dropout.ts";
import { Linear } from "../layers/linear.ts";
import type { ChannelMixer } from "../mixer.ts";

export interface GatedLinearUnitOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Default: 8/3 dim, rounded down, then up to a multiple of `multipleOf`. */
  readonly inner?: number;
  /** Default 16. */
  readonly multipleOf?: number;
  /** Of the gate: "silu" makes a SwiGLU (default), "sigmoid" a GLU. */
  readonly activation?: string;
  /** Default false. */
  readonly bias?: boolean;
  /** Of gate, value and result. Default 0. */
  readonly dropout?: number;
}

const isGate = (name: string): name is GateActivation => ["silu", "gelu", "gelu-tanh"].includes(name);

/** `w3(act(w1 x) * w2 x)`. */
export class GatedLinearUnit implements ChannelMixer {
  readonly w1: Linear;
  readonly w2: Linear;
  readonly w3: Linear;
  readonly activation: ActivationName;
  readonly dropout: number;

  constructor(options: GatedLinearUnitOptions) {
    checkOptions("GatedLinearUnit", options, [
      "key",
      "dim",
      "inner",
      "multipleOf",
      "activation",
      "bias",
      "dropout",
    ]);
    const { key, dim, multipleOf = 16, activation = "silu", bias = false } = options;
    if (!Number.isInteger(multipleOf) || multipleOf < 1) {
      throw new ConfigError("GatedLinearUnit", "multipleOf must be a positive integer", {
        got: `${multipleOf}`,
      });
    }
    const inner = options.inner ?? multipleOf * Math.ceil(Math.trunc((2 * dim * 4) / 3) / multipleOf);
    const [a, b, c] = random.splitKey(key, 3) as [Tensor, Tensor, Tensor];
    this.w1 = new Linear({ key: a, inputs: dim, outputs: inner, bias });
    this.w2 = new Linear({ key: b, inputs: dim, outputs: inner, bias });
    this.w3 = new Linear({ key: c, inputs: inner, outputs: dim, bias });
    this.activation = activationName(activation);
    this.dropout = checkRate("GatedLinearUnit", options.dropout ?? 0);
  }

  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const drop = (t: Tensor, site: number): Tensor => dropout(t, this.dropout, options.key, site);
    if (isMixed() && this.dropout === 0 && isGate(this.activation)) {
      const { w1, w2, w3, activation } = this;
      return gatedUnit(x, [w1.weight.value, w2.weight.value, w3.weight.value], {
        activation,
        biases: [w1.bias?.value, w2.bias?.value, w3.bias?.value],
      });
    }
    const fused = (ACTIVATIONS as readonly string[]).includes(this.activation);
    const activated = fused
      ? this.w1.forward(x, this.activation as Activation)
      : activate(this.activation, this.w1.forward(x));
    return drop(this.w3.forward(mul(drop(activated, 0), drop(this.w2.forward(x), 1))), 2);
  }

  flops(time: number): number {
    const [inner, dim] = this.w1.weight.shape as [number, number];
    return 6 * time * inner * dim;
  }
}
