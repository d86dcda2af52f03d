// Causality by gradients: what an output depends on, and on nothing later.

import {
  NumericError,
  ShapeError,
  gradients,
  narrow,
  show,
  sum,
  mul,
  tensor,
  type Tensor,
} from "@everlong/core";
import { Random, SEED } from "./random.ts";
import { valuesOf } from "./relative-error.ts";

export interface CausalityOptions {
  /** The time axis of input and output. Default 1 (`[B, T, ...]`). */
  readonly axis?: number;
  /** Output times to look at; default: first, middle, last but one, and two random ones. */
  readonly times?: readonly number[];
  /** Largest share of the gradient that may fall on later inputs; 0 for mixers without transforms. Default 1e-12 (float64). */
  readonly tolerance?: number;
  /** The output at t may depend on inputs up to t - `delay`. Default 0. */
  readonly delay?: number;
}

/**
 * Checks that the output at each time t does not depend on inputs after t, and that it does depend on the input at t
 * (minus `delay`).
 * @param x input, at best on the reference device; `fn(x)` has the same size on the time axis.
 */
export async function causality(
  fn: (x: Tensor) => Tensor,
  x: Tensor,
  options: CausalityOptions = {},
): Promise<void> {
  const { axis = 1, tolerance = 1e-12, delay = 0 } = options;
  const steps = x.shape[axis]!;
  const random = new Random(SEED);
  const chosen = [
    0,
    Math.floor(steps / 2),
    steps - 2,
    ...[0, 1].map(() => Math.floor(random.uniform() * steps)),
  ];
  const times = [...new Set(options.times ?? chosen)].filter((t) => t >= 0 && t < steps);
  const inner = x.shape.slice(axis + 1).reduce((a, b) => a * b, 1);
  for (const t of times) {
    const y = fn(x);
    if (y.shape[axis] !== steps) {
      throw new ShapeError("causality", "output and input differ in time", {
        expected: `${steps}`,
        got: show(y.shape),
      });
    }
    const now = narrow(y, axis, t, t + 1);
    const weights = tensor(random.normals(now.size), [...now.shape], {
      dtype: now.dtype,
      device: now.device,
    });
    const [slope] = gradients(sum(mul(now, weights)), [x]);
    const energy = new Float64Array(steps);
    (await valuesOf(slope!)).forEach((g, i) => (energy[Math.floor(i / inner) % steps]! += g * g));
    const total = Math.sqrt(energy.reduce((a, b) => a + b, 0));
    const late = Math.sqrt(energy.subarray(t - delay + 1 < 0 ? 0 : t - delay + 1).reduce((a, b) => a + b, 0));
    if (!(late <= tolerance * total) || Number.isNaN(total)) {
      const leak = energy.findLastIndex((e) => Math.sqrt(e) > tolerance * total);
      throw new NumericError("causality", `the output at ${t} depends on the input at ${leak}`, {
        expected: `no gradient after ${t - delay}`,
        got: `${(late / total).toExponential(2)} of it`,
      });
    }
    if (t - delay >= 0 && !(energy[t - delay]! > 0)) {
      throw new NumericError("causality", `the output at ${t} ignores the input at ${t - delay}`);
    }
  }
}
