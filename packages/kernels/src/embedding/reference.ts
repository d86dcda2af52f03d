import type { HostArray } from "@everlong/core";
import type { EmbeddingGradParams } from "./op.ts";

const clamped = (id: number, rows: number): number => Math.min(Math.max(id, 0), rows - 1);

/** `y[i] = table[ids[i]]`. */
export function embeddingReference([table, ids]: readonly HostArray[], [y]: readonly HostArray[]): void {
  const [rows, width] = table!.shape as [number, number];
  ids!.data.forEach((id, i) => {
    const from = clamped(id, rows) * width;
    y!.data.set(table!.data.subarray(from, from + width), i * width);
  });
}

/** `dtable[r] = sum of dy[i] over the places with ids[i] = r`, in the order of i. */
export function embeddingGradReference(
  [ids, dy]: readonly HostArray[],
  [dtable]: readonly HostArray[],
  { rows }: EmbeddingGradParams,
): void {
  const width = dtable!.shape[1]!;
  dtable!.data.fill(0);
  ids!.data.forEach((id, i) => {
    const to = clamped(id, rows) * width;
    for (let d = 0; d < width; d++) dtable!.data[to + d]! += dy!.data[i * width + d]!;
  });
}
