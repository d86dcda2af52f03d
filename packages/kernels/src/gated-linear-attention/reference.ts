import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import type { LinearScanParams } from "./op.ts";

/**
 * Per batch entry and head, a matrix M `[I, J]`: forward `M <- exp(g_t) M + a_t b_t^T`, `y_t = M^T c_t`; reverse (from the last
 * step to the first) `M <- M + a_t b_t^T`, `y_t = M^T c_t`, `M <- exp(g_t) M`. `g` scales rows or columns of M.
 */
export function linearScanReference(
  inputs: readonly HostArray[],
  [y, last]: readonly HostArray[],
  params: LinearScanParams,
): void {
  const { a, b, c, g, initial } = named(params.inputs, inputs);
  const [batch, time, heads, rows] = a!.shape as [number, number, number, number];
  const columns = b!.shape[3]!;
  const m = new Float64Array(rows * columns);
  for (let n = 0; n < batch; n++) {
    for (let h = 0; h < heads; h++) {
      const stateAt = (n * heads + h) * rows * columns;
      for (let s = 0; s < m.length; s++) m[s] = initial ? initial.data[stateAt + s]! : 0;
      const decay = (t: number): void => {
        if (!g) return;
        const at = ((n * time + t) * heads + h) * g.shape[3]!;
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j < columns; j++)
            m[i * columns + j]! *= Math.exp(g.data[at + (params.decay === "rows" ? i : j)]!);
        }
      };
      for (let step = 0; step < time; step++) {
        const t = params.reverse ? time - 1 - step : step;
        if (!params.reverse) decay(t);
        const at = (n * time + t) * heads + h;
        const out = y!.data.subarray(at * columns, (at + 1) * columns).fill(0);
        for (let i = 0; i < rows; i++) {
          for (let j = 0; j < columns; j++) {
            m[i * columns + j]! += a!.data[at * rows + i]! * b!.data[at * columns + j]!;
            out[j]! += c!.data[at * rows + i]! * m[i * columns + j]!;
          }
        }
        if (params.reverse) decay(t);
      }
      last!.data.set(m, stateAt);
    }
  }
}
