// State spaces with a diagonal state matrix (S4D, Gu et al. 2022; DSS, Gupta et al. 2022): kernel, steps, carried states.
// It is not: an operator; mixers convolve with the kernel or step.

import {
  Complex,
  ConfigError,
  add,
  atan2,
  cast,
  checkOptions,
  cos,
  div,
  exp,
  expm1,
  iota,
  less,
  log,
  mul,
  narrow,
  neg,
  random,
  reshape,
  sin,
  square,
  stack,
  sub,
  sum,
  tensor,
  tile,
  unsqueeze,
  abs,
  zerosLike,
  where,
  greater,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { gaussian } from "../initial.ts";
import { parameter, parameterOrBuffer } from "../layer.ts";
import {
  DISCRETIZATIONS,
  SSM_SETTINGS,
  type Discretization,
  type SsmLayout,
  type SsmOptions,
} from "./settings.ts";
import type { SsmKernel } from "./ssm-kernel.ts";
import { startSsm, type StartedCopy } from "./start.ts";
import { checkTransform, positive, storedPositive, type PositiveTransform } from "./transform.ts";
import { vandermonde, vandermondeTranspose } from "./vandermonde.ts";

/** The continuous system of every channel. */
export interface Modes {
  /** Step sizes `[H, 1 or M]`. */
  readonly dt: Tensor;
  /** `[H, M]`. */
  readonly a: Complex;
  /** `[H, M]`. */
  readonly b: Complex;
  /** `[C, H, M]`. */
  readonly c: Complex;
}

/** The sampled system: `s' = exp(z) s + b u`, `y = 2 Re sum_n c s'`. */
export interface Recurrence {
  /** Logarithms of the modes `[H, M]`. */
  readonly z: Complex;
  /** `[H, M]`. */
  readonly b: Complex;
  /** `[C, H, M]`. */
  readonly c: Complex;
}

/**
 * Kernel `k[c, h, l] = 2 Re sum_n C[c, h, n] B[h, n] g[h, n] exp(z[h, n] l)` with, by zero-order hold, `z = dt A` and
 * `g = (exp(dt A) - 1) / A`, or bilinear, `exp(z) = (1 + dt A / 2) / (1 - dt A / 2)` and `g = dt / (1 - dt A / 2)`.
 */
export class DiagonalSsm implements SsmKernel {
  /** Read-out. */
  readonly c: Variable;
  /** Step sizes under their transform. */
  readonly dt: Variable;
  /** Input vectors. */
  readonly b: Variable | undefined;
  /** Negated real parts of the modes under their transform, `[S, M]`. */
  readonly aReal: Variable;
  /** Frequencies under their transform, `[S, M]`. */
  readonly aImag: Variable | undefined;
  readonly channels: number;
  readonly outputs: number;
  /** Stored modes M of a channel. */
  readonly modes: number;
  readonly copies: number;
  readonly discretization: Discretization;
  readonly bandlimit: number | undefined;
  readonly real: boolean;
  readonly #ignoreFrequencies: boolean;
  readonly #layout: SsmLayout;
  readonly #stepTransform: PositiveTransform;
  readonly #realTransform: PositiveTransform;
  readonly #imagTransform: PositiveTransform;
  readonly #fastSteps: boolean;
  readonly #compat: boolean;

  /** @param started copies that a subclass's low-rank part comes from as well. */
  constructor(options: SsmOptions, started: readonly StartedCopy[] = startCopies(options)) {
    checkOptions("ssm", options, ["key", "channels", "outputs", "layout", ...SSM_SETTINGS]);
    const { key, channels, outputs = 1, layout = "s4", minStep = 1e-3, maxStep = 0.1 } = options;
    const { discretization = "zoh", learningRate, bandlimit, tieSteps = true, real = false } = options;
    const { deterministic = false, compat = false } = options;
    if (!DISCRETIZATIONS.includes(discretization))
      throw new ConfigError("ssm", "unknown discretization", {
        expected: DISCRETIZATIONS.join(", "),
        got: discretization,
      });
    if (!(minStep > 0 && maxStep >= minStep))
      throw new ConfigError("ssm", "step sizes out of order", {
        expected: "0 < minStep <= maxStep",
        got: `${minStep}, ${maxStep}`,
      });
    this.#layout = layout;
    this.#stepTransform = checkTransform("ssm", options.stepTransform ?? "exp");
    this.#realTransform = checkTransform("ssm", options.realTransform ?? "exp");
    this.#imagTransform = checkTransform("ssm", options.imagTransform ?? "none");
    this.#fastSteps = options.fastSteps ?? false;
    this.#compat = compat;
    this.#ignoreFrequencies = options.ignoreFrequencies ?? false;
    [this.channels, this.outputs, this.discretization] = [channels, outputs, discretization];
    [this.bandlimit, this.real, this.copies] = [bandlimit, real, started.length];
    if (channels % this.copies !== 0)
      throw new ConfigError("ssm", "copies must divide the channels", {
        got: `${this.copies} of ${channels}`,
      });
    const modes = started[0]!.a.re.length;
    this.modes = modes;
    const on = { device: key.device, dtype: key.device.defaultFloat };
    const hints = { weightDecay: 0, ...(learningRate === undefined ? {} : { learningRate }) };
    const [stepKey, readKey, readImKey, inputKey, frequencyKey] = random.splitKey(key, 5) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];

    const steps = startSteps(stepKey, channels, tieSteps ? 1 : modes, minStep, maxStep, deterministic);
    const stored = this.#stepTransform === "exp" ? steps : invertSteps(exp(steps), this.#stepTransform);
    const shaped = this.#fastSteps ? asinh(stored) : stored;
    this.dt = parameterOrBuffer(layout === "s4" ? shaped : reshape(shaped, [channels]), hints);

    const flat = (part: (s: StartedCopy) => Float64Array): number[][] =>
      started.map((s) => Array.from(part(s)));
    const pair = (re: number[][], im: number[][]): Tensor => stack([tensor(re, on), tensor(im, on)], -1);
    const cShape = layout === "minimal" ? [channels, modes] : [outputs, channels, modes];
    const read = (k: Tensor): Tensor => gaussian(k, cShape, Math.SQRT1_2);
    const first = cast(less(iota(cShape, cShape.length - 1, on), 0.5), on.dtype);
    // Real normals where there is no imaginary part to share the variance with.
    const cRe = deterministic ? first : real ? mul(read(readKey), Math.SQRT2) : read(readKey);
    const cIm = deterministic ? zerosLike(first) : read(readImKey);
    const inputs =
      options.inputStart === "random"
        ? gaussian(inputKey, [this.copies, modes, 2], Math.SQRT1_2)
        : pair(
            flat((s) => s.b.re),
            flat((s) => s.b.im),
          );
    const bValue = real
      ? tensor(
          flat((s) => s.b.re),
          on,
        )
      : inputs;
    this.c = parameter(real ? cRe : stack([cRe, cIm], -1));
    if (layout === "s4") this.b = parameterOrBuffer(unsqueeze(bValue, 0), hints);
    else if (layout === "h3") this.b = parameterOrBuffer(bValue, hints);
    const realPart = flat((s) => s.a.re.map((x) => storedPositive(-x, this.#realTransform)));
    const imagPart = flat((s) =>
      s.a.im.map((x) =>
        // Nothing but the original's habit keeps a frequency of 0 from being stored as it is.
        layout === "s4" && (compat || this.#imagTransform !== "none")
          ? storedPositive(-x, this.#imagTransform)
          : -x,
      ),
    );
    this.aReal = parameterOrBuffer(tensor(realPart, on), hints);
    if (real) return;
    const frequencies =
      options.start === "diag-rand" ? exp(gaussian(frequencyKey, [this.copies, modes], 1)) : undefined;
    this.aImag = parameterOrBuffer(frequencies ?? tensor(imagPart, on), hints);
  }

  get steps(): boolean {
    return this.discretization !== "dss";
  }

  /** The continuous system; step sizes are `rate` times as long. */
  system(rate = 1): Modes {
    const raw = this.dt.value;
    const wide = this.#layout === "s4" ? raw : unsqueeze(raw, -1);
    const dt1 = positive(this.#fastSteps ? sinh(wide) : wide, this.#stepTransform);
    const times = this.channels / this.copies;
    const spread = (t: Tensor): Tensor => (times === 1 ? t : tile(t, times, 0));
    const aRe = neg(positive(this.aReal.value, this.#realTransform));
    const imag =
      this.aImag && !this.#ignoreFrequencies
        ? positive(this.aImag.value, this.#imagTransform)
        : zerosLike(aRe);
    const a = new Complex(aRe, this.#layout === "s4" ? neg(imag) : imag).map(spread);
    const shape = [this.copies, this.modes];
    const ones = add(zerosLike(aRe), 1);
    const b = (this.b ? complexOf(this.b.value, this.real) : Complex.from(ones))
      .map((t) => reshape(t, shape))
      .map(spread);
    let c = complexOf(this.c.value, this.real).map((t) =>
      reshape(t, [this.outputs, this.channels, this.modes]),
    );
    if (this.bandlimit !== undefined) {
      const frequency = div(mul(dt1, abs(a.im)), 2 * Math.PI);
      const kept = cast(less(frequency, this.bandlimit / 2), frequency.dtype);
      c = c.scale(kept);
    }
    return { dt: mul(dt1, rate), a, b, c };
  }

  /** The sampled system. @throws ConfigError for DSS, which has none. */
  recurrence(rate = 1): Recurrence {
    if (this.discretization === "dss")
      throw new ConfigError("ssm", "DSS's kernel depends on the length", {
        hint: "Use zoh or bilinear to step.",
      });
    const { dt, a, b, c } = this.system(rate);
    const scaled = a.scale(dt);
    if (this.discretization === "zoh") return { z: scaled, b: b.mul(this.#expMinus1(scaled).div(a)), c };
    const down = new Complex(add(mul(scaled.re, -0.5), 1), mul(scaled.im, -0.5));
    const up = new Complex(add(mul(scaled.re, 0.5), 1), mul(scaled.im, 0.5));
    const ratio = up.div(down);
    const z = new Complex(mul(log(ratio.squaredAbs()), 0.5), atan2(ratio.im, ratio.re));
    return { z, b: b.mul(down.reciprocal().scale(dt)), c };
  }

  /** Kernel `[C, H, length]`, with steps `rate` times as long as trained. */
  kernel(length: number, rate = 1): Tensor {
    if (this.discretization === "dss") return this.#softmaxKernel(length, rate);
    const { z, b, c } = this.recurrence(rate);
    return mul(vandermonde(c.mul(b), z, length), 2);
  }

  /** What a state `[B, H, M]` adds to the next `length` outputs: `[B, C, H, length]`. */
  kernelOfState(state: Complex, length: number, rate = 1): Tensor {
    const { z, c } = this.recurrence(rate);
    const batch = state.shape[0]!;
    const advanced = state.mul(z.exp()).map((t) => unsqueeze(t, 1));
    const w = c.map((t) => unsqueeze(t, 0)).mul(advanced);
    const shape = [batch * this.outputs, this.channels, this.modes];
    const y = mul(
      vandermonde(
        w.map((t) => reshape(t, shape)),
        z,
        length,
      ),
      2,
    );
    return reshape(y, [batch, this.outputs, this.channels, length]);
  }

  /** The state after `u` `[B, H, T]`, from `state` `[B, H, M]` (default 0). */
  advance(u: Tensor, state?: Complex): Complex {
    const { z, b } = this.recurrence();
    const fresh = b.mul(vandermondeTranspose(u, z));
    return state ? fresh.add(state.mul(z.scale(u.shape[2]!).exp())) : fresh;
  }

  /** One position: `u` `[B, H]`, `y` `[B, C, H]`. */
  step(u: Tensor, state: Complex): { readonly y: Tensor; readonly state: Complex } {
    const { z, b, c } = this.recurrence();
    const next = state.mul(z.exp()).add(b.scale(unsqueeze(u, -1)));
    const spread = next.map((t) => unsqueeze(t, 1));
    const y = sum(sub(mul(c.re, spread.re), mul(c.im, spread.im)), -1);
    return { y: mul(y, 2), state: next };
  }

  /** Operations of a kernel of `length` taps. */
  flops(length: number): number {
    return 4 * this.outputs * this.channels * this.modes * length;
  }

  /**
   * The original's difference loses as many digits as a mode is slow. Its float64 numbers hold these errors, so that compat repeats
   * them there.
   */
  #expMinus1(z: Complex): Complex {
    if (!this.#compat || z.re.dtype !== "f64") return expMinus1(z);
    const grown = z.exp();
    return new Complex(sub(grown.re, 1), grown.im);
  }

  /** DSS: powers are divided by their sum over the length, so that growing modes stay finite. */
  #softmaxKernel(length: number, rate: number): Tensor {
    const { dt, a, b, c } = this.system(rate);
    const z = a.scale(dt);
    const grows = greater(a.re, 0);
    const sign = where(grows, -1, 1);
    const numerator = this.#expMinus1(z.scale(sign));
    const x = this.#expMinus1(z.scale(mul(sign, length))).mul(a);
    const inverse = x.conj().scale(div(1, add(x.squaredAbs(), 1e-7)));
    const last = z.scale(where(grows, 1 - length, 0)).exp();
    const w = c.mul(b).mul(numerator.mul(inverse)).mul(last);
    return mul(vandermonde(w, z, length), this.#compat ? 1 : 2);
  }
}

/** `[..., 2]` or, for real modes, `[...]`. */
export function complexOf(stored: Tensor, real = false): Complex {
  if (real) return Complex.from(stored);
  const part = (i: number): Tensor => reshape(narrow(stored, -1, i, i + 1), stored.shape.slice(0, -1));
  return new Complex(part(0), part(1));
}

/** `exp(z) - 1` without cancellation near 0. */
function expMinus1(z: Complex): Complex {
  const grown = expm1(z.re);
  const half = sin(mul(z.im, 0.5));
  const re = sub(mul(grown, cos(z.im)), mul(square(half), 2));
  return new Complex(re, mul(add(grown, 1), sin(z.im)));
}

/** Steps are small, where the difference of two exponentials loses their digits. */
function sinh(x: Tensor): Tensor {
  const grown = expm1(x);
  return mul(add(grown, div(grown, add(grown, 1))), 0.5);
}

const asinh = (x: Tensor): Tensor => log(add(x, add(square(x), 1).pow(0.5)));

/** Logarithms of step sizes, `[H, M]`. */
function startSteps(
  key: Tensor,
  channels: number,
  modes: number,
  least: number,
  most: number,
  even: boolean,
): Tensor {
  const [low, high] = [Math.log(least), Math.log(most)];
  if (!even) return random.uniform(key, [channels, modes], { low, high });
  const at = (h: number): number => low + ((high - low) * h) / Math.max(1, channels - 1);
  return tensor(
    Array.from({ length: channels }, (_, h) => Array.from({ length: modes }, () => at(h))),
    { device: key.device, dtype: key.device.defaultFloat },
  );
}

function invertSteps(steps: Tensor, transform: PositiveTransform): Tensor {
  if (transform === "sigmoid") return log(div(steps, sub(1, steps)));
  if (transform === "softplus") return log(expm1(steps));
  return steps;
}

/** The copies that options ask for. */
export function startCopies(options: SsmOptions): StartedCopy[] {
  const { stateSize = 64, channels, copies = channels, real = false } = options;
  const size = real ? 2 * stateSize : stateSize;
  if (!Number.isInteger(stateSize) || stateSize < 1 || size % 2 !== 0)
    throw new ConfigError("ssm", "the state size must be even", { got: `${stateSize}` });
  return startSsm({
    start: options.start ?? "diag-lin",
    stateSize: size,
    copies,
    rank: options.rank ?? 1,
    input: options.inputStart ?? "constant",
    normalize: options.normalize ?? false,
    compat: options.compat ?? false,
  });
}
