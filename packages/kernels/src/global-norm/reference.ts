import type { HostArray } from "@everlong/core";

/** The root of the sum of squares, by slice. */
export function globalNormReference(inputs: readonly HostArray[], [norm]: readonly HostArray[]): void {
  const slices = norm!.data.length;
  for (let s = 0; s < slices; s++) {
    let sum = 0;
    for (const { data } of inputs) {
      const each = data.length / slices;
      for (let i = s * each; i < (s + 1) * each; i++) sum += data[i]! ** 2;
    }
    norm!.data[s] = Math.sqrt(sum);
  }
}
