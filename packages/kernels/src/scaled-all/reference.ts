import type { HostArray } from "@everlong/core";

/** Slice by slice. */
export function scaledAllReference(
  [factor, ...tensors]: readonly HostArray[],
  outputs: readonly HostArray[],
): void {
  const slices = factor!.data.length;
  outputs.forEach(({ data }, k) => {
    const each = data.length / slices;
    tensors[k]!.data.forEach((x, i) => (data[i] = x * factor!.data[Math.floor(i / each)]!));
  });
}
