// Exact continuation of long convolutions, one position at a time, in O(T log^2 T) for T positions. What mixers with long
// filters put into their state.

import {
  Complex,
  ConfigError,
  add,
  concat,
  full,
  narrow,
  pad,
  reshape,
  zeros,
  type Tensor,
} from "@everlong/core";
import { onlineConv, onlineConvStart } from "@everlong/kernels";
import { modalState, modalStep, type ModalRecurrence } from "../distillation/modal-recurrence.ts";
import type { MixerState } from "../mixer.ts";

/** A convolution of a layer after its prompt. */
export interface StartedConv {
  /** Inputs `[B, P, C]`, the last real one of every row at P - 1 and zeros in front. */
  readonly inputs: Tensor;
  /** `[J, C]`, those from J on being 0. */
  readonly taps: Tensor;
  /** `[C]`: weight of the input itself. */
  readonly skip?: Tensor | undefined;
}

export interface OnlineLimits {
  /** Positions that will ever be held, prompt included. */
  readonly capacity: number;
  /** Most positions that the filters are made for. Default: any. */
  readonly longest?: number;
  /** Recurrences in place of the filters; then neither limit holds. */
  readonly modal?: readonly ModalRecurrence[] | undefined;
}

/**
 * The convolutions of one layer during generation. Their state holds, per convolution o, `held<o>` `[B, G, C]` (one slot for
 * each position after the prompt: its input once it came, until then what the past adds to its output), `taps<o>` `[G, C]`,
 * and a `clock`. Distilled
 * ones hold `re<o>` and `im<o>` `[B, C, M]` instead.
 */
export class OnlineConvs {
  readonly #before: MixerState;
  readonly #modal: readonly ModalRecurrence[] | undefined;
  readonly #after: Record<string, Tensor> = {};
  #count = 0;

  /** @throws ConfigError if the capacity does not hold the prompt or exceeds the filters */
  static start(layer: string, convs: readonly StartedConv[], limits: OnlineLimits): MixerState {
    const { capacity, longest = Number.POSITIVE_INFINITY, modal } = limits;
    if (modal) return modalStart(convs, modal);
    const state: Record<string, Tensor> = {
      clock: zeros([], { dtype: "i32", device: convs[0]!.inputs.device }),
    };
    for (const [o, { inputs, taps, skip }] of convs.entries()) {
      const [batch, prompt, channels] = inputs.shape as [number, number, number];
      if (!(capacity >= prompt && capacity <= longest)) {
        throw new ConfigError(`${layer}.prefill`, "the capacity must hold the prompt and fit the filter", {
          expected: longest < Number.POSITIVE_INFINITY ? `${prompt} to ${longest}` : `at least ${prompt}`,
          got: `${capacity}`,
        });
      }
      const slots = capacity - prompt;
      const on = { dtype: inputs.dtype, device: inputs.device };
      if (slots === 0) {
        // No position is left: a step gives NaN.
        state[`held${o}`] = full([batch, 1, channels], Number.NaN, on);
        state[`taps${o}`] = zeros([1, channels], on);
        continue;
      }
      const reach = Math.min(taps.shape[0]!, slots);
      const near = pad(narrow(taps, 0, 0, reach), [
        [0, slots - reach],
        [0, 0],
      ]);
      state[`held${o}`] = onlineConvStart(
        inputs,
        narrow(taps, 0, 0, Math.min(taps.shape[0]!, capacity)),
        slots,
      );
      // A skip is a weight at lag 0.
      const first = narrow(near, 0, 0, 1);
      const own = skip ? add(first, reshape(skip, [1, channels])) : first;
      state[`taps${o}`] = slots === 1 ? own : concat([own, narrow(near, 0, 1, slots)], 0);
    }
    return state;
  }

  /** @param modal as at the start */
  constructor(state: MixerState, modal?: readonly ModalRecurrence[]) {
    this.#before = state;
    this.#modal = modal;
  }

  /** The output `[B, C]` of the layer's next convolution, given its input `[B, C]` at this position. */
  next(u: Tensor): Tensor {
    const o = this.#count++;
    const filter = this.#modal?.[o];
    if (filter) {
      const before = new Complex(this.#before[`re${o}`]!, this.#before[`im${o}`]!);
      const { y, state } = modalStep(u, before, filter);
      this.#after[`re${o}`] = state.re;
      this.#after[`im${o}`] = state.im;
      return y;
    }
    const taps = this.#before[`taps${o}`]!;
    const { y, held } = onlineConv(u, taps, this.#before[`held${o}`]!, this.#before["clock"]!);
    this.#after[`held${o}`] = held;
    this.#after[`taps${o}`] = taps;
    return y;
  }

  /** The state after this position. */
  get state(): MixerState {
    if (this.#modal) return this.#after;
    return { clock: add(this.#before["clock"]!, 1), ...this.#after };
  }
}

function modalStart(convs: readonly StartedConv[], modal: readonly ModalRecurrence[]): MixerState {
  const state: Record<string, Tensor> = {};
  for (const [o, { inputs }] of convs.entries()) {
    const { re, im } = modalState(inputs, modal[o]!);
    state[`re${o}`] = re;
    state[`im${o}`] = im;
  }
  return state;
}
