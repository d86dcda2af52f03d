// The debugging aid that finds the first step whose result holds a NaN.

import { DTYPES, isFloat, NumericError, readElement, show, type Program, writtenBy } from "@everlong/core";
import type { Layout } from "./runtime.ts";
import type { Transfers } from "./transfers.ts";

/** Throws a {@link NumericError} naming the step and the user's line when a float output of the step holds NaN. */
export function checkFinite(transfers: Transfers, layout: Layout, program: Program, index: number): void {
  for (const { buffer, dtype, view } of writtenBy(program.steps[index]!)) {
    if (!isFloat(dtype) || view.shape.includes(0)) continue;
    const reach =
      view.shape.reduce((at, n, i) => at + Math.max(0, (n - 1) * view.strides[i]!), view.offset) + 1;
    const host = DTYPES[dtype].array(reach);
    transfers.downloadNow(layout.frame.addresses[buffer]!, new Uint8Array(host.buffer));
    const at = view.shape.map(() => 0);
    const size = view.shape.reduce((a, b) => a * b, 1);
    for (let n = 0; n < size; n++) {
      const offset = at.reduce((sum, i, axis) => sum + i * view.strides[axis]!, view.offset);
      if (Number.isNaN(readElement(dtype, host, offset))) {
        const site = program.sites[index];
        throw new NumericError(
          "nan",
          `step ${index} (${layout.steps[index]!.name}) made the first NaN, at ${show(at)} of ${dtype}${show(view.shape)}`,
          {
            hint: site
              ? `It was recorded at ${site}.`
              : "Set EVERLONG_DEBUG=nan before recording, to see the line.",
          },
        );
      }
      for (let axis = at.length - 1; axis >= 0; axis--) {
        if (++at[axis]! < view.shape[axis]!) break;
        at[axis] = 0;
      }
    }
  }
}
