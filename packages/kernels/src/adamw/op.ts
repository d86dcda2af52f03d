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
  reshape,
  sizeOf,
  sqrt,
  square,
  sub,
  broadcastTo,
  unsqueeze,
  full,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { need, needCompute } from "../inputs.ts";
import { adamwReference } from "./reference.ts";

export interface AdamWParams {
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
}

function decompose([p, g, m, v, rate, step]: readonly Tensor[], params: AdamWParams): Tensor[] {
  const { beta1, beta2, eps, weightDecay } = params;
  const correction = (beta: number): Tensor =>
    sub(1, pow(full([], beta, { dtype: p!.dtype, device: p!.device }), step!));
  const first = add(m!, mul(sub(g!, m!), 1 - beta1));
  const second = add(mul(v!, beta2), mul(square(g!), 1 - beta2));
  const size = div(rate!, correction(beta1));
  const bottom = add(div(sqrt(second), sqrt(correction(beta2))), eps);
  const kept = mul(p!, sub(1, mul(rate!, weightDecay)));
  return [sub(kept, div(mul(size, first), bottom)), first, second];
}

/** `(p, g, m, v, rate [], step []) -> (p, m, v)`. The step counts from 1. */
export const adamwOp: Op<AdamWParams> = defineOp<AdamWParams>({
  name: "adamw",
  shape: ([p, g, m, v, rate, step]) => {
    const dtype = needCompute("adamw", "parameter", p!);
    need("adamw", "gradient", g!, p!.shape, "shape of the parameter", dtype);
    need("adamw", "first moment", m!, p!.shape, "shape of the parameter", dtype);
    need("adamw", "second moment", v!, p!.shape, "shape of the parameter", dtype);
    need("adamw", "rate", rate!, [], "a scalar", dtype);
    need("adamw", "step", step!, [], "a scalar", dtype);
    return [p!, p!, p!];
  },
  reference: adamwReference,
  decompose,
  // Scalars of an example stand before its parameters' axes; then everything is elementwise.
  batch: ({ inputs, mapped, size, params }) => {
    const rank = Math.max(...inputs.map((t, i) => t.rank - (mapped[i] ? 1 : 0)));
    const spread = inputs.map((t, i) => {
      const wide = mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]);
      const ones = Array.from<number>({ length: rank + 1 - wide.rank }).fill(1);
      return reshape(wide, [size, ...ones, ...wide.shape.slice(1)]);
    });
    return decompose(spread, params);
  },
  cost: (inputs, outputs) => ({ flops: 14 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
  inPlace: [0, 2, 3],
});

export interface AdamWOptions {
  /** Decay rates of the moments. Default [0.9, 0.999]. */
  readonly betas?: readonly [number, number];
  /** Default 1e-8. */
  readonly eps?: number;
  /** Decoupled: the parameter shrinks by `rate * weightDecay`. Default 0.01. */
  readonly weightDecay?: number;
}

/**
 * `m = beta1 m + (1 - beta1) g`, `v = beta2 v + (1 - beta2) g^2`,
 * `p = p (1 - rate weightDecay) - rate / (1 - beta1^step) m / (sqrt(v / (1 - beta2^step)) + eps)`.
 * @param rate learning rate, a scalar tensor
 * @param step how many steps there were, this one included; a scalar tensor of any number type
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
  const [p, m, v] = adamwOp(
    [parameter, cast(g, dtype), first, second, cast(rate, dtype), cast(step, dtype)],
    {
      beta1: betas[0],
      beta2: betas[1],
      eps,
      weightDecay,
    },
  ) as [Tensor, Tensor, Tensor];
  return { p, m, v };
}
