// Rational transfer functions as filters (Parnichkun et al. 2024, arXiv 2405.06147): a state space given by two polynomials,
// whose taps come from one division of spectra, whatever the number of states.

import {
  Complex,
  ConfigError,
  add,
  checkOptions,
  concat,
  irfft,
  mul,
  narrow,
  ones,
  pad,
  random,
  repeat,
  reshape,
  rfft,
  sum,
  transpose,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { gaussian } from "../initial.ts";
import { parameter } from "../layer.ts";
import { needOneOf } from "./linear-attention.ts";

export const RTF_STARTS = ["zeros", "xavier", "montel"] as const;
/**
 * Initial coefficients: none; uniform in +-1/sqrt(N), which may be unstable; uniform in +-1/N, whose poles lie inside the unit
 * circle (Montel's bound).
 */
export type RtfStart = (typeof RTF_STARTS)[number];

export interface RtfFilterOptions {
  readonly key: Tensor;
  /** Filters to make C. */
  readonly channels: number;
  /** Longest filter; at least `stateSize + 1`. */
  readonly maxLength: number;
  /** Degree of the polynomials N. Default 4. */
  readonly stateSize?: number;
  /** Denominators A, shared by C / A neighbouring channels each. Default C. */
  readonly denominators?: number;
  /** Default "montel". */
  readonly start?: RtfStart;
}

/**
 * `H(z) = h_0 + (b_1 z^-1 + .. + b_N z^-N) / (1 + a_1 z^-1 + .. + a_N z^-N)` at the n-th roots of unity, n the even number from
 * `maxLength`. The taps are those of the recurrence, summed over periods of n, and the first n of them obey the same
 * recurrence with another numerator: see {@link RtfFilter.recurrence}.
 */
export class RtfFilter {
  /** `[A + C, N]`: denominators, then numerators. */
  readonly ab: Variable;
  /** `[C]`. */
  readonly h0: Variable;
  readonly channels: number;
  readonly maxLength: number;
  readonly stateSize: number;
  readonly denominators: number;

  constructor(options: RtfFilterOptions) {
    checkOptions("RtfFilter", options, [
      "key",
      "channels",
      "maxLength",
      "stateSize",
      "denominators",
      "start",
    ]);
    const { key, channels, maxLength, stateSize = 4, denominators = channels, start = "montel" } = options;
    needOneOf("RtfFilter", "start", start, RTF_STARTS);
    if (!Number.isInteger(stateSize) || stateSize < 1 || maxLength <= stateSize) {
      throw new ConfigError("RtfFilter", "stateSize must lie between 1 and the length", {
        got: `${stateSize} states, length ${maxLength}`,
      });
    }
    if (channels % denominators !== 0) {
      throw new ConfigError("RtfFilter", "denominators do not divide the channels", {
        got: `${denominators}, ${channels}`,
      });
    }
    [this.channels, this.maxLength, this.stateSize] = [channels, maxLength, stateSize];
    this.denominators = denominators;
    const [a, b] = random.splitKey(key) as [Tensor, Tensor];
    const shape = [denominators + channels, stateSize];
    const bound = start === "montel" ? 1 / stateSize : 1 / Math.sqrt(stateSize);
    this.ab = parameter(
      start === "zeros"
        ? zeros(shape, { device: key.device })
        : random.uniform(a, shape, { low: -bound, high: bound }),
    );
    this.h0 = parameter(gaussian(b, [channels], 1));
  }

  /** The first `length` taps `[length, C]`. */
  forward(length: number): Tensor {
    return transpose(narrow(this.#taps(), -1, 0, this.#checked(length)));
  }

  /** No skip weight beside the tap at lag 0. */
  skip(): undefined {
    return undefined;
  }

  /**
   * The same filter as a recurrence, exact up to `maxLength`: `w_t = u_t - sum_i a_i w_(t-i)`,
   * `y_t = first u_t + sum_i b_i w_(t-i)` for i = 1 .. N.
   * @returns `a`, `b` `[C, N]` and `first` `[C]`
   */
  recurrence(): { a: Tensor; b: Tensor; first: Tensor } {
    const { stateSize: n, channels } = this;
    const taps = narrow(this.#taps(), -1, 0, n + 1);
    const a = repeat(narrow(this.ab.value, 0, 0, this.denominators), channels / this.denominators, 0);
    const monic = concat([ones([channels, 1], { dtype: a.dtype, device: a.device }), a], -1);
    // The numerator is the denominator times the taps from lag 1 on.
    const b = Array.from({ length: n }, (_, i) => {
      const reversed = Array.from({ length: i + 1 }, (_, j) => narrow(taps, -1, i + 1 - j, i + 2 - j));
      return sum(mul(narrow(monic, -1, 0, i + 1), concat(reversed, -1)), -1, { keepDims: true });
    });
    return { a, b: concat(b, -1), first: reshape(narrow(taps, -1, 0, 1), [channels]) };
  }

  /** As {@link Mixer.flops}: of making the taps. */
  flops(): number {
    const n = this.maxLength;
    return (2 * this.channels + this.denominators) * 2.5 * n * Math.log2(n) + 8 * this.channels * n;
  }

  #taps(): Tensor {
    const n = this.maxLength + (this.maxLength % 2);
    const share = this.channels / this.denominators;
    const { value } = this.ab;
    const a = narrow(value, 0, 0, this.denominators);
    const monic = concat([ones([this.denominators, 1], { dtype: a.dtype, device: a.device }), a], -1);
    const below = rfft(monic, { n });
    const above = rfft(pad(narrow(value, 0, this.denominators, value.shape[0]!), [[1, 0]]), { n });
    const spectrum = above.div(below.map((t) => repeat(t, share, 0)));
    // The same number at every frequency is a tap at lag 0.
    return irfft(new Complex(add(spectrum.re, reshape(this.h0.value, [-1, 1])), spectrum.im), { n });
  }

  #checked(length: number): number {
    if (length <= this.maxLength) return length;
    throw new ConfigError("RtfFilter", "longer than the filter", {
      expected: `at most ${this.maxLength}`,
      got: `${length}`,
    });
  }
}
