// One step of gradient descent with momentum, in place where nobody else holds the old values.

import { add, cast, checkOptions, defineOp, mul, sizeOf, sub, type Op, type Tensor } from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { need, needCompute } from "../inputs.ts";
import { alongParameter, batchUpdate, needSetting } from "../update-settings.ts";
import { sgdReference } from "./reference.ts";

export interface SgdParams {
  readonly momentum: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
}

function decompose(
  [p, g, b, ...settings]: readonly Tensor[],
  { momentum, weightDecay, nesterov }: SgdParams,
): Tensor[] {
  const [rate, decay = weightDecay] = settings.map((t) => alongParameter(t, p!));
  const slope = decay === 0 ? g! : add(g!, mul(p!, decay));
  const velocity = add(mul(b!, momentum), slope);
  return [sub(p!, mul(nesterov ? add(slope, mul(velocity, momentum)) : velocity, rate!)), velocity];
}

/**
 * `(p, g, velocity, rate, decay?) -> (p, velocity)`. A decay stands in for `params.weightDecay`. Both are scalars, or `[S]` for
 * the slices of a parameter `[S, ...]`.
 */
export const sgdOp: Op<SgdParams> = defineOp<SgdParams>({
  name: "sgd",
  shape: ([p, g, b, rate, decay]) => {
    const dtype = needCompute("sgd", "parameter", p!);
    need("sgd", "gradient", g!, p!.shape, "shape of the parameter", dtype);
    need("sgd", "velocity", b!, p!.shape, "shape of the parameter", dtype);
    needSetting("sgd", "rate", rate!, p!, dtype);
    if (decay) needSetting("sgd", "decay", decay, p!, dtype);
    return [p!, p!];
  },
  reference: sgdReference,
  decompose,
  batch: (context) => batchUpdate(context, 3),
  cost: (inputs, outputs) => ({ flops: 6 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
  inPlace: [0, 2],
});

export interface SgdOptions {
  /** Default 0. */
  readonly momentum?: number;
  /** L2 penalty: joins the gradient. A number, or a tensor like `rate`. Default 0. */
  readonly weightDecay?: number | Tensor;
  /** Looks one step of momentum ahead. Default false. */
  readonly nesterov?: boolean;
}

/**
 * As torch's SGD without dampening; the velocity starts at zeros. `rate` is a scalar
 * tensor, or `[S]` for the slices of a parameter `[S, ...]`.
 */
export function sgdUpdate(
  state: { readonly p: Tensor; readonly g: Tensor; readonly velocity: Tensor },
  rate: Tensor,
  options: SgdOptions = {},
): { p: Tensor; velocity: Tensor } {
  checkOptions("sgd", options, ["momentum", "weightDecay", "nesterov"]);
  const { momentum = 0, weightDecay = 0, nesterov = false } = options;
  const { p: parameter, g, velocity: before } = state;
  const dtype = parameter.dtype;
  const fixed = typeof weightDecay === "number";
  const settings = [rate, ...(fixed ? [] : [weightDecay])].map((t) => cast(t, dtype));
  const [p, velocity] = sgdOp([parameter, cast(g, dtype), before, ...settings], {
    momentum,
    weightDecay: fixed ? weightDecay : 0,
    nesterov,
  }) as [Tensor, Tensor];
  return { p, velocity };
}
