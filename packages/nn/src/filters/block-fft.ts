// The block FFT: a transform in Cooley-Tukey stages whose small DFT matrices may be learned (Fu et al. 2023, arXiv 2302.06646,
// section 3.3, safari's BlockFFT). Mixers convolve through it instead of the FFT.

import {
  Complex,
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  flip,
  mul,
  narrow,
  pad,
  random,
  reshape,
  take,
  tensor,
  type Tensor,
  type Variable,
} from "@everlong/core";
import {
  butterflyAdjointOp,
  butterflyConv,
  butterflyOp,
  butterflyRadices,
  dftMatrix,
  type FftConvOptions,
} from "@everlong/kernels";
import { parameter } from "../layer.ts";

export interface BlockFftOptions {
  /** For `noise`. */
  readonly key: Tensor;
  /** Rows of the largest matrix, a power of two. Default 16. */
  readonly largest?: number;
  /** Whether the matrices are parameters. Default true; false is an exact FFT. */
  readonly learned?: boolean;
  /** Deviation of normal noise on the DFT's matrices at the start. Default 0. */
  readonly noise?: number;
  /** Learning-rate hint of the matrices. Default 0.001. */
  readonly learningRate?: number;
}

/**
 * A transform F of any length that is rounded up to a power of two: stages of the largest matrix and one smaller, one matrix for each
 * size as in the original. Convolutions are `Re(F^H (F u . F k)) / N`. With learned matrices nothing keeps an output from depending
 * on later inputs: such a convolution is not causal, whatever its filter.
 */
export class BlockFft {
  /** `[2, m, m]` for m = 2, 4, .. up to the largest: real and imaginary parts. Empty unless learned. */
  readonly matrices: readonly Variable[];
  readonly largest: number;
  readonly learned: boolean;

  constructor(options: BlockFftOptions) {
    checkOptions("BlockFft", options, ["key", "largest", "learned", "noise", "learningRate"]);
    const { key, largest = 16, learned = true, noise = 0, learningRate = 1e-3 } = options;
    butterflyRadices(2, largest);
    if (noise !== 0 && !learned) throw new ConfigError("BlockFft", "noise needs learned matrices");
    [this.largest, this.learned] = [largest, learned];
    const sizes = learned ? Array.from({ length: Math.log2(largest) }, (_, i) => 2 ** (i + 1)) : [];
    const keys = random.splitKey(key, Math.max(1, sizes.length));
    this.matrices = sizes.map((m, i) => {
      const exact = dftMatrix(m, { device: key.device, dtype: key.device.defaultFloat });
      const start = noise === 0 ? exact : add(exact, mul(random.normal(keys[i]!, [2, m, m]), noise));
      return parameter(start, { weightDecay: 0, learningRate });
    });
  }

  /** Spectrum of real sequences `[.., L]` with zeros up to N, the power of two that holds `n` (default L): `[.., N]`. */
  forward(x: Tensor, n: number = x.shape.at(-1)!): Complex {
    const length = x.shape.at(-1)!;
    if (n < length)
      throw new ShapeError("BlockFft", "the transform is shorter than its input", {
        got: `${n} < ${length}`,
      });
    const radices = butterflyRadices(n, this.largest);
    const rows = reshape(x, [1, x.size / length, length]);
    const parts = butterflyOp([rows, ...this.#stages(radices, x)], { layout: "bdl", radices });
    const order = tensor(naturalOrder(radices), { dtype: "i32", device: x.device });
    const [re, im] = parts.map((t) => {
      const natural = take(reshape(t, [order.size, rows.shape[1]!]), order, 0);
      return reshape(natural.permute([1, 0]), [...x.shape.slice(0, -1), order.size]);
    }) as [Tensor, Tensor];
    return new Complex(re, im);
  }

  /** The real part of the network run backwards over N: undoes {@link forward} as long as the matrices are the DFT's. */
  inverse(spectrum: Complex): Tensor {
    const size = spectrum.re.shape.at(-1)!;
    const radices = butterflyRadices(size, this.largest);
    const natural = naturalOrder(radices);
    const places = new Int32Array(size);
    natural.forEach((at, frequency) => (places[at] = frequency));
    const order = tensor(places, { dtype: "i32", device: spectrum.re.device });
    const [re, im] = [spectrum.re, spectrum.im].map((t) => {
      const columns = reshape(t, [t.size / size, size]).permute([1, 0]);
      return reshape(take(columns, order, 0), [1, size, t.size / size]);
    }) as [Tensor, Tensor];
    const x = butterflyAdjointOp([re, im, ...this.#stages(radices, re)], {
      layout: "bdl",
      radices,
      length: size,
    })[0]!;
    return mul(reshape(x, spectrum.re.shape), 1 / size);
  }

  /** As `fftConv` of the same arguments, through this transform; modes causal and two-sided. */
  conv(u: Tensor, k: Tensor, options: FftConvOptions = {}): Tensor {
    const {
      mode = "causal",
      backward,
      firstBackwardLag = 0,
      layout = "bdl",
      skip,
      preGate,
      postGate,
    } = options;
    if (mode === "circular") throw new ConfigError("BlockFft", "convolutions are causal or two-sided");
    const time = layout === "bdl" ? 2 : 1;
    const length = u.shape[time]!;
    const part = (t: Tensor): Tensor => narrow(t, time - 1, 0, Math.min(length, t.shape[time - 1]!));
    const ahead = part(k);
    const behind = backward && part(backward);
    const reach = Math.max(ahead.shape[time - 1]!, behind?.shape[time - 1] ?? 0);
    const radices = butterflyRadices(length + reach, this.largest);
    const size = radices.reduce((a, b) => a * b, 1);
    const filter = behind ? aroundPeriod(ahead, behind, firstBackwardLag, size, time - 1) : ahead;
    const x = preGate ? mul(u, preGate) : u;
    const y = butterflyConv(x, filter, this.#stages(radices, u), { layout, ...(skip ? { skip } : {}) });
    return postGate ? mul(y, postGate) : y;
  }

  #stages(radices: readonly number[], like: Tensor): Tensor[] {
    if (this.learned) return radices.map((m) => this.matrices[Math.log2(m) - 1]!.value);
    const on = { device: like.device, dtype: like.device.defaultFloat };
    return radices.map((m) => dftMatrix(m, on));
  }
}

/** Where frequency 0, 1, .. stands among reversed digits. */
function naturalOrder(radices: readonly number[]): Int32Array {
  const size = radices.reduce((a, b) => a * b, 1);
  return Int32Array.from({ length: size }, (_, frequency) => {
    let [rest, at, length] = [frequency, 0, size];
    for (const m of radices) {
      length /= m;
      at += (rest % m) * length;
      rest = Math.floor(rest / m);
    }
    return at;
  });
}

/** Taps at lags 0, 1, .. from the front of a period and those at negative lags from its end. */
function aroundPeriod(ahead: Tensor, behind: Tensor, first: 0 | -1, size: number, axis: number): Tensor {
  const fit = (t: Tensor, before: number): Tensor =>
    pad(
      t,
      t.shape.map((n, i) => (i === axis ? [before, size - before - n] : [0, 0])),
    );
  const count = behind.shape[axis]!;
  // lag 0 of a backward set that has one, then lags -J .. -1 in this order at the end
  const now = first === 0 ? fit(narrow(behind, axis, 0, 1), 0) : undefined;
  const rest = first === 0 ? narrow(behind, axis, 1, count) : behind;
  const left = rest.shape[axis]!;
  const before = left > 0 ? fit(flip(rest, axis), size - left) : undefined;
  return [now, before].reduce<Tensor>((sum, t) => (t ? add(sum, t) : sum), fit(ahead, 0));
}
