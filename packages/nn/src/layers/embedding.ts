// Rows of a table by class number.

import {
  checkSizes,
  equal,
  stopGradient,
  unsqueeze,
  where,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { gaussian } from "../initial.ts";
import { parameter } from "../layer.ts";
import { embedding } from "@everlong/kernels";

export interface EmbeddingOptions {
  readonly key: Tensor;
  /** Number of rows. */
  readonly count: number;
  readonly dim: number;
  /** Standard deviation of the initial values. Default 0.02 (GPT-2); torch's own is 1. */
  readonly std?: number;
  /** The row of padding, which lookups do not train (other uses of the table still do). Default none. */
  readonly paddingIndex?: number;
}

/** `[...]` i32 to `[..., dim]`. */
export class Embedding {
  /** `[count, dim]`. */
  readonly weight: Variable;
  readonly #paddingIndex: number | undefined;

  constructor(options: EmbeddingOptions) {
    checkSizes("Embedding", { count: options.count, dim: options.dim });
    this.#paddingIndex = options.paddingIndex;
    this.weight = parameter(gaussian(options.key, [options.count, options.dim], options.std ?? 0.02));
  }

  forward(ids: Tensor): Tensor {
    const rows = embedding(this.weight.value, ids);
    if (this.#paddingIndex === undefined) return rows;
    return where(unsqueeze(equal(ids, this.#paddingIndex), -1), stopGradient(rows), rows);
  }
}
