// One step of an online convolution by plain sums.

import type { HostArray } from "@everlong/core";
import { ONLINE_BLOCK } from "./block.ts";

export function onlineConvReference(inputs: readonly HostArray[], outputs: readonly HostArray[]): void {
  const [u, taps, before, clock] = inputs.map((t) => t.data) as [
    Float64Array,
    Float64Array,
    Float64Array,
    Float64Array,
  ];
  const [y, held] = outputs.map((t) => t.data) as [Float64Array, Float64Array];
  const [batch, slots, channels] = inputs[2]!.shape as [number, number, number];
  const now = clock[0]!;
  held.set(before);
  if (now < 0 || now >= slots) return;
  const next = now + 1;
  const low = next & -next;
  const start = now - (now % ONLINE_BLOCK);
  for (let b = 0; b < batch; b++) {
    const at = (slot: number, c: number): number => (b * slots + slot) * channels + c;
    for (let c = 0; c < channels; c++) {
      held[at(now, c)] = u[b * channels + c]!;
      let total = before[at(now, c)]!;
      for (let s = start; s <= now; s++) total += taps[(now - s) * channels + c]! * held[at(s, c)]!;
      y[b * channels + c] = total;
      if (low < ONLINE_BLOCK) continue;
      for (let t = next; t < Math.min(next + low, slots); t++)
        for (let s = next - low; s < next; s++)
          held[at(t, c)]! += taps[(t - s) * channels + c]! * held[at(s, c)]!;
    }
  }
}
