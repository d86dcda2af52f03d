// Long inputs in parts: what the parts so far add to later outputs, carried by the convolutions of a layer.

import type { Tensor } from "@everlong/core";
import { chunkedConv } from "@everlong/kernels";
import type { MixerState } from "../mixer.ts";

/** The convolutions of one layer over a part of its input, in the order of the calls; the state holds `carry<o>`. */
export class CarriedConvs {
  readonly #before: MixerState | undefined;
  readonly #after: Record<string, Tensor> = {};
  #count = 0;

  /** @param state what the part before left; default: nothing came before */
  constructor(state: MixerState | undefined) {
    this.#before = state;
  }

  /** The next convolution of the layer: `u` `[B, T, C]` with taps `[J, C]` and skip weights `[C]`. */
  next(u: Tensor, taps: Tensor, skip?: Tensor): Tensor {
    const name = `carry${this.#count++}`;
    const before = this.#before?.[name];
    const { y, carry } = chunkedConv(u, taps, {
      ...(before ? { carry: before } : {}),
      ...(skip ? { skip } : {}),
    });
    this.#after[name] = carry;
    return y;
  }

  /** The state for the part that follows. */
  get state(): MixerState {
    return this.#after;
  }
}
