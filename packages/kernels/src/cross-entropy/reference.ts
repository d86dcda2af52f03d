import type { HostArray } from "@everlong/core";
import type { CrossEntropyParams } from "./op.ts";

/** Per row: the log-sum-exp, and `lse - (1 - s) x_target - s mean(x)`, or 0 where the target is ignored. */
export function crossEntropyReference(
  [logits, targets]: readonly HostArray[],
  [losses, lse]: readonly HostArray[],
  { ignoreIndex, labelSmoothing: s }: CrossEntropyParams,
): void {
  const n = logits!.shape[logits!.shape.length - 1]!;
  for (let row = 0; row < targets!.data.length; row++) {
    const x = logits!.data.subarray(row * n, row * n + n);
    const target = targets!.data[row]!;
    const top = x.reduce((a, b) => Math.max(a, b), -Infinity);
    let total = 0;
    let mean = 0;
    for (let i = 0; i < n; i++) {
      total += Math.exp(x[i]! - top);
      mean += x[i]! / n;
    }
    lse!.data[row] = top + Math.log(total);
    if (target === ignoreIndex) losses!.data[row] = 0;
    else if (target < 0 || target >= n) losses!.data[row] = NaN;
    else losses!.data[row] = lse!.data[row]! - (1 - s) * x[target]! - (s > 0 ? s * mean : 0);
  }
}

/** `dx_i = dloss (softmax_i - (1 - s) [i = target] - s / N)`, zeros where the target is ignored. */
export function crossEntropyGradReference(
  [logits, targets, lse, dloss]: readonly HostArray[],
  [dx]: readonly HostArray[],
  { ignoreIndex, labelSmoothing: s }: CrossEntropyParams,
): void {
  const n = logits!.shape[logits!.shape.length - 1]!;
  for (let row = 0; row < targets!.data.length; row++) {
    const target = targets!.data[row]!;
    const out = target !== ignoreIndex && (target < 0 || target >= n);
    for (let i = 0; i < n; i++) {
      const p = Math.exp(logits!.data[row * n + i]! - lse!.data[row]!);
      const slope = p - (i === target ? 1 - s : 0) - s / n;
      dx!.data[row * n + i] = out ? NaN : target === ignoreIndex ? 0 : dloss!.data[row]! * slope;
    }
  }
}

/** The mean over rows that are not ignored, and how many those are. */
export function meanCrossEntropyReference(
  [logits, targets]: readonly HostArray[],
  [mean, lse, counted]: readonly HostArray[],
  params: CrossEntropyParams,
): void {
  const losses: HostArray = { shape: targets!.shape, data: new Float64Array(targets!.data.length) };
  crossEntropyReference([logits!, targets!], [losses, lse!], params);
  counted!.data[0] = targets!.data.filter((t) => t !== params.ignoreIndex).length;
  mean!.data[0] = losses.data.reduce((a, b) => a + b, 0) / counted!.data[0];
}

/** Every row's gradient at the share of the mean that falls to it. */
export function meanCrossEntropyGradReference(
  [logits, targets, lse, counted, dloss]: readonly HostArray[],
  outputs: readonly HostArray[],
  params: CrossEntropyParams,
): void {
  const share = dloss!.data[0]! / counted!.data[0]!;
  const each: HostArray = {
    shape: targets!.shape,
    data: new Float64Array(targets!.data.length).fill(share),
  };
  crossEntropyGradReference([logits!, targets!, lse!, each], outputs, params);
}
