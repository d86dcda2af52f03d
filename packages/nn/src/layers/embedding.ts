// Rows of a table by class number.

import type { Tensor, Variable } from "@everlong/core";
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
}

/** `[...]` i32 to `[..., dim]`. */
export class Embedding {
  /** `[count, dim]`. */
  readonly weight: Variable;

  constructor(options: EmbeddingOptions) {
    this.weight = parameter(gaussian(options.key, [options.count, options.dim], options.std ?? 0.02));
  }

  forward(ids: Tensor): Tensor {
    return embedding(this.weight.value, ids);
  }
}
