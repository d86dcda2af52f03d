import type { HostArray } from "@everlong/core";

/** `y_i = exp(x_i - max) / sum_j exp(x_j - max)` along the last axis. */
export function softmaxReference([x]: readonly HostArray[], [y]: readonly HostArray[]): void {
  const n = x!.shape[x!.shape.length - 1]!;
  for (let from = 0; from < x!.data.length; from += n) {
    const row = x!.data.subarray(from, from + n);
    const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
    let total = 0;
    for (let i = 0; i < n; i++) total += Math.exp(row[i]! - top);
    for (let i = 0; i < n; i++) y!.data[from + i] = Math.exp(row[i]! - top) / total;
  }
}

/** `dx = y (dy - sum_j dy_j y_j)`. */
export function softmaxGradReference([y, dy]: readonly HostArray[], [dx]: readonly HostArray[]): void {
  const n = y!.shape[y!.shape.length - 1]!;
  for (let from = 0; from < y!.data.length; from += n) {
    let dot = 0;
    for (let i = from; i < from + n; i++) dot += y!.data[i]! * dy!.data[i]!;
    for (let i = from; i < from + n; i++) dx!.data[i] = y!.data[i]! * (dy!.data[i]! - dot);
  }
}
