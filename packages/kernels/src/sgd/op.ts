// One step of gradient descent with momentum, in place where nobody else holds the old values.

import {
  add,
  broadcastTo,
  cast,
  checkOptions,
  defineOp,
  mul,
  reshape,
  sizeOf,
  sub,
  unsqueeze,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { need, needCompute } from "../inputs.ts";
import { sgdReference } from "./reference.ts";

export interface SgdParams {
  readonly momentum: number;
  readonly weightDecay: number;
  readonly nesterov: boolean;
}

function decompose(
  [p, g, b, rate]: readonly Tensor[],
  { momentum, weightDecay, nesterov }: SgdParams,
): Tensor[] {
  const slope = weightDecay === 0 ? g! : add(g!, mul(p!, weightDecay));
  const velocity = add(mul(b!, momentum), slope);
  return [sub(p!, mul(nesterov ? add(slope, mul(velocity, momentum)) : velocity, rate!)), velocity];
}

/** `(p, g, velocity, rate []) -> (p, velocity)`. */
export const sgdOp: Op<SgdParams> = defineOp<SgdParams>({
  name: "sgd",
  shape: ([p, g, b, rate]) => {
    const dtype = needCompute("sgd", "parameter", p!);
    need("sgd", "gradient", g!, p!.shape, "shape of the parameter", dtype);
    need("sgd", "velocity", b!, p!.shape, "shape of the parameter", dtype);
    need("sgd", "rate", rate!, [], "a scalar", dtype);
    return [p!, p!];
  },
  reference: sgdReference,
  decompose,
  batch: ({ inputs, mapped, size, params }) => {
    const rank = Math.max(...inputs.map((t, i) => t.rank - (mapped[i] ? 1 : 0)));
    const spread = inputs.map((t, i) => {
      const wide = mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]);
      const ones = Array.from<number>({ length: rank + 1 - wide.rank }).fill(1);
      return reshape(wide, [size, ...ones, ...wide.shape.slice(1)]);
    });
    return decompose(spread, params);
  },
  cost: (inputs, outputs) => ({ flops: 6 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
  inPlace: [0, 2],
});

export interface SgdOptions {
  /** Default 0. */
  readonly momentum?: number;
  /** L2 penalty: joins the gradient. Default 0. */
  readonly weightDecay?: number;
  /** Looks one step of momentum ahead. Default false. */
  readonly nesterov?: boolean;
}

/** As torch's SGD without dampening; the velocity starts at zeros. `rate` is a scalar tensor. */
export function sgdUpdate(
  state: { readonly p: Tensor; readonly g: Tensor; readonly velocity: Tensor },
  rate: Tensor,
  options: SgdOptions = {},
): { p: Tensor; velocity: Tensor } {
  checkOptions("sgd", options, ["momentum", "weightDecay", "nesterov"]);
  const { momentum = 0, weightDecay = 0, nesterov = false } = options;
  const { p: parameter, g, velocity: before } = state;
  const dtype = parameter.dtype;
  const [p, velocity] = sgdOp([parameter, cast(g, dtype), before, cast(rate, dtype)], {
    momentum,
    weightDecay,
    nesterov,
  }) as [Tensor, Tensor];
  return { p, velocity };
}
