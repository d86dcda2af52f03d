import type { HostArray } from "@everlong/core";
import { settingAt } from "../update-settings.ts";
import type { SgdParams } from "./op.ts";

/** `d = g + weightDecay p`, `b = momentum b + d`, `p = p - rate b` (Nesterov: `p - rate (d + momentum b)`). */
export function sgdReference(
  [p, g, b, rate, decay]: readonly HostArray[],
  [pOut, bOut]: readonly HostArray[],
  { momentum, weightDecay, nesterov }: SgdParams,
): void {
  for (let i = 0; i < p!.data.length; i++) {
    const slope = g!.data[i]! + (decay ? settingAt(decay, p!, i) : weightDecay) * p!.data[i]!;
    const velocity = momentum * b!.data[i]! + slope;
    bOut!.data[i] = velocity;
    pOut!.data[i] =
      p!.data[i]! - settingAt(rate!, p!, i) * (nesterov ? slope + momentum * velocity : velocity);
  }
}
