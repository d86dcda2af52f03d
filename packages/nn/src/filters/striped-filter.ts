// The filters of StripedHyena 2, for inputs at three scales (Ku et al. 2025, arXiv 2503.01868, section 2): a few free taps
// (SE), some hundred free taps under a decay (MR), and sums of decaying exponentials that never end (LI).

import {
  ConfigError,
  checkOptions,
  exp,
  full,
  iota,
  log,
  matmul,
  mul,
  narrow,
  neg,
  random,
  reshape,
  tensor,
  transpose,
  unsqueeze,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { gaussian } from "../initial.ts";
import { buffer, parameter } from "../layer.ts";
import { needOneOf } from "../mixers/linear-attention.ts";

/** A set of causal filters, one for each group of channels. */
export interface StripedFilter {
  /** G. */
  readonly groups: number;
  /** Taps that are not 0; infinite for modal filters. */
  readonly reach: number;
  /** Lags 0 to `length - 1`, or to the last that is not 0: `[J, G]`. */
  forward(length: number): Tensor;
  /** As {@link Mixer.flops}: of making `length` taps. */
  flops(length: number): number;
}

function checkCounts(op: string, counts: Readonly<Record<string, number>>): void {
  for (const [name, n] of Object.entries(counts)) {
    if (!Number.isInteger(n) || n < 1)
      throw new ConfigError(op, `${name} must be a positive integer`, { got: `${n}` });
  }
}

export interface ExplicitFilterOptions {
  readonly key: Tensor;
  /** Filters G. */
  readonly groups: number;
  /** Taps W. Default 7. */
  readonly width?: number;
}

/** SE: `h_g` free, W taps. They start uniform in +-1/sqrt(W), as those of a depthwise convolution. */
export class ExplicitFilter implements StripedFilter {
  /** `[G, W]`, lag 0 first. */
  readonly h: Variable;
  readonly groups: number;
  readonly reach: number;

  constructor(options: ExplicitFilterOptions) {
    checkOptions("ExplicitFilter", options, ["key", "groups", "width"]);
    const { key, groups, width = 7 } = options;
    checkCounts("ExplicitFilter", { groups, width });
    [this.groups, this.reach] = [groups, width];
    const bound = 1 / Math.sqrt(width);
    this.h = parameter(random.uniform(key, [groups, width], { low: -bound, high: bound }));
  }

  forward(length: number): Tensor {
    return transpose(narrow(this.h.value, 1, 0, Math.min(length, this.reach)));
  }

  flops(): number {
    return 0;
  }
}

export const DECAY_PRESETS = ["strong", "normal", "weak"] as const;
/** The slowest channel's rate is 1, 0.1 or 0.01 over the filter's width. */
export type DecayPreset = (typeof DECAY_PRESETS)[number];

export interface DecayedFilterOptions {
  readonly key: Tensor;
  /** Filters G. */
  readonly groups: number;
  /** Taps W. Default 128. */
  readonly width?: number;
  /** Default "strong". */
  readonly decay?: DecayPreset;
  /** Deviation of the first taps times sqrt(W). Default 1e-5, so that a layer starts near its skip. */
  readonly scale?: number;
}

/**
 * MR: `h_g[j] = w_g[j] exp(-a_g j / (W - 1))`, w free and the rates `a_g` fixed, evenly spread in logarithm from the preset's
 * slowest to 100.
 */
export class DecayedFilter implements StripedFilter {
  /** `[G, W]`: w. */
  readonly h: Variable;
  /** `[G, W]`: the decays. */
  readonly decay: Variable;
  readonly groups: number;
  readonly reach: number;

  constructor(options: DecayedFilterOptions) {
    checkOptions("DecayedFilter", options, ["key", "groups", "width", "decay", "scale"]);
    const { key, groups, width = 128, decay = "strong", scale = 1e-5 } = options;
    checkCounts("DecayedFilter", { groups, width });
    needOneOf("DecayedFilter", "decay", decay, DECAY_PRESETS);
    const slowest = -DECAY_PRESETS.indexOf(decay);
    [this.groups, this.reach] = [groups, width];
    this.h = parameter(gaussian(key, [groups, width], scale / Math.sqrt(width)));
    const factors = Float64Array.from({ length: groups * width }, (_, i) => {
      const [g, j] = [Math.floor(i / width), i % width];
      const power = groups === 1 ? slowest : slowest + ((2 - slowest) * g) / (groups - 1);
      return Math.exp(-(10 ** power) * (width === 1 ? 0 : j / (width - 1)));
    });
    this.decay = buffer(tensor(factors, [groups, width], { device: key.device }));
  }

  forward(length: number): Tensor {
    const taps = Math.min(length, this.reach);
    return transpose(mul(narrow(this.h.value, 1, 0, taps), narrow(this.decay.value, 1, 0, taps)));
  }

  flops(length: number): number {
    return this.groups * Math.min(length, this.reach);
  }
}

export interface ModalFilterOptions {
  readonly key: Tensor;
  /** Filters G. */
  readonly groups: number;
  /** Exponentials N of a filter. Default 16. */
  readonly modes?: number;
  /** Time scales start uniform between these. Defaults 0.01 and 0.1. */
  readonly minStep?: number;
  readonly maxStep?: number;
}

/**
 * LI: `h_g[t] = sum_n R_gn exp(-exp(p_gn + c_gn) t)`: real modes that decay whatever the parameters. Being a sum of
 * exponentials it also is a recurrence with N states.
 */
export class ModalFilter implements StripedFilter {
  /** `c` `[G, N]`: logarithms of time scales. */
  readonly gamma: Variable;
  /** R `[G, N]`. */
  readonly r: Variable;
  /** `[G, N]`. */
  readonly p: Variable;
  readonly groups: number;
  readonly modes: number;
  readonly reach: number = Number.POSITIVE_INFINITY;

  constructor(options: ModalFilterOptions) {
    checkOptions("ModalFilter", options, ["key", "groups", "modes", "minStep", "maxStep"]);
    const { key, groups, modes = 16, minStep = 0.01, maxStep = 0.1 } = options;
    checkCounts("ModalFilter", { groups, modes });
    if (!(minStep > 0 && maxStep >= minStep))
      throw new ConfigError("ModalFilter", "steps need 0 < minStep <= maxStep", {
        got: `${minStep}, ${maxStep}`,
      });
    [this.groups, this.modes] = [groups, modes];
    const [stepKey, residueKey] = random.splitKey(key) as [Tensor, Tensor];
    const shape = [groups, modes];
    this.gamma = parameter(log(random.uniform(stepKey, shape, { low: minStep, high: maxStep })));
    this.r = parameter(gaussian(residueKey, shape, 0.1 / Math.sqrt(modes)));
    this.p = parameter(full(shape, -1, { device: key.device, dtype: this.r.dtype }));
  }

  /** Logarithms of the poles, `[G, N]`; negative. */
  logPoles(): Tensor {
    return neg(exp(this.p.value.add(this.gamma.value)));
  }

  /** Residues R `[G, N]`. */
  residues(): Tensor {
    return this.r.value;
  }

  /** `exp(log pole * t)` for t = 0 .. length - 1: `[G, N, length]`. */
  powers(length: number): Tensor {
    const poles = this.logPoles();
    const times = iota([length], 0, { device: poles.device, dtype: poles.dtype });
    return exp(mul(unsqueeze(poles, -1), times));
  }

  forward(length: number): Tensor {
    // Powers of T = i S + j are products of powers of i S and of j: T taps cost 2 sqrt(T) exponentials a mode.
    const size = Math.ceil(Math.sqrt(length));
    const count = Math.ceil(length / size);
    const poles = this.logPoles();
    const starts = mul(iota([count, 1], 0, { device: poles.device, dtype: poles.dtype }), size);
    const coarse = mul(exp(mul(unsqueeze(poles, 1), starts)), unsqueeze(this.residues(), 1));
    const taps = reshape(matmul(coarse, this.powers(size)), [this.groups, count * size]);
    return transpose(narrow(taps, 1, 0, length));
  }

  flops(length: number): number {
    return 2 * this.groups * this.modes * length;
  }
}
