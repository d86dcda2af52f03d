// Rotary position embedding (Su et al. 2021): pairs of features turn by position times frequency.

import {
  ConfigError,
  add,
  mod,
  mul,
  quotient,
  sub,
  take,
  tensor,
  type Device,
  type Tensor,
} from "@everlong/core";
import { rotary } from "@everlong/kernels";

/** Cosines and sines `[T, R/2]` of position times frequency. */
export interface RotaryTables {
  readonly cos: Tensor;
  readonly sin: Tensor;
}

export interface RotaryOptions {
  /** Number R of leading features that turn; the others pass. Even. */
  readonly dim: number;
  /** Frequencies are `base^(-2i/R)`. Default 10000. */
  readonly base?: number;
  /** Pairs are (0, 1), (2, 3), ... (GPT-J) instead of halves (i, i + R/2) (GPT-NeoX, default). */
  readonly interleaved?: boolean;
  /** XPos (Sun et al. 2022): length scale of the decay of distant pairs. Default none. */
  readonly scaleBase?: number;
  /** Elementary functions of the tables, for tables equal to another library's. Default float64. */
  readonly tableMath?: RotaryMath;
}

/** How table entries are computed. */
export interface RotaryMath {
  readonly frequency: (base: number, exponent: number) => number;
  readonly angle: (position: number, frequency: number) => number;
  readonly cos: (angle: number) => number;
  readonly sin: (angle: number) => number;
  /** XPos' factor of a pair, `(feature + 0.4 R) / (1.4 R)` with R = `dim`. */
  readonly scale: (feature: number, dim: number) => number;
}

const float64: RotaryMath = {
  frequency: (base, exponent) => base ** -exponent,
  angle: (position, frequency) => position * frequency,
  cos: Math.cos,
  sin: Math.sin,
  scale: (feature, dim) => (feature + 0.4 * dim) / (1.4 * dim),
};

/** Positions up to SPLIT^2. */
const SPLIT = 1024;

/** Rotary embedding with tables that grow to the longest length seen. */
export class Rotary {
  readonly dim: number;
  readonly base: number;
  readonly interleaved: boolean;
  readonly scaleBase: number | undefined;
  readonly #math: RotaryMath;
  readonly #tables = new Map<Device, Map<string, RotaryTables & { readonly length: number }>>();
  readonly #split = new Map<Device, { readonly low: RotaryTables; readonly high: RotaryTables }>();

  constructor(options: RotaryOptions) {
    const { dim, base = 10_000, interleaved = false, scaleBase, tableMath = float64 } = options;
    if (!Number.isInteger(dim) || dim < 2 || dim % 2 !== 0) {
      throw new ConfigError("Rotary", "dim must be even and positive", { got: `${dim}` });
    }
    [this.dim, this.base, this.interleaved, this.scaleBase, this.#math] = [
      dim,
      base,
      interleaved,
      scaleBase,
      tableMath,
    ];
  }

  /** Tables for positions `0..length-1`; `side` matters with XPos only, whose scale is centred on `length`. */
  tables(length: number, device: Device, side: "query" | "key" = "query"): RotaryTables {
    const perDevice =
      this.#tables.get(device) ?? new Map<string, RotaryTables & { readonly length: number }>();
    this.#tables.set(device, perDevice);
    const kind = this.scaleBase === undefined ? "both" : side;
    const known = perDevice.get(kind);
    if (known && known.length === length) return known;
    const half = this.dim / 2;
    const cos = new Float64Array(length * half);
    const sin = new Float64Array(length * half);
    for (let i = 0; i < half; i++) {
      const frequency = this.#math.frequency(this.base, (2 * i) / this.dim);
      const grow = this.#math.scale(2 * i, this.dim);
      for (let t = 0; t < length; t++) {
        const angle = this.#math.angle(t, frequency);
        let scale = 1;
        if (this.scaleBase !== undefined) {
          const power = (t - Math.floor(length / 2)) / this.scaleBase;
          scale = kind === "key" ? grow ** -power : grow ** power;
        }
        cos[t * half + i] = this.#math.cos(angle) * scale;
        sin[t * half + i] = this.#math.sin(angle) * scale;
      }
    }
    const made = {
      length,
      cos: tensor(cos, [length, half], { device }),
      sin: tensor(sin, [length, half], { device }),
    };
    perDevice.set(kind, made);
    return made;
  }

  /**
   * Turns the first `dim` features of `x` `[B, T, H, K]`.
   * @param options.positions `[T]` or `[B, T]` i32 below 2^20; default 0..T-1.
   */
  apply(
    x: Tensor,
    options: { readonly positions?: Tensor | undefined; readonly side?: "query" | "key" } = {},
  ): Tensor {
    const { positions, side = "query" } = options;
    const { cos, sin } = positions ? this.#at(positions) : this.tables(x.shape[1]!, x.device, side);
    return rotate(x, cos, sin, this.interleaved);
  }

  /** Table rows at given positions, from two small exact tables by the addition theorem: no angle is rounded. */
  #at(positions: Tensor): RotaryTables {
    if (this.scaleBase !== undefined) {
      throw new ConfigError("Rotary", "XPos needs the positions 0..T-1", { hint: "Leave out `positions`." });
    }
    const device = positions.device;
    const known = this.#split.get(device) ?? {
      low: this.#rows(SPLIT, 1, device),
      high: this.#rows(SPLIT, SPLIT, device),
    };
    this.#split.set(device, known);
    const low = mod(positions, SPLIT);
    const high = quotient(positions, SPLIT);
    const [a, b] = [known.low, known.high];
    const pick = (t: Tensor, at: Tensor): Tensor => take(t, at, 0);
    const [ca, sa, cb, sb] = [pick(a.cos, low), pick(a.sin, low), pick(b.cos, high), pick(b.sin, high)];
    return { cos: sub(mul(ca, cb), mul(sa, sb)), sin: add(mul(sa, cb), mul(ca, sb)) };
  }

  #rows(count: number, stride: number, device: Device): RotaryTables {
    const half = this.dim / 2;
    const fill = (fn: (angle: number) => number): Tensor => {
      const data = new Float64Array(count * half);
      for (let t = 0; t < count; t++) {
        for (let i = 0; i < half; i++)
          data[t * half + i] = fn(t * stride * this.base ** ((-2 * i) / this.dim));
      }
      return tensor(data, [count, half], { device });
    };
    return { cos: fill(Math.cos), sin: fill(Math.sin) };
  }
}

/**
 * Turns feature pairs of `x` `[B, T, H, K]` by tables `[T, R/2]` or `[B, T, R/2]`; features from R on pass unchanged.
 * @param interleaved pairs are neighbours instead of halves.
 */
export const rotate = (x: Tensor, cos: Tensor, sin: Tensor, interleaved: boolean): Tensor =>
  rotary(x, cos, sin, { interleaved });
