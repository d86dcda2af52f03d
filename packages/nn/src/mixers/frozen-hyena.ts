// A Hyena layer made ready for inference on inputs of one length: what does not depend on the input is computed once.

import {
  ConfigError,
  ShapeError,
  add,
  broadcastTo,
  cast,
  checkOptions,
  matmul,
  realize,
  reshape,
  show,
  split,
  transpose,
  unsqueeze,
  type Tensor,
} from "@everlong/core";
import {
  fftConv,
  fftConvFilter,
  linear,
  mixedPrecision,
  shortConv,
  type FftConvFilter,
} from "@everlong/kernels";
import { activate, type ActivationName } from "../layers/activation.ts";
import type { Hyena } from "./hyena.ts";

export interface FrozenHyenaOptions {
  /** Positions T of every input. */
  readonly length: number;
  /** What projections and sequences are stored and multiplied in; sums are f32. Default f32. */
  readonly dtype?: "f32" | "f16" | "bf16";
}

/**
 * The function of a {@link Hyena} layer as it is now, for `[B, length, D]`: spectra of the filters are kept, and everything between the
 * projections has time as its last axis, so that products make that order and no pass does. Later changes of the layer do not show.
 *
 * @example
 * const operator = new FrozenHyena(layer, { length: 65_536, dtype: "f16" });
 * const forward = compile((x: Tensor) => operator.forward(x));
 */
export class FrozenHyena {
  readonly length: number;
  readonly dtype: "f32" | "f16" | "bf16";
  readonly dim: number;
  readonly #activation: ActivationName;
  readonly #filters: readonly FftConvFilter[];
  /** `[W, D]` and `[W]`, W the channels of all projections. */
  readonly #into: Tensor;
  readonly #intoBias: Tensor | undefined;
  /** `[W, taps]` and `[W]`. */
  readonly #taps: Tensor;
  readonly #tapsBias: Tensor | undefined;
  /** `[D, inner]` and `[D]`. */
  readonly #outOf: Tensor;
  readonly #outOfBias: Tensor | undefined;

  /** @throws ConfigError for filters of the future, blocks, mixed heads and repeated projections */
  constructor(layer: Hyena, options: FrozenHyenaOptions) {
    checkOptions("FrozenHyena", options, ["length", "dtype"]);
    const { length, dtype = "f32" } = options;
    const { inProj, shortFilter, outProj } = layer;
    const unsupported = layer.ordProjW
      ? "a map over heads"
      : layer.outerMixing
        ? "gates summed over heads"
        : layer.groups > 1
          ? "repeated projections"
          : undefined;
    if (unsupported)
      throw new ConfigError("FrozenHyena", "this layer cannot be made ready", {
        got: unsupported,
        hint: "Use the layer itself.",
      });
    [this.length, this.dtype, this.dim, this.#activation] = [length, dtype, layer.dim, layer.activation];
    const single = (t: Tensor): Tensor => cast(t, "f32");
    this.#filters = layer.longFilters(length).map(({ taps, skip }) =>
      fftConvFilter(single(transpose(taps)), length, {
        layout: "bdl",
        dtype,
        ...(skip ? { skip: single(skip) } : {}),
      }),
    );
    this.#into = cast(inProj.weight.value, dtype);
    this.#intoBias = inProj.bias && single(inProj.bias.value);
    this.#taps = single(shortFilter.weight.value);
    this.#tapsBias = shortFilter.bias && single(shortFilter.bias.value);
    this.#outOf = cast(outProj.weight.value, dtype);
    this.#outOfBias = outProj.bias && cast(outProj.bias.value, dtype);
    const kept = [this.#into, this.#intoBias, this.#taps, this.#tapsBias, this.#outOf, this.#outOfBias];
    realize([...this.#filters.map((f) => f.spectrum), ...kept.filter((t) => t !== undefined)]);
  }

  /** `[B, T, inner]` to `[B, T, D]`. */
  #project(rows: Tensor): Tensor {
    const [batch, time, inner] = rows.shape as [number, number, number];
    // The rows of several sequences are no matrix where time is the last axis.
    if (batch > 1) {
      const y = matmul(rows, broadcastTo(unsqueeze(transpose(this.#outOf), 0), [batch, inner, this.dim]));
      return this.#outOfBias ? add(y, this.#outOfBias) : y;
    }
    const product = (): Tensor => linear(reshape(rows, [time, inner]), this.#outOf, this.#outOfBias);
    const { dtype } = this;
    return unsqueeze(dtype === "f32" ? product() : mixedPrecision({ dtype }, product), 0);
  }

  /**
   * @param x `[B, length, D]`
   * @returns the same shape and dtype
   */
  forward(x: Tensor): Tensor {
    if (x.rank !== 3 || x.shape[1] !== this.length || x.shape[2] !== this.dim)
      throw new ShapeError("FrozenHyena", "made for other inputs", {
        expected: `[B, ${this.length}, ${this.dim}]`,
        got: show(x.shape),
      });
    const all = (matrix: Tensor): Tensor => broadcastTo(unsqueeze(matrix, 0), [x.shape[0]!, ...matrix.shape]);
    const raw = matmul(all(this.#into), transpose(cast(x, this.dtype)));
    const short = shortConv(raw, this.#taps, {
      layout: "bdl",
      ...(this.#intoBias ? { inputBias: this.#intoBias } : {}),
      ...(this.#tapsBias ? { bias: this.#tapsBias } : {}),
    });
    const count = this.#filters.length;
    const parts = split(short, count + 2, 1);
    const v = this.#filters.reduce(
      (u, filter, o) =>
        fftConv(u, filter, {
          preGate: parts[count - o]!,
          ...(o === count - 1 ? { postGate: parts[0]! } : {}),
        }),
      parts[count + 1]!,
    );
    const rows = transpose(activate(this.#activation, v));
    return cast(this.#project(rows), x.dtype);
  }
}
