// safari's convolution through its block FFT: one transform of inputs, one of filters, and the exact inverse FFT of the product.

import {
  Complex,
  ConfigError,
  add,
  concat,
  flip,
  irfft,
  mul,
  narrow,
  permute,
  random,
  reshape,
  squeeze,
  sub,
  zeros,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { dftMatrix } from "@everlong/kernels";
import { BlockFft } from "../filters/block-fft.ts";
import { parameter } from "../layer.ts";
import { booleanOr, checkArguments, numberOr, type Arguments } from "./arguments.ts";

/** The original's transform takes this radix whatever largest matrix it is given. */
const RADIX = 16;

/** One transform with the original's parameters: matrices of 2, 4, .. rows, for all channels or each of H. */
export class OriginalBlockFft {
  /** `[H, m, m, 2]`. */
  readonly matrices: readonly Variable[];
  readonly #additive: boolean;
  readonly #blocks: readonly BlockFft[];

  constructor(args: Arguments) {
    checkArguments(
      args,
      {
        used: ["learn_dft_matrices", "H", "max_m", "learn_additive"],
        withoutEffect: ["dft_lr", "dropout"],
        only: { activation: [] },
      },
      "block_fft_conv_args",
    );
    const learned = booleanOr(args, "learn_dft_matrices", true);
    const [sets, largest] = [numberOr(args, "H", 1), numberOr(args, "max_m", RADIX)];
    if (learned && largest < RADIX)
      throw new ConfigError("parity", 'unsupported: argument "block_fft_conv_args.max_m"', {
        expected: `at least ${RADIX}`,
        got: `${largest}`,
      });
    this.#additive = booleanOr(args, "learn_additive", false);
    this.matrices = learned
      ? Array.from({ length: Math.log2(largest) }, (_, i) =>
          parameter(zeros([sets, 2 ** (i + 1), 2 ** (i + 1), 2])),
        )
      : [];
    this.#blocks = Array.from(
      { length: learned ? sets : 1 },
      () => new BlockFft({ key: random.key(0), largest: RADIX, learned }),
    );
  }

  /** Spectrum of `x` `[B, D, T]`, cut or padded to N points, the power of two that holds `points`: `[B, D, N]`. */
  spectrum(x: Tensor, points: number): Complex {
    const size = 2 ** Math.ceil(Math.log2(points));
    // The original names a variable there that it has not set.
    if (size <= RADIX)
      throw new ConfigError("parity", "unsupported: a block FFT of so few points", {
        expected: `more than ${RADIX}`,
        got: `${size}`,
      });
    this.#setMatrices(x);
    const cut = narrow(x, 2, 0, Math.min(size, x.shape[2]!));
    if (this.#blocks.length === 1) return this.#blocks[0]!.forward(cut, size);
    if (this.#blocks.length !== x.shape[1])
      throw new ConfigError("parity", 'unsupported: argument "block_fft_conv_args.H"', {
        expected: `1 or ${x.shape[1]}`,
        got: `${this.#blocks.length}`,
      });
    const parts = this.#blocks.map((block, h) => block.forward(narrow(cut, 1, h, h + 1), size));
    const joined = (part: "re" | "im"): Tensor =>
      concat(
        parts.map((p) => p[part]),
        1,
      );
    return new Complex(joined("re"), joined("im"));
  }

  /** Gives the transforms their matrices, with gradients. */
  #setMatrices(like: Tensor): void {
    const on = { device: like.device, dtype: like.device.defaultFloat };
    this.#blocks.forEach((block, h) =>
      block.matrices.forEach((matrix, i) => {
        const m = 2 ** (i + 1);
        const own = permute(squeeze(narrow(this.matrices[i]!.value, 0, h, h + 1), 0), [2, 0, 1]);
        matrix.value = this.#additive ? add(own, dftMatrix(m, on)) : own;
      }),
    );
  }
}

/**
 * The first T positions of the inverse FFT of `points` points from products of spectra, real part: `u` `[B, D, N]` and `k`
 * `[C, D, N]` to `[B, C D, T]`. Of more frequencies the first `points` count.
 */
export function truncatedInverse(u: Complex, k: Complex, points: number, time: number): Tensor {
  const [batch, dim] = u.re.shape as [number, number, number];
  const channels = k.re.shape[0]!;
  const first = (t: Tensor, sets: readonly number[]): Tensor =>
    reshape(narrow(t, 2, 0, points), [...sets, dim, points]);
  const { re, im } = u.map((t) => first(t, [batch, 1])).mul(k.map((t) => first(t, [1, channels])));
  // Learned matrices leave no spectrum of a real sequence; its part that is one has the real part of the inverse.
  const mirrored = (t: Tensor): Tensor =>
    concat([narrow(t, -1, 0, 1), flip(narrow(t, -1, 1, points), -1)], -1);
  const half = (t: Tensor): Tensor => mul(narrow(t, -1, 0, Math.floor(points / 2) + 1), 0.5);
  const even = new Complex(half(add(re, mirrored(re))), half(sub(im, mirrored(im))));
  const y = narrow(irfft(even, { n: points }), -1, 0, time);
  return reshape(y, [batch, channels * dim, time]);
}
