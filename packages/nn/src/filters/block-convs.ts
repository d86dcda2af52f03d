// Continuation of convolutions that begin anew with every block of positions, one position at a time. What mixers with blocks
// put into their state; convolutions without blocks have a faster way, see `OnlineConvs`.

import {
  ConfigError,
  add,
  broadcastTo,
  clamp,
  concat,
  equal,
  full,
  iota,
  lessEqual,
  mod,
  mul,
  narrow,
  pad,
  reshape,
  sub,
  sum,
  take,
  takeAlong,
  unsqueeze,
  where,
  type Tensor,
} from "@everlong/core";
import type { MixerState } from "../mixer.ts";
import type { StartedConv } from "./online-convs.ts";

export interface BlockLimits {
  /** Positions S of a block. */
  readonly block: number;
  /** Positions that will ever be held, prompt included. */
  readonly capacity: number;
  /** Most positions that the layer is made for. */
  readonly longest: number;
  /** Real positions of every row, `[B]` i32, which stand first. Default: all. */
  readonly lengths?: Tensor | undefined;
}

/**
 * The convolutions of one layer during generation. Their state holds `place` `[B]` i32, the next position's number in its
 * row's block, and per convolution o `window<o>` `[B, S, C]`, the inputs of the block so far, and `taps<o>` `[S, C]`. A
 * position costs S products for each channel; rows may be at different places.
 */
export class BlockConvs {
  readonly #before: MixerState;
  readonly #after: Record<string, Tensor> = {};
  #count = 0;

  /**
   * @param convs inputs `[B, P, C]` with the real positions first
   * @throws ConfigError if the capacity does not hold the prompt or exceeds the layer
   */
  static start(layer: string, convs: readonly StartedConv[], limits: BlockLimits): MixerState {
    const { block, capacity, longest } = limits;
    const [batch, prompt] = convs[0]!.inputs.shape as [number, number, number];
    if (!(capacity >= prompt && capacity <= longest)) {
      throw new ConfigError(`${layer}.prefill`, "the capacity must hold the prompt and fit the filter", {
        expected: `${prompt} to ${longest}`,
        got: `${capacity}`,
      });
    }
    const { device } = convs[0]!.inputs;
    const lengths = limits.lengths ?? full([batch], prompt, { dtype: "i32", device });
    const place = mod(lengths, block);
    // The block that is open begins here; where none is, nothing of the window counts.
    const from = unsqueeze(sub(lengths, place), -1);
    const at = clamp(add(from, iota([batch, block], 1, { device })), 0, prompt - 1);
    const state: Record<string, Tensor> = { place };
    for (const [o, { inputs, taps, skip }] of convs.entries()) {
      const channels = inputs.shape[2]!;
      const where = broadcastTo(unsqueeze(at, -1), [batch, block, channels]);
      state[`window${o}`] = takeAlong(inputs, where, 1);
      const reach = Math.min(taps.shape[0]!, block);
      const near = pad(narrow(taps, 0, 0, reach), [
        [0, block - reach],
        [0, 0],
      ]);
      // A skip is a weight at lag 0.
      const first = narrow(near, 0, 0, 1);
      const own = skip ? add(first, reshape(skip, [1, channels])) : first;
      state[`taps${o}`] = block === 1 ? own : concat([own, narrow(near, 0, 1, block)], 0);
    }
    return state;
  }

  constructor(state: MixerState) {
    this.#before = state;
  }

  /** The output `[B, C]` of the layer's next convolution, given its input `[B, C]` at this position. */
  next(u: Tensor): Tensor {
    const o = this.#count++;
    const [taps, window] = [this.#before[`taps${o}`]!, this.#before[`window${o}`]!];
    const [batch, block] = window.shape as [number, number, number];
    const place = unsqueeze(this.#before["place"]!, -1);
    const slot = iota([batch, block], 1, { device: u.device });
    const held = where(unsqueeze(equal(slot, place), -1), unsqueeze(u, 1), window);
    const lag = clamp(sub(place, slot), 0, block - 1);
    const terms = mul(held, take(taps, lag, 0));
    this.#after[`window${o}`] = held;
    this.#after[`taps${o}`] = taps;
    return sum(where(unsqueeze(lessEqual(slot, place), -1), terms, 0), 1);
  }

  /** The state after this position. */
  get state(): MixerState {
    const { place } = this.#before;
    const block = this.#before["taps0"]!.shape[0]!;
    return { place: mod(add(place!, 1), block), ...this.#after };
  }
}
