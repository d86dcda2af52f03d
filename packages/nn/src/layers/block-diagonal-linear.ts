// A linear map whose matrix is block diagonal: the factor of Monarch matrices (Dao et al. 2022, arXiv 2204.00595).

import {
  ConfigError,
  add,
  checkOptions,
  einsum,
  narrow,
  pad,
  random,
  reshape,
  transpose,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { fanInUniform } from "../initial.ts";
import { parameter } from "../layer.ts";

export interface BlockDiagonalLinearOptions {
  readonly key: Tensor;
  readonly inputs: number;
  readonly outputs: number;
  /** Blocks N. Default 4. */
  readonly blocks?: number;
  /** Default true. */
  readonly bias?: boolean;
  /** Every block gets inputs from all parts: neighbours come from different ones, as in ShuffleNet. Default false. */
  readonly shuffle?: boolean;
}

/**
 * `y_n = W_n x_n`, the input cut into N parts: `[..., inputs]` to `[..., outputs]` with 1/N of a dense map's weights and work.
 * Widths that N does not divide are filled up with zeros and cut.
 */
export class BlockDiagonalLinear {
  /** `[N, ceil(outputs / N), ceil(inputs / N)]`. */
  readonly weight: Variable;
  /** `[outputs]`. */
  readonly bias: Variable | undefined;
  readonly inputs: number;
  readonly outputs: number;
  readonly blocks: number;
  readonly shuffle: boolean;

  constructor(options: BlockDiagonalLinearOptions) {
    checkOptions("BlockDiagonalLinear", options, ["key", "inputs", "outputs", "blocks", "bias", "shuffle"]);
    const { key, inputs, outputs, blocks = 4, bias = true, shuffle = false } = options;
    for (const [name, n] of Object.entries({ inputs, outputs, blocks })) {
      if (!Number.isInteger(n) || n < 1)
        throw new ConfigError("BlockDiagonalLinear", `${name} must be a positive integer`, { got: `${n}` });
    }
    [this.inputs, this.outputs, this.blocks, this.shuffle] = [inputs, outputs, blocks, shuffle];
    const [rows, columns] = [Math.ceil(outputs / blocks), Math.ceil(inputs / blocks)];
    const [weightKey, biasKey] = random.splitKey(key) as [Tensor, Tensor];
    // A dense start times sqrt(N), which is that of the blocks by themselves.
    this.weight = parameter(fanInUniform(weightKey, [blocks, rows, columns], columns));
    if (bias) this.bias = parameter(fanInUniform(biasKey, [outputs], columns));
  }

  forward(x: Tensor): Tensor {
    const { blocks } = this;
    const [, rows, columns] = this.weight.shape as [number, number, number];
    const lead = x.shape.slice(0, -1);
    const filled = pad(
      x,
      x.shape.map((_, i) => (i === x.rank - 1 ? [0, blocks * columns - this.inputs] : [0, 0])),
    );
    const parts = reshape(filled, [-1, blocks, columns]);
    const mixed = this.shuffle ? reshape(transpose(parts), parts.shape) : parts;
    const y = einsum("tni,noi->tno", mixed, this.weight.value);
    const cut = narrow(reshape(y, [...lead, blocks * rows]), -1, 0, this.outputs);
    return this.bias ? add(cut, this.bias.value) : cut;
  }

  /** As {@link Mixer.flops}. */
  flops(time: number): number {
    return 2 * time * this.weight.shape.reduce((a, b) => a * b, 1);
  }
}
