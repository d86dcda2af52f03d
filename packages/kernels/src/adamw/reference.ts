import type { HostArray } from "@everlong/core";
import type { AdamWParams } from "./op.ts";

/** One step of Adam with decoupled weight decay; see op.ts for the formulas. */
export function adamwReference(
  [p, g, m, v, rate, step]: readonly HostArray[],
  [pOut, mOut, vOut]: readonly HostArray[],
  { beta1, beta2, eps, weightDecay }: AdamWParams,
): void {
  const lr = rate!.data[0]!;
  const t = step!.data[0]!;
  const size = lr / (1 - beta1 ** t);
  const root = Math.sqrt(1 - beta2 ** t);
  for (let i = 0; i < p!.data.length; i++) {
    const slope = g!.data[i]!;
    const first = m!.data[i]! + (1 - beta1) * (slope - m!.data[i]!);
    const second = beta2 * v!.data[i]! + (1 - beta2) * slope * slope;
    mOut!.data[i] = first;
    vOut!.data[i] = second;
    pOut!.data[i] = p!.data[i]! * (1 - lr * weightDecay) - (size * first) / (Math.sqrt(second) / root + eps);
  }
}
