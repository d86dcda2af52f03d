// Hyena with rational filters: the same gates around a long convolution that also is a small recurrence, so that generation
// is exact with a state of fixed size.

import {
  ConfigError,
  add,
  checkOptions,
  concat,
  mul,
  narrow,
  permute,
  random,
  scan,
  split,
  squeeze,
  sub,
  sum,
  tile,
  unsqueeze,
  where,
  zeros,
  type Tensor,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import type { ForwardOptions } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import { ShortConv } from "../layers/short-conv.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { tooLong } from "./multi-head-hyena.ts";
import { appended, lastReal, zeroPadding } from "./padding.ts";
import { RtfFilter, type RtfStart } from "./rtf-filter.ts";

export interface RtfHyenaOptions {
  readonly key: Tensor;
  readonly dim: number;
  /** Longest input of `forward` and `prefill`; steps go on beyond. */
  readonly maxLength: number;
  /** Inner width over D. Default 1. */
  readonly innerFactor?: number;
  /** The input projection makes 1/groups of its channels, repeated before the short convolution. Default 1. */
  readonly projectionGroups?: number;
  /** Taps of the short convolution. Default 3. */
  readonly shortFilterOrder?: number;
  /** States per channel N. Default 4. */
  readonly stateSize?: number;
  /** Denominators, shared by neighbouring channels; default one per channel. */
  readonly denominators?: number;
  /** Default "montel". */
  readonly start?: RtfStart;
}

/** With projections `x, g, v` of the input: `y = W_o (x * (h * (g v)))`, the filters h of an {@link RtfFilter}. */
export class RtfHyena implements Mixer {
  readonly inProj: Linear;
  readonly shortFilter: ShortConv;
  readonly filterFn: RtfFilter;
  readonly outProj: Linear;
  readonly causal = true;
  readonly dim: number;
  readonly inner: number;
  readonly maxLength: number;
  readonly #groups: number;

  constructor(options: RtfHyenaOptions) {
    checkOptions("RtfHyena", options, [
      "key",
      "dim",
      "maxLength",
      "innerFactor",
      "projectionGroups",
      "shortFilterOrder",
      "stateSize",
      "denominators",
      "start",
    ]);
    const { key, dim, maxLength, innerFactor = 1, projectionGroups = 1, start = "montel" } = options;
    const inner = dim * innerFactor;
    if (!Number.isInteger(inner) || (3 * inner) % projectionGroups !== 0) {
      throw new ConfigError("RtfHyena", "projection groups must divide the channels", {
        got: `${3 * inner} channels, ${projectionGroups} groups`,
      });
    }
    [this.dim, this.inner, this.maxLength, this.#groups] = [dim, inner, maxLength, projectionGroups];
    const keys = random.splitKey(key, 4) as [Tensor, Tensor, Tensor, Tensor];
    const { shortFilterOrder: width = 3, stateSize = 4, denominators = inner } = options;
    this.inProj = new Linear({ key: keys[0], inputs: dim, outputs: (3 * inner) / projectionGroups });
    this.shortFilter = new ShortConv({ key: keys[1], channels: 3 * inner, width });
    this.filterFn = new RtfFilter({
      key: keys[2],
      channels: inner,
      // One more than the states, which polynomials of that degree need.
      maxLength: Math.max(maxLength, stateSize + 1),
      stateSize,
      denominators,
      start,
    });
    this.outProj = new Linear({ key: keys[3], inputs: inner, outputs: dim });
  }

  /** @param x `[B, T, D]` */
  forward(x: Tensor, options: ForwardOptions = {}): Tensor {
    const { out, input } = this.#parts(x, options);
    const y = fftConv(input, this.filterFn.forward(x.shape[1]!), { layout: "bld", postGate: out });
    return this.outProj.forward(y);
  }

  prefill(x: Tensor, options: PrefillOptions): { y: Tensor; state: MixerState } {
    const { raw, input } = this.#parts(x, options);
    return {
      y: this.forward(x, options),
      state: {
        tail: lastReal(raw, this.shortFilter.width - 1, options.mask),
        memory: this.#remember(input, options.mask),
      },
    };
  }

  step(x: Tensor, state: MixerState): { y: Tensor; state: MixerState } {
    const { width } = this.shortFilter;
    const window = appended(state["tail"]!, tile(this.inProj.forward(x), this.#groups, -1));
    const convolved = squeeze(narrow(this.shortFilter.forward(window), 1, width - 1, width), 1);
    const [out, gate, v] = split(convolved, 3, -1) as [Tensor, Tensor, Tensor];
    const u = mul(gate, v);
    const { a, b, first } = this.filterFn.recurrence();
    const memory = state["memory"]!;
    const y = add(mul(u, first), sum(mul(memory, b), -1));
    return {
      y: this.outProj.forward(mul(y, out)),
      state: { tail: narrow(window, 1, 1, width), memory: push(memory, u, a) },
    };
  }

  /** The recurrence's states and the inputs that the short convolution still sees. */
  stateBytes(): number {
    return 4 * this.inner * (this.filterFn.stateSize + 3 * (this.shortFilter.width - 1));
  }

  flops(time: number): number {
    const { inner, dim } = this;
    const maps = 2 * time * ((dim * 3 * inner) / this.#groups + inner * dim);
    const short = 6 * time * inner * this.shortFilter.width;
    const transform = 2.5 * 2 * time * Math.log2(2 * time);
    return maps + short + inner * (3 * transform + 14 * time) + this.filterFn.flops();
  }

  /** Projections before the short convolution, the output gate and the gated values. */
  #parts(x: Tensor, { mask }: ForwardOptions): { raw: Tensor; out: Tensor; input: Tensor } {
    const time = x.shape[1]!;
    if (time > this.maxLength) throw tooLong("RtfHyena", time, this.maxLength);
    const raw = zeroPadding(tile(this.inProj.forward(x), this.#groups, -1), mask);
    const convolved = zeroPadding(this.shortFilter.forward(raw), mask);
    const [out, gate, v] = split(convolved, 3, -1) as [Tensor, Tensor, Tensor];
    return { raw, out, input: mul(gate, v) };
  }

  /** The recurrence's states after a sequence; padded positions do not move it. */
  #remember(input: Tensor, mask: Tensor | undefined): Tensor {
    const { a } = this.filterFn.recurrence();
    const [batch] = input.shape as [number];
    const start = zeros([batch, this.inner, this.filterFn.stateSize], {
      dtype: input.dtype,
      device: input.device,
    });
    const timeFirst = (t: Tensor): Tensor => permute(t, [1, 0, 2]);
    if (!mask) {
      return scan((s: Tensor, u: Tensor) => [push(s, u, a), []] as const, start, timeFirst(input))[0];
    }
    return scan(
      (s: Tensor, x: { u: Tensor; real: Tensor }) =>
        [where(unsqueeze(x.real, -1), push(s, x.u, a), s), []] as const,
      start,
      { u: timeFirst(input), real: timeFirst(unsqueeze(mask, -1)) },
    )[0];
  }
}

/** `w_t = u_t - sum_i a_i w_(t-i)` in front of the last N of them, `[B, C, N]`, newest first. */
const push = (memory: Tensor, u: Tensor, a: Tensor): Tensor => {
  const next = sub(u, sum(mul(memory, a), -1));
  return concat([unsqueeze(next, -1), narrow(memory, -1, 0, memory.shape[2]! - 1)], -1);
};
