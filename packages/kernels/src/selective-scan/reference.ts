import type { HostArray } from "@everlong/core";
import { named } from "../inputs.ts";
import type { SelectiveScanGradParams, SelectiveScanParams } from "./op.ts";

/** `h_t = exp(delta_t a) h_(t-1) + delta_t b_t u_t`, `y_t = c_t . h_t`, per channel. */
export function selectiveScanReference(
  inputs: readonly HostArray[],
  [y, last]: readonly HostArray[],
  params: SelectiveScanParams,
): void {
  const { u, delta, a, b, c, initial } = named(params.inputs, inputs);
  const [batch, time, channels] = u!.shape as [number, number, number];
  const states = a!.shape[1]!;
  const h = new Float64Array(states);
  for (let n = 0; n < batch; n++) {
    for (let d = 0; d < channels; d++) {
      for (let s = 0; s < states; s++) h[s] = initial ? initial.data[(n * channels + d) * states + s]! : 0;
      for (let t = 0; t < time; t++) {
        const at = (n * time + t) * channels + d;
        const bc = (n * time + t) * states;
        const step = delta!.data[at]!;
        let out = 0;
        for (let s = 0; s < states; s++) {
          h[s] = Math.exp(step * a!.data[d * states + s]!) * h[s]! + step * b!.data[bc + s]! * u!.data[at]!;
          out += c!.data[bc + s]! * h[s]!;
        }
        y!.data[at] = out;
      }
      for (let s = 0; s < states; s++) last!.data[(n * channels + d) * states + s] = h[s]!;
    }
  }
}

/** The chain rule backwards in time, with `g_t = c_t dy_t + exp(delta_(t+1) a) g_(t+1)` the gradient of `h_t`. */
export function selectiveScanGradReference(
  inputs: readonly HostArray[],
  [du, ddelta, da, db, dc, dinitial]: readonly HostArray[],
  params: SelectiveScanGradParams,
): void {
  const { u, delta, a, b, c, initial, dy, dlast } = named(params.inputs, inputs);
  const [batch, time, channels] = u!.shape as [number, number, number];
  const states = a!.shape[1]!;
  for (const t of [da!, db!, dc!]) t.data.fill(0);
  const h = new Float64Array((time + 1) * states);
  const g = new Float64Array(states);
  for (let n = 0; n < batch; n++) {
    for (let d = 0; d < channels; d++) {
      const own = (n * channels + d) * states;
      for (let s = 0; s < states; s++) h[s] = initial ? initial.data[own + s]! : 0;
      for (let t = 0; t < time; t++) {
        const at = (n * time + t) * channels + d;
        for (let s = 0; s < states; s++) {
          const kept = Math.exp(delta!.data[at]! * a!.data[d * states + s]!) * h[t * states + s]!;
          h[(t + 1) * states + s] =
            kept + delta!.data[at]! * b!.data[(n * time + t) * states + s]! * u!.data[at]!;
        }
      }
      for (let s = 0; s < states; s++) g[s] = dlast ? dlast.data[own + s]! : 0;
      for (let t = time - 1; t >= 0; t--) {
        const at = (n * time + t) * channels + d;
        const step = delta!.data[at]!;
        let duAt = 0;
        let ddeltaAt = 0;
        for (let s = 0; s < states; s++) {
          const bc = (n * time + t) * states + s;
          const decay = Math.exp(step * a!.data[d * states + s]!);
          g[s] = g[s]! + c!.data[bc]! * dy!.data[at]!;
          dc!.data[bc]! += dy!.data[at]! * h[(t + 1) * states + s]!;
          db!.data[bc]! += g[s]! * step * u!.data[at]!;
          duAt += g[s]! * step * b!.data[bc]!;
          const dexponent = g[s]! * decay * h[t * states + s]!;
          ddeltaAt += dexponent * a!.data[d * states + s]! + g[s]! * b!.data[bc]! * u!.data[at]!;
          da!.data[d * states + s]! += dexponent * step;
          g[s] = g[s]! * decay;
        }
        du!.data[at] = duAt;
        ddelta!.data[at] = ddeltaAt;
      }
      if (dinitial) for (let s = 0; s < states; s++) dinitial.data[own + s] = g[s]!;
    }
  }
}
