// Cross-entropy of logits with class targets. The forward pass keeps one number per row (the log-sum-exp); the gradient
// is one pass over the logits, which it may overwrite.

import {
  ConfigError,
  DTypeError,
  ShapeError,
  add,
  broadcastTo,
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
  reshape,
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
import { isHalf, need, needCompute, needFloat, wideDtype, widened } from "../inputs.ts";
import { isMixed } from "../precision.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import {
  crossEntropyGradReference,
  crossEntropyReference,
  meanCrossEntropyGradReference,
  meanCrossEntropyReference,
} from "./reference.ts";

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

/** Sums over all axes from `first` on. */
const total = (t: Tensor, first: number): Tensor =>
  sum(
    t,
    t.shape.map((_, i) => i).filter((i) => i >= first),
  );

function compute(logits: Tensor, targets: Tensor, params: CrossEntropyParams, first: number): Tensor[] {
  const [losses, lse] = crossEntropyOp([widened(logits), targets], params) as [Tensor, Tensor];
  const counted = total(cast(notEqual(targets, params.ignoreIndex), losses.dtype), first);
  return [div(total(losses, first), counted), lse, counted];
}

const decomposeMean = ([logits, targets]: readonly Tensor[], params: CrossEntropyParams): Tensor[] =>
  compute(logits!, targets!, params, 0);

function decomposeMeanGrad(
  [logits, targets, lse, counted, dloss]: readonly Tensor[],
  params: CrossEntropyParams,
): Tensor[] {
  const each = broadcastTo(div(dloss!, counted!), targets!.shape);
  const [dx] = crossEntropyGradOp([widened(logits!), targets!, lse!, each], params) as [Tensor];
  return [cast(dx, logits!.dtype)];
}

/** `(logits [..., N], targets i32 [...]) -> (mean loss, log-sum-exp [...], rows that count)`. */
export const meanCrossEntropyOp: Op<CrossEntropyParams> = defineOp<CrossEntropyParams>({
  name: "mean-cross-entropy",
  shape: ([logits, targets]) => {
    const wide = wideDtype(needFloat("mean-cross-entropy", "logits", logits!));
    need("mean-cross-entropy", "targets", targets!, logits!.shape.slice(0, -1), "rows of the logits", "i32");
    return [
      { shape: [], dtype: wide },
      { shape: targets!.shape, dtype: wide },
      { shape: [], dtype: wide },
    ];
  },
  reference: meanCrossEntropyReference,
  decompose: decomposeMean,
  vjp: (context) => {
    const { inputs, outputs, params, cotangents } = context;
    if (!cotangents[0] || cotangents[1] || cotangents[2]) return gradientsThrough(decomposeMean, context);
    const [dx] = meanCrossEntropyGradOp([...inputs, outputs[1]!, outputs[2]!, cotangents[0]], params);
    return [dx, undefined];
  },
  // Every example has a mean of its own.
  batch: ({ inputs: [logits, targets], mapped, size, params }) => {
    const wide = (t: Tensor, i: number): Tensor =>
      mapped[i] ? t : broadcastTo(reshape(t, [1, ...t.shape]), [size, ...t.shape]);
    return compute(wide(logits!, 0), wide(targets!, 1), params, 1);
  },
  cost: (inputs, outputs) => ({ flops: 5 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
});

/** `(logits, targets, lse, rows that count, dloss) -> dlogits`. */
export const meanCrossEntropyGradOp: Op<CrossEntropyParams> = defineOp<CrossEntropyParams>({
  name: "mean-cross-entropy-grad",
  shape: ([logits, targets, lse, counted, dloss]) => {
    const wide = wideDtype(needFloat("mean-cross-entropy-grad", "logits", logits!));
    const rows = logits!.shape.slice(0, -1);
    need("mean-cross-entropy-grad", "targets", targets!, rows, "rows of the logits", "i32");
    need("mean-cross-entropy-grad", "lse", lse!, rows, "rows of the logits", wide);
    need("mean-cross-entropy-grad", "counted", counted!, [], "[]", wide);
    need("mean-cross-entropy-grad", "dloss", dloss!, [], "[]", wide);
    return [logits!];
  },
  reference: meanCrossEntropyGradReference,
  decompose: decomposeMeanGrad,
  vjp: (context) => gradientsThrough(decomposeMeanGrad, context),
  batch: ({ inputs, mapped, size, params }) => {
    const [logits, targets, lse, counted, dloss] = inputs.map((t, i) =>
      mapped[i] ? t : broadcastTo(reshape(t, [1, ...t.shape]), [size, ...t.shape]),
    ) as [Tensor, Tensor, Tensor, Tensor, Tensor];
    const scale = reshape(div(dloss, counted), [size, ...targets.shape.slice(1).map(() => 1)]);
    const each = broadcastTo(scale, targets.shape);
    const [dx] = crossEntropyGradOp([widened(logits), targets, lse, each], params) as [Tensor];
    return [cast(dx, logits.dtype)];
  },
  cost: (inputs, outputs) => ({ flops: 4 * sizeOf(inputs[0]!.shape), bytes: bytesMoved(inputs, outputs) }),
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
  if (isMixed() && isHalf(logits.dtype) && reduction === "mean")
    return meanCrossEntropyOp([logits, classes], { ignoreIndex, labelSmoothing })[0]!;
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
