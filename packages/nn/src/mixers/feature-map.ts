// Feature maps of linear attention: what stands in for the exponential of softmax attention.

import {
  ConfigError,
  add,
  after,
  concat,
  exp,
  eye,
  greater,
  minimum,
  mul,
  narrow,
  neg,
  onesLike,
  relu,
  roll,
  softmax,
  zerosLike,
  where,
  type Tensor,
} from "@everlong/core";
import { Linear } from "../layers/linear.ts";
import { random } from "@everlong/core";

/** A map of heads `[..., K]` to features `[..., F]`. */
export interface FeatureMap {
  /** F. */
  readonly features: number;
  /** Whether inner products of features are never negative, so that they can be divided by their sum. */
  readonly positive: boolean;
  forward(x: Tensor): Tensor;
  /** Multiply-adds of one row. */
  readonly products: number;
}

export const FEATURE_MAPS = [
  "elu",
  "relu",
  "taylor",
  "hedgehog",
  "t2r",
  "dpfp",
  "identity",
  "elementwise_product",
] as const;
export type FeatureMapName = (typeof FEATURE_MAPS)[number];

/** A map without parameters. */
class FixedMap implements FeatureMap {
  readonly features: number;
  readonly positive: boolean;
  readonly products: number = 0;
  readonly #fn: (x: Tensor) => Tensor;

  constructor(features: number, positive: boolean, fn: (x: Tensor) => Tensor) {
    [this.features, this.positive, this.#fn] = [features, positive, fn];
  }

  forward(x: Tensor): Tensor {
    return this.#fn(x);
  }
}

/** `softmax([2 (W x + b), -2 (W x + b)])`, W starting as the identity (Zhang et al. 2024, Hedgehog, arXiv 2402.04347). */
class HedgehogMap implements FeatureMap {
  readonly layer: Linear;
  readonly features: number;
  readonly positive = true;
  readonly products: number;

  constructor(key: Tensor, size: number) {
    this.layer = new Linear({ key, inputs: size, outputs: size });
    const { weight, bias } = this.layer;
    weight.value = after(eye(size, size, { device: key.device, dtype: weight.value.dtype }), []);
    bias!.value = after(zerosLike(bias!.value), []);
    this.features = 2 * size;
    this.products = size * size;
  }

  forward(x: Tensor): Tensor {
    const twice = mul(this.layer.forward(x), 2);
    return softmax(concat([twice, neg(twice)], -1), -1);
  }
}

/** `relu(W x + b)` (Kasai et al. 2021, arXiv 2103.13076). */
class TransformerToRnnMap implements FeatureMap {
  readonly layer: Linear;
  readonly features: number;
  readonly positive = true;
  readonly products: number;

  constructor(key: Tensor, size: number) {
    this.layer = new Linear({ key, inputs: size, outputs: size });
    this.features = size;
    this.products = size * size;
  }

  forward(x: Tensor): Tensor {
    return this.layer.forward(x, "relu");
  }
}

/** `(W1 x + b1) * (W2 x + b2)`: mad-lab's default. */
class ElementwiseProductMap implements FeatureMap {
  readonly layer1: Linear;
  readonly layer2: Linear;
  readonly features: number;
  readonly positive = false;
  readonly products: number;

  constructor(key: Tensor, size: number) {
    const [a, b] = random.splitKey(key) as [Tensor, Tensor];
    this.layer1 = new Linear({ key: a, inputs: size, outputs: size });
    this.layer2 = new Linear({ key: b, inputs: size, outputs: size });
    this.features = size;
    this.products = 2 * size * size;
  }

  forward(x: Tensor): Tensor {
    return mul(this.layer1.forward(x), this.layer2.forward(x));
  }
}

/** `elu(x) + 1` (Katharopoulos et al. 2020). */
const eluPlusOne = (x: Tensor): Tensor => where(greater(x, 0), add(x, 1), exp(minimum(x, 0)));

/** Inner products are `1 + s + s^2 / 2` of the scaled score s (Arora et al. 2024, Based, arXiv 2402.18668). */
function taylor(x: Tensor): Tensor {
  const size = x.shape[x.rank - 1]!;
  // Products of entries i and i + lag; those off the diagonal stand for two.
  const lags = Array.from({ length: size }, (_, lag) =>
    mul(
      mul(narrow(x, -1, 0, size - lag), narrow(x, -1, lag, size)),
      (lag === 0 ? Math.SQRT1_2 : 1) / Math.sqrt(size),
    ),
  );
  return concat([onesLike(narrow(x, -1, 0, 1)), mul(x, size ** -0.25), ...lags], -1);
}

const DPFP_LAGS = 4;

/** Products of `r = relu([x, -x])` with itself, rolled by 1 to 4 (Schlag et al. 2021, arXiv 2102.11174). */
function deterministicProjection(x: Tensor, negated: boolean): Tensor {
  const r = concat([relu(x), negated ? neg(relu(x)) : relu(neg(x))], -1);
  return concat(
    Array.from({ length: DPFP_LAGS }, (_, j) => mul(r, roll(r, j + 1, -1))),
    -1,
  );
}

/**
 * @param size K
 * @param negatedDpfp `relu([x, -x])` of DPFP as `[relu(x), -relu(x)]`, as mad-lab has it
 */
export function makeFeatureMap(name: string, key: Tensor, size: number, negatedDpfp = false): FeatureMap {
  switch (name as FeatureMapName) {
    case "elu":
      return new FixedMap(size, true, eluPlusOne);
    case "relu":
      return new FixedMap(size, true, relu);
    case "identity":
      return new FixedMap(size, false, (x) => x);
    case "taylor":
      return new FixedMap(1 + size + (size * (size + 1)) / 2, true, taylor);
    case "dpfp":
      return new FixedMap(2 * size * DPFP_LAGS, !negatedDpfp, (x) => deterministicProjection(x, negatedDpfp));
    case "hedgehog":
      return new HedgehogMap(key, size);
    case "t2r":
      return new TransformerToRnnMap(key, size);
    case "elementwise_product":
      return new ElementwiseProductMap(key, size);
    default:
      throw new ConfigError("LinearAttention", `unknown feature map "${name}"`, {
        expected: FEATURE_MAPS.join(", "),
      });
  }
}
