// Affine map of the last axis.

import { checkSizes, random, zeros, type Tensor, type Variable } from "@everlong/core";
import { linear, type Activation } from "@everlong/kernels";
import { fanInUniform, gaussian } from "../initial.ts";
import { parameter, type ParameterHints } from "../layer.ts";

export interface LinearOptions {
  /** Random key of the initial values. */
  readonly key: Tensor;
  readonly inputs: number;
  readonly outputs: number;
  /** Default true. */
  readonly bias?: boolean;
  /** `uniform`: +-1/sqrt(inputs) for weight and bias (torch's default); a number: normal with that standard deviation, bias 0. */
  readonly initial?: "uniform" | number;
  readonly hints?: ParameterHints;
  /** Backbones that start all biases at 0 leave this one as it is. Default false. */
  readonly keepBias?: boolean;
}

/** `y = x W^T + b`: `[..., inputs]` to `[..., outputs]`. */
export class Linear {
  /** `[outputs, inputs]`. */
  readonly weight: Variable;
  /** `[outputs]`. */
  readonly bias: Variable | undefined;
  readonly keepBias: boolean;

  constructor(options: LinearOptions) {
    const { key, inputs, outputs, bias = true, initial = "uniform", hints } = options;
    checkSizes("Linear", { inputs, outputs });
    this.keepBias = options.keepBias ?? false;
    const [weightKey, biasKey] = random.splitKey(key) as [Tensor, Tensor];
    const shape = [outputs, inputs];
    this.weight = parameter(
      initial === "uniform" ? fanInUniform(weightKey, shape, inputs) : gaussian(weightKey, shape, initial),
      hints,
    );
    if (!bias) return;
    this.bias = parameter(
      initial === "uniform"
        ? fanInUniform(biasKey, [outputs], inputs)
        : zeros([outputs], { device: key.device }),
      hints,
    );
  }

  /** @param activation applied in the same pass. */
  forward(x: Tensor, activation: Activation = "none"): Tensor {
    return linear(x, this.weight.value, this.bias?.value, { activation });
  }
}
