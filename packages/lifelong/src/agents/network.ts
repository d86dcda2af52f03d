import { add, random, slice, type Tensor } from "@everlong/core";
import { findLayer, Linear, type Mixer } from "@everlong/nn";

export interface NetworkOptions {
  /** Random key of the initial values. */
  readonly key: Tensor;
  /** Inputs F of one observation. */
  readonly inputs: number;
  readonly outputs: number;
  /** Width D of the hidden layers. */
  readonly hidden: number;
  /** Number of hidden layers, at least 1. */
  readonly layers: number;
  /** Sequence mixer of the registry, by name; `none`: no memory. */
  readonly memory: string;
  /** Observations T that the memory sees. */
  readonly history: number;
}

/**
 * Perceptron over observations, with an optional memory: the hidden states of the last T observations pass a causal
 * sequence mixer with a residual, and the last one goes on.
 */
export class Network {
  readonly hidden: readonly Linear[];
  readonly memory: Mixer | undefined;
  readonly head: Linear;

  constructor(options: NetworkOptions) {
    const { inputs, outputs, hidden, layers, memory, history } = options;
    const keys = random.splitKey(options.key, layers + 2);
    this.hidden = Array.from(
      { length: layers },
      (_, i) => new Linear({ key: keys[i]!, inputs: i === 0 ? inputs : hidden, outputs: hidden }),
    );
    this.memory =
      memory === "none"
        ? undefined
        : (findLayer(memory).build({ key: keys[layers]!, dim: hidden, maxLength: history }) as Mixer);
    this.head = new Linear({ key: keys[layers + 1]!, inputs: hidden, outputs });
  }

  /**
   * @param x `[B, T, F]`, or `[B, F]` without memory
   * @returns `[B, N]`, one value an output
   */
  forward(x: Tensor): Tensor {
    let h = x;
    for (const layer of this.hidden) h = layer.forward(h, "relu");
    if (this.memory === undefined) return this.head.forward(h);
    return this.head.forward(slice(add(h, this.memory.forward(h)), [null, -1]));
  }
}
