// A gated short convolution as the only mixer: the honest baseline that sees a few positions back and no more.

import { checkOptions, mul, narrow, random, unsqueeze, where, type Tensor } from "@everlong/core";
import type { ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { concat, squeeze } from "@everlong/core";
import { lastReal } from "./padding.ts";

export interface ShortConvMixerOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Taps; the layer sees `width - 1` positions back. Default 4. */
  readonly width?: number;
}

/** `out(g * conv(v))` with `g, v` projections of the input. */
export class ShortConvMixer implements Mixer {
  readonly inProj: Linear;
  readonly conv: ShortConv;
  readonly outProj: Linear;
  readonly causal = true;
  readonly dim: number;

  constructor(options: ShortConvMixerOptions) {
    checkOptions("ShortConvMixer", options, ["key", "dim", "width"]);
    const { key, dim, width = 4 } = options;
    const [a, b, c] = random.splitKey(key, 3) as [Tensor, Tensor, Tensor];
    this.dim = dim;
    this.inProj = new Linear({ key: a, inputs: dim, outputs: 2 * dim });
    this.conv = new ShortConv({ key: b, channels: dim, width });
    this.outProj = new Linear({ key: c, inputs: dim, outputs: dim });
  }

  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const { gate, value } = this.#project(x, options);
    return this.outProj.forward(mul(gate, this.conv.forward(value)));
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    const { gate, value } = this.#project(x, options);
    const tail = lastReal(value, this.conv.width - 1, options.mask);
    return { y: this.outProj.forward(mul(gate, this.conv.forward(value))), state: { tail } };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { gate, value } = this.#project(unsqueeze(x, 1), {});
    const wide = concat([state["tail"]!, value], 1);
    const out = narrow(this.conv.forward(wide), 1, this.conv.width - 1, this.conv.width);
    return {
      y: squeeze(this.outProj.forward(mul(gate, out)), 1),
      state: { tail: narrow(wide, 1, 1, this.conv.width) },
    };
  }

  stateBytes(): number {
    return 4 * this.dim * (this.conv.width - 1);
  }

  flops(time: number): number {
    return 2 * time * (3 * this.dim * this.dim + this.conv.width * this.dim);
  }

  #project(x: Tensor, options: ForwardOptions): { gate: Tensor; value: Tensor } {
    const both = this.inProj.forward(x);
    const value = narrow(both, -1, this.dim, 2 * this.dim);
    return {
      gate: narrow(both, -1, 0, this.dim),
      value: options.mask ? where(unsqueeze(options.mask, -1), value, 0) : value,
    };
  }
}
