import type { HostArray } from "@everlong/core";
import { settingAt } from "../update-settings.ts";
import type { AdamWParams } from "./op.ts";

/** One step of Adam with decoupled weight decay; see op.ts for the formulas. */
export function adamwReference(
  [p, g, m, v, rate, step, decay]: readonly HostArray[],
  [pOut, mOut, vOut]: readonly HostArray[],
  { beta1, beta2, eps, weightDecay }: AdamWParams,
): void {
  for (let i = 0; i < p!.data.length; i++) {
    const lr = settingAt(rate!, p!, i);
    const t = settingAt(step!, p!, i);
    const size = lr / (1 - beta1 ** t);
    const root = Math.sqrt(1 - beta2 ** t);
    const kept = 1 - lr * (decay ? settingAt(decay, p!, i) : weightDecay);
    const slope = g!.data[i]!;
    const first = m!.data[i]! + (1 - beta1) * (slope - m!.data[i]!);
    const second = beta2 * v!.data[i]! + (1 - beta2) * slope * slope;
    mOut!.data[i] = first;
    vOut!.data[i] = second;
    pOut!.data[i] = p!.data[i]! * kept - (size * first) / (Math.sqrt(second) / root + eps);
  }
}
