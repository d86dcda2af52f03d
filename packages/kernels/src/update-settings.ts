// Rates, steps and decays of an optimiser's update: scalars, or one number for each slice along the parameter's first axis.
// The parameters of several runs are then one tensor, and their updates one call.

import {
  broadcastTo,
  reshape,
  unsqueeze,
  type BatchContext,
  type DType,
  type HostArray,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { need } from "./inputs.ts";

/** Checks a setting of `parameter`: `[]`, or `[S]` where the parameter is `[S, ...]`. */
export function needSetting(
  op: string,
  name: string,
  setting: TensorType,
  parameter: TensorType,
  dtype: DType,
): void {
  const slices = parameter.shape.slice(0, setting.shape.length === 0 ? 0 : 1);
  need(op, name, setting, slices, "[] or [S], S the parameter's first axis", dtype);
}

/** A setting as it broadcasts over its parameter. */
export const alongParameter = (setting: Tensor, parameter: Tensor): Tensor =>
  setting.rank === 0 ? setting : reshape(setting, [-1, ...parameter.shape.slice(1).map(() => 1)]);

/** Reads a setting at element `i` of its parameter. */
export const settingAt = (setting: HostArray, parameter: HostArray, i: number): number =>
  setting.data[Math.floor((i * setting.data.length) / parameter.data.length)]!;

/** Slices that differ in a setting, and the elements of each. */
export function slicesOf(
  parameter: { readonly shape: readonly number[] },
  settings: readonly { readonly shape: readonly number[] }[],
): { readonly slices: number; readonly each: number } {
  const size = parameter.shape.reduce((a, b) => a * b, 1);
  const slices = settings.some((s) => s.shape.length > 0) ? parameter.shape[0]! : 1;
  return { slices, each: slices === 0 ? 0 : size / slices };
}

/**
 * The mapped axis stands in front of the parameter's axes, where settings of its examples are slices; settings that had
 * slices already get one for each pair.
 * @param tensors how many inputs, the first ones, are shaped like the parameter; the rest are settings
 */
export function batchUpdate<P>({ inputs, mapped, size, apply }: BatchContext<P>, tensors: number): Tensor[] {
  const wide = inputs.map((t, i) =>
    mapped[i] || i >= tensors ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]),
  );
  const isSliced = inputs.map((t, i) => i >= tensors && t.rank === (mapped[i] ? 2 : 1));
  if (!isSliced.includes(true)) return apply(wide);
  const shape = wide[0]!.shape;
  const slices = shape[1]!;
  const joined = wide.map((t, i) => {
    if (i < tensors) return reshape(t, [size * slices, ...shape.slice(2)]);
    if (!mapped[i] && !isSliced[i]) return t;
    const both = mapped[i] ? (isSliced[i] ? t : unsqueeze(t, 1)) : unsqueeze(t, 0);
    return reshape(broadcastTo(both, [size, slices]), [size * slices]);
  });
  return apply(joined).map((t) => reshape(t, shape));
}
