// One step of AdamW (Loshchilov & Hutter 2019) on one parameter, in place where nobody else holds the old values.

import {
  ConfigError,
  add,
  cast,
  checkOptions,
  defineOp,
  div,
  mul,
  pow,
  sizeOf,
  sqrt,
  square,
  sub,
  full,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { need, needCompute } from "../inputs.ts";
import { alongParameter, batchUpdate, needSetting } from "../update-settings.ts";
import { adamwReference } from "./reference.ts";

export interface AdamWParams {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

function decompose([p, g, m, v, ...settings]: readonly Tensor[], params: AdamWParams): Tensor[] {
  const { beta1, beta2, eps } = params;
  const [rate, step, decay = params.weightDecay] = settings.map((t) => alongParameter(t, p!));
  const correction = (beta: number): Tensor =>
    sub(1, pow(full([], beta, { dtype: p!.dtype, device: p!.device }), step!));
  const first = add(m!, mul(sub(g!, m!), 1 - beta1));
  const second = add(mul(v!, beta2), mul(square(g!), 1 - beta2));
  const size = div(rate!, correction(beta1));
  const bottom = add(div(sqrt(second), sqrt(correction(beta2))), eps);
  const kept = mul(p!, sub(1, mul(rate!, decay)));
  return [sub(kept, div(mul(size, first), bottom)), first, second];
}

/**
 * `(p, g, m, v, rate, step, decay?) -> (p, m, v)`. The step counts from 1; a decay stands in for `params.weightDecay`. Each of
 * the three is a scalar, or `[S]` for the slices of a parameter `[S, ...]`.
 */
export const adamwOp: Op<AdamWParams> = defineOp<AdamWParams>({
  name: "adamw",
  shape: ([p, g, m, v, rate, step, decay]) => {
    const dtype = needCompute("adamw", "parameter", p!);
    need("adamw", "gradient", g!, p!.shape, "shape of the parameter", dtype);
    need("adamw", "first moment", m!, p!.shape, "shape of the parameter", dtype);
    need("adamw", "second moment", v!, p!.shape, "shape of the parameter", dtype);
    needSetting("adamw", "rate", rate!, p!, dtype);
    needSetting("adamw", "step", step!, p!, dtype);
    if (decay) needSetting("adamw", "decay", decay, p!, dtype);
    return [p!, p!, p!];
  },
  reference: adamwReference,
  decompose,
  batch: (context) => batchUpdate(context, 4),
  cost: (inputs, outputs) => ({ flops: 14 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
  inPlace: [0, 2, 3],
});

export interface AdamWOptions {
  /** Decay rates of the moments. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
  /** Decoupled: the parameter shrinks by `rate * weightDecay`. A number, or a tensor like `rate`. Default 0.01. */
  readonly weightDecay?: number | Tensor;
}

/**
 * `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
 * `p = p (1 - rate weightDecay) - rate / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps)`.
 * @param rate learning rate: a scalar tensor, or `[S]` for the slices of a parameter `[S, ...]`
 * @param step how many steps there were, this one included; shaped as a rate, of any number type
 */
export function adamwUpdate(
  state: { readonly p: Tensor; readonly g: Tensor; readonly m: Tensor; readonly v: Tensor },
  rate: Tensor,
  step: Tensor,
  options: AdamWOptions = {},
): { p: Tensor; m: Tensor; v: Tensor } {
  checkOptions("adamw", options, ["betas", "eps", "weightDecay"]);
  const { betas = [0.9, 0.999], eps = 1e-8, weightDecay = 0.01 } = options;
  if (!betas.every((b) => b >= 0 && b < 1)) {
    throw new ConfigError("adamw", "betas out of range", {
      expected: "two numbers in [0, 1)",
      got: `[${betas.join(", ")}]`,
    });
  }
  const { p: parameter, g, m: first, v: second } = state;
  const dtype = parameter.dtype;
  const fixed = typeof weightDecay === "number";
  const settings = [rate, step, ...(fixed ? [] : [weightDecay])].map((t) => cast(t, dtype));
  const [p, m, v] = adamwOp([parameter, cast(g, dtype), first, second, ...settings], {
    beta1: betas[0],
    beta2: betas[1],
    eps,
    weightDecay: fixed ? weightDecay : 0,
  }) as [Tensor, Tensor, Tensor];
  return { p, m, v };
}
