// The shift state space of H3 (Dao et al. 2022): a window of the last inputs, written by B and read by C.

import {
  ConfigError,
  add,
  concat,
  irfft,
  mul,
  narrow,
  pad,
  reshape,
  rfft,
  sum,
  unsqueeze,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { fanInUniform } from "../initial.ts";
import { parameter, parameterOrBuffer } from "../layer.ts";

export interface ShiftSsmOptions {
  readonly key: Tensor;
  /** Channels H. */
  readonly channels: number;
  /** State size N. */
  readonly stateSize: number;
  /** Learning-rate hint of B; 0 keeps it fixed. */
  readonly learningRate?: number;
}

/**
 * `s'[n] = s[n - 1] + B[n] u`, `y = sum_n C[n] s'[n]`: a filter of N taps, `k[l] = sum_n B[n] C[n + l]`. B starts as the first
 * unit vector, so that C is the filter.
 */
export class ShiftSsm {
  /** `[H, N]`. */
  readonly b: Variable;
  /** `[1, H, N]`. */
  readonly c: Variable;
  readonly channels: number;
  readonly stateSize: number;

  constructor(options: ShiftSsmOptions) {
    const { key, channels, stateSize, learningRate } = options;
    if (!Number.isInteger(stateSize) || stateSize < 1)
      throw new ConfigError("ShiftSsm", "the state size must be a positive integer", {
        got: `${stateSize}`,
      });
    [this.channels, this.stateSize] = [channels, stateSize];
    const one = zeros([channels, stateSize], { device: key.device, dtype: key.device.defaultFloat });
    const first = add(narrow(one, 1, 0, 1), 1);
    const hints = { weightDecay: 0, ...(learningRate === undefined ? {} : { learningRate }) };
    this.b = parameterOrBuffer(concat([first, narrow(one, 1, 1, stateSize)], 1), hints);
    this.c = parameter(fanInUniform(key, [1, channels, stateSize], stateSize));
  }

  /** `[H, length]`, zero beyond the state size. */
  kernel(length: number): Tensor {
    const n = 2 * this.stateSize;
    const c = rfft(reshape(this.c.value, [this.channels, this.stateSize]), { n });
    const k = irfft(rfft(this.b.value, { n }).conj().mul(c), { n });
    const taps = Math.min(this.stateSize, length);
    return pad(narrow(k, -1, 0, taps), [[0, length - taps]]);
  }

  /** The state `[B, H, N]` after `u` `[B, H, N]`, the last N inputs (zeros in front where there were fewer). */
  stateOf(u: Tensor): Tensor {
    return fftConv(u.flip(2), this.b.value);
  }

  /** One position: `u` and `y` `[B, H]`, state `[B, H, N]`. */
  step(u: Tensor, state: Tensor): { readonly y: Tensor; readonly state: Tensor } {
    const shifted = pad(narrow(state, 2, 0, this.stateSize - 1), [[1, 0]]);
    const next = add(shifted, mul(this.b.value, unsqueeze(u, -1)));
    return { y: sum(mul(next, this.c.value), -1), state: next };
  }

  /** What a state `[B, H, N]` adds to the next `length` outputs: `[B, H, length]`. */
  kernelOfState(state: Tensor, length: number): Tensor {
    // C[n + 1 + l] s[n], summed over n: a product with the reversed read-out, read from its end.
    const c = reshape(this.c.value, [this.channels, this.stateSize]);
    const reach = Math.min(length, this.stateSize - 1);
    if (reach === 0)
      return zeros([state.shape[0]!, this.channels, length], { dtype: c.dtype, device: c.device });
    const reversed = fftConv(state, c.flip(1)).flip(2);
    return pad(narrow(reversed, 2, 1, 1 + reach), [[0, length - reach]]);
  }

  /** The state `[B, H, N]` after `u` `[B, H, T]`, from `state` (default: nothing came before). */
  advance(u: Tensor, state?: Tensor): Tensor {
    const time = u.shape[2]!;
    const size = this.stateSize;
    const last = narrow(u, 2, Math.max(0, time - size), time);
    const fresh = this.stateOf(pad(last, [[Math.max(0, size - time), 0]]));
    if (!state || time >= size) return fresh;
    return add(fresh, pad(narrow(state, 2, 0, size - time), [[time, 0]]));
  }
}
