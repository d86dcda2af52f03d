// Weight normalisation (Salimans & Kingma 2016) of a linear map as torch stores it: lengths `g` and directions `v` of the rows.

import { div, mul, ones, sqrt, square, sum, zeros, type Variable } from "@everlong/core";
import { parameter } from "../layer.ts";
import type { Linear } from "../layers/linear.ts";

/** Stands for a linear map whose weight is `g v / |v|`, under torch's names. */
export class WeightNormed {
  /** `[outputs, 1]`. */
  readonly weightG: Variable;
  /** `[outputs, inputs]`. */
  readonly weightV: Variable;
  readonly bias: Variable | undefined;
  readonly #map: Linear;

  constructor(map: Linear) {
    this.#map = map;
    this.bias = map.bias;
    const { shape } = map.weight;
    this.weightG = parameter(ones([shape[0]!, 1]));
    this.weightV = parameter(zeros(shape));
  }

  /** Gives the map its weight, with gradients. */
  apply(): void {
    const v = this.weightV.value;
    this.#map.weight.value = mul(v, div(this.weightG.value, sqrt(sum(square(v), 1, { keepDims: true }))));
  }
}
