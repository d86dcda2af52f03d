// Gradients against finite differences in float64.

import { NumericError, gradients, isFloat, mul, sum, add, tensor, type Tensor } from "@everlong/core";
import { Random, SEED } from "./random.ts";
import { valuesOf } from "./relative-error.ts";

/** A function of tensors under test. */
export type TensorFunction = (...inputs: Tensor[]) => Tensor | readonly Tensor[];

export interface GradcheckOptions {
  /** 2 checks the gradient of the gradient. Default 1. */
  readonly order?: 1 | 2;
  /** Random directions per input; inputs of at most 3 elements are checked element by element as well. Default 2. */
  readonly directions?: number;
  /** Distance between points, in units of the input's size. Default 1e-3. */
  readonly step?: number;
  /** Largest error relative to the norm of the gradient. Default 1e-7. */
  readonly tolerance?: number;
  /** Inputs to differentiate; default: all floats. */
  readonly wrt?: readonly boolean[];
  readonly seed?: number;
}

const asList = (t: Tensor | readonly Tensor[]): readonly Tensor[] => (Array.isArray(t) ? t : [t as Tensor]);
const ELEMENTWISE_UP_TO = 3;

/** The sum of all float outputs, each weighted by fixed random numbers: one scalar that sees every output. */
export function weightedLoss(outputs: Tensor | readonly Tensor[], seed: number): Tensor {
  const random = new Random(seed);
  const terms = asList(outputs)
    .filter((t) => isFloat(t.dtype))
    .map((t) => {
      const weights = tensor(random.normals(t.size), [...t.shape], { dtype: t.dtype, device: t.device });
      return sum(mul(t, weights));
    });
  if (terms.length === 0) throw new NumericError("gradcheck", "no float output to differentiate");
  return terms.reduce((a, b) => add(a, b));
}

/**
 * Compares the gradients of `fn` (through {@link weightedLoss}) with central differences of fourth order along random
 * directions. Inputs are float64 tensors on the reference device.
 * @returns the largest error found, relative to the norm of that input's gradient.
 * @throws NumericError naming the input when it exceeds the tolerance.
 */
export async function gradcheck(
  fn: TensorFunction,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): Promise<number> {
  const { order = 1, directions = 2, step = 1e-3, tolerance = 1e-7, seed = SEED } = options;
  const wanted = inputs.map((t, i) => isFloat(t.dtype) && (options.wrt?.[i] ?? true));
  inputs.forEach((t, i) => {
    if (wanted[i] && t.dtype !== "f64") {
      throw new NumericError("gradcheck", `input ${i} is not float64`, {
        got: t.dtype,
        hint: "Make it on the reference device.",
      });
    }
  });
  const loss = (args: readonly Tensor[]): Tensor => weightedLoss(fn(...args), seed);
  const slopes = (args: readonly Tensor[]): Tensor[] =>
    gradients(
      loss(args),
      args.filter((_, i) => wanted[i]),
    );
  // The function whose gradient is under test.
  const scalar = order === 1 ? loss : (args: readonly Tensor[]) => weightedLoss(slopes(args), seed + 1);
  const found = gradients(
    scalar(inputs),
    inputs.filter((_, i) => wanted[i]),
  );
  const random = new Random(seed + 2);
  let worst = 0;
  let next = 0;
  for (const [i, input] of inputs.entries()) {
    if (!wanted[i] || input.size === 0) {
      if (wanted[i]) next++;
      continue;
    }
    const slope = await valuesOf(found[next++]!);
    const at = await valuesOf(input);
    const norm = Math.hypot(...slope);
    const h = step * Math.max(1, Math.hypot(...at) / Math.sqrt(at.length));
    const moves = Array.from({ length: directions }, () => random.normals(at.length));
    if (at.length <= ELEMENTWISE_UP_TO)
      at.forEach((_, k) => moves.push(at.map((__, j) => (j === k ? 1 : 0))));
    for (const move of moves) {
      const value = async (s: number): Promise<number> => {
        const shifted = tensor(
          at.map((x, k) => x + s * h * move[k]!),
          [...input.shape],
          { dtype: "f64", device: input.device },
        );
        return scalar(inputs.map((t, j) => (j === i ? shifted : t))).item();
      };
      const [p1, m1, p2, m2] = [await value(1), await value(-1), await value(2), await value(-2)];
      const numeric = (8 * (p1 - m1) - (p2 - m2)) / (12 * h);
      const analytic = slope.reduce((s, g, k) => s + g * move[k]!, 0);
      // Rounding of the four values limits what can be seen.
      const noise = (4e-16 * Math.max(Math.abs(p1), Math.abs(m1), Math.abs(p2), Math.abs(m2))) / h;
      const error =
        Math.max(0, Math.abs(numeric - analytic) - noise) / Math.max(norm, Math.abs(numeric), 1e-12);
      if (!(error <= tolerance)) {
        throw new NumericError("gradcheck", `gradient of input ${i} is wrong (order ${order})`, {
          expected: `slope ${numeric} by finite differences`,
          got: `${analytic} (error ${error.toExponential(2)} of the norm, tolerance ${tolerance.toExponential(1)})`,
          hint: `Seed ${seed}.`,
        });
      }
      worst = Math.max(worst, error);
    }
  }
  return worst;
}
