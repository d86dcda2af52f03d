import type { HostArray } from "@everlong/core";
import type { RotaryParams } from "./op.ts";

/** Per pair (a, b) of features: `(a c - b s, b c + a s)`; inverse: `(a c + b s, b c - a s)`. Features beyond the pairs pass. */
export function rotaryReference(
  [x, cos, sin]: readonly HostArray[],
  [y]: readonly HostArray[],
  { interleaved, inverse }: RotaryParams,
): void {
  const [batch, time, heads, size] = x!.shape as [number, number, number, number];
  const half = cos!.shape.at(-1)!;
  y!.data.set(x!.data);
  for (let token = 0; token < batch * time; token++) {
    const row = (cos!.shape.length === 3 ? token : token % time) * half;
    for (let h = 0; h < heads; h++) {
      const at = (token * heads + h) * size;
      for (let i = 0; i < half; i++) {
        const [p, q] = interleaved ? [at + 2 * i, at + 2 * i + 1] : [at + i, at + half + i];
        const [a, b] = [x!.data[p]!, x!.data[q]!];
        const c = cos!.data[row + i]!;
        const s = (inverse ? -1 : 1) * sin!.data[row + i]!;
        y!.data[p] = a * c - b * s;
        y!.data[q] = b * c + a * s;
      }
    }
  }
}
