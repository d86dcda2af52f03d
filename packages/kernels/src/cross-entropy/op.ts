// Cross-entropy of logits with class targets. The forward pass keeps one number per row (the log-sum-exp); the gradient
// is one pass over the logits, which it may overwrite.

import {
  ConfigError,
  DTypeError,
  ShapeError,
  add,
  cast,
  checkOptions,
  clamp,
  defineOp,
  div,
  equal,
  exp,
  full,
  logSumExp,
  mean,
  mul,
  notEqual,
  less,
  greaterEqual,
  or,
  oneHot,
  show,
  sizeOf,
  squeeze,
  sub,
  sum,
  takeAlong,
  unsqueeze,
  where,
  zerosLike,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { batchLeading } from "../batch-rows.ts";
import { bytesMoved } from "../cost.ts";
import { need, needCompute, widened } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { crossEntropyGradReference, crossEntropyReference } from "./reference.ts";

export interface CrossEntropyParams {
  readonly ignoreIndex: number;
  readonly labelSmoothing: number;
}

function checkRows(op: string, logits: TensorType, targets: TensorType): void {
  needCompute(op, "logits", logits);
  const { shape } = logits;
  if (shape.length === 0 || shape[shape.length - 1] === 0) {
    throw new ShapeError(op, "needs at least one class", { expected: "logits [..., N]", got: show(shape) });
  }
  if (targets.dtype !== "i32") {
    throw new DTypeError(op, "targets are class numbers", { expected: "i32", got: targets.dtype });
  }
  need(op, "targets", targets, shape.slice(0, -1), "logits without the last axis");
}

// A target outside the classes that is not the ignored one makes the loss NaN instead of a wrong number.
const misplaced = (targets: Tensor, classes: number, ignoreIndex: number): Tensor =>
  where(equal(targets, ignoreIndex), false, or(less(targets, 0), greaterEqual(targets, classes)));

function decompose(
  [logits, targets]: readonly Tensor[],
  { ignoreIndex, labelSmoothing: s }: CrossEntropyParams,
): Tensor[] {
  const classes = logits!.shape[logits!.rank - 1]!;
  const lse = logSumExp(logits!, -1);
  const safe = clamp(targets!, 0, classes - 1);
  const picked = squeeze(takeAlong(logits!, unsqueeze(safe, -1)), -1);
  let loss = sub(lse, mul(picked, 1 - s));
  if (s > 0) loss = sub(loss, mul(mean(logits!, -1), s));
  loss = where(equal(targets!, ignoreIndex), zerosLike(loss), loss);
  const nan = full([], NaN, { dtype: loss.dtype, device: loss.device });
  return [where(misplaced(targets!, classes, ignoreIndex), nan, loss), lse];
}

function decomposeGrad(
  [logits, targets, lse, dloss]: readonly Tensor[],
  { ignoreIndex, labelSmoothing: s }: CrossEntropyParams,
): Tensor[] {
  const classes = logits!.shape[logits!.rank - 1]!;
  const hot = oneHot(targets!, classes, logits!.dtype);
  const slope = sub(sub(exp(sub(logits!, unsqueeze(lse!, -1))), mul(hot, 1 - s)), s / classes);
  const weight = where(equal(targets!, ignoreIndex), zerosLike(dloss!), dloss!);
  const nan = full([], NaN, { dtype: dloss!.dtype, device: dloss!.device });
  return [mul(slope, unsqueeze(where(misplaced(targets!, classes, ignoreIndex), nan, weight), -1))];
}

/** `(logits [..., N], targets i32 [...]) -> (losses [...], log-sum-exp [...])`. */
export const crossEntropyOp: Op<CrossEntropyParams> = defineOp<CrossEntropyParams>({
  name: "cross-entropy",
  shape: ([logits, targets]) => {
    checkRows("cross-entropy", logits!, targets!);
    const rows = { shape: targets!.shape, dtype: logits!.dtype };
    return [rows, rows];
  },
  reference: crossEntropyReference,
  decompose,
  vjp: ({ inputs, outputs, params, cotangents }) => {
    const [logits, targets] = inputs as [Tensor, Tensor];
    const [dloss, dlse] = cotangents;
    let dx = dloss && crossEntropyGradOp([logits, targets, outputs[1]!, dloss], params)[0]!;
    if (dlse) {
      const through = mul(exp(sub(logits, unsqueeze(outputs[1]!, -1))), unsqueeze(dlse, -1));
      dx = dx ? add(dx, through) : through;
    }
    return [dx, undefined];
  },
  batch: batchLeading,
  cost: (inputs, outputs) => ({ flops: 5 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/** `(logits, targets, lse, dloss) -> dlogits`. */
export const crossEntropyGradOp: Op<CrossEntropyParams> = defineOp<CrossEntropyParams>({
  name: "cross-entropy-grad",
  shape: ([logits, targets, lse, dloss]) => {
    checkRows("cross-entropy-grad", logits!, targets!);
    need("cross-entropy-grad", "lse", lse!, targets!.shape, "shape of the targets", logits!.dtype);
    need("cross-entropy-grad", "dloss", dloss!, targets!.shape, "shape of the targets", logits!.dtype);
    return [logits!];
  },
  reference: crossEntropyGradReference,
  decompose: decomposeGrad,
  vjp: (context) => gradientsThrough(decomposeGrad, context),
  batch: batchLeading,
  cost: (inputs, outputs) => ({ flops: 4 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
  inPlace: [0],
});

export interface CrossEntropyOptions {
  /** Rows with this target count nothing. Default -100. */
  readonly ignoreIndex?: number;
  /** Share of the target's probability spread evenly over all classes, in [0, 1). Default 0. */
  readonly labelSmoothing?: number;
  /** `mean` over the rows that count (default; NaN when none does, as 0/0), `sum`, or `none`: one loss per row. */
  readonly reduction?: "mean" | "sum" | "none";
}

/**
 * Cross-entropy of `logits` `[..., N]` with class numbers `targets` `[...]` (i32), in nats. A target outside 0..N-1 that is
 * not `ignoreIndex` gives NaN.
 * @returns a scalar, or `[...]` with reduction `none`; f32 for half-precision logits.
 */
export function crossEntropy(logits: Tensor, targets: Tensor, options: CrossEntropyOptions = {}): Tensor {
  checkOptions("crossEntropy", options, ["ignoreIndex", "labelSmoothing", "reduction"]);
  const { ignoreIndex = -100, labelSmoothing = 0, reduction = "mean" } = options;
  if (!(labelSmoothing >= 0 && labelSmoothing < 1)) {
    throw new ConfigError("crossEntropy", "labelSmoothing out of range", {
      expected: "[0, 1)",
      got: `${labelSmoothing}`,
    });
  }
  const classes = targets.dtype === "u8" ? cast(targets, "i32") : targets;
  const losses = crossEntropyOp([widened(logits), classes], { ignoreIndex, labelSmoothing })[0]!;
  if (reduction === "none") return losses;
  if (reduction === "sum") return sum(losses);
  if (reduction !== "mean") {
    throw new ConfigError("crossEntropy", "unknown reduction", {
      expected: "mean, sum or none",
      got: String(reduction),
    });
  }
  const counted = sum(cast(notEqual(classes, ignoreIndex), losses.dtype));
  return div(sum(losses), counted);
}
