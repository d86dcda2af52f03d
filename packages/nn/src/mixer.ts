// The contract of sequence mixers: one forward pass over [B, T, D], and where the mathematics allows it a prefill and a
// step that give the same numbers one position at a time. It is not: a block (norms and residuals belong to backbones).

import type { Tensor } from "@everlong/core";
import type { ForwardOptions, Layer } from "./layer.ts";

/** What generation carries from one position to the next; plain tensors, so a step can be compiled. */
export type MixerState = { readonly [name: string]: Tensor };

export interface PrefillOptions extends ForwardOptions {
  /** Positions that will ever be held, prompt included; for mixers whose state grows. */
  readonly capacity: number;
}

export interface Mixer extends Layer {
  /** Whether outputs depend on no later input. */
  readonly causal: boolean;
  /** Bytes that generation carries per sequence after `time` positions, in f32. */
  stateBytes(time: number): number;
  /** Floating-point operations of `forward` on `[1, time, D]` (a multiply-add counts 2). */
  flops(time: number): number;
  /**
   * `forward` on a prompt `[B, T, D]`, with the state after it.
   * @returns `y` `[B, T, D]`
   */
  prefill?(x: Tensor, options: PrefillOptions): { readonly y: Tensor; readonly state: MixerState };
  /** One position: `x` and `y` are `[B, D]`. */
  step?(x: Tensor, state: MixerState): { readonly y: Tensor; readonly state: MixerState };
}

/** Maps every position alone; any leading axes. */
export interface ChannelMixer extends Layer {
  /** As in {@link Mixer}. */
  flops(time: number): number;
}
