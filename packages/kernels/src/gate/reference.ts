import type { HostArray } from "@everlong/core";
import { erf } from "../matmul/erf.ts";
import { activate } from "../matmul/reference.ts";
import type { GateActivation, GateParams } from "./op.ts";

/** The slope of an activation at `z`. */
export function slopeAt(name: GateActivation, z: number): number {
  switch (name) {
    case "silu": {
      const s = 1 / (1 + Math.exp(-z));
      return s * (1 + z * (1 - s));
    }
    case "gelu":
      return 0.5 * (1 + erf(z * Math.SQRT1_2)) + (z * Math.exp(-0.5 * z * z)) / Math.sqrt(2 * Math.PI);
    case "gelu-tanh": {
      const c = Math.sqrt(2 / Math.PI);
      const t = Math.tanh(c * (z + 0.044715 * z ** 3));
      return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * c * (1 + 3 * 0.044715 * z * z);
    }
  }
}

/** `y = act(a) b`. */
export function gateReference(
  [a, b]: readonly HostArray[],
  [y]: readonly HostArray[],
  { activation }: GateParams,
): void {
  a!.data.forEach((z, i) => (y!.data[i] = activate(activation, z) * b!.data[i]!));
}

/** `da = dy b act'(a)`, `db = dy act(a)`. */
export function gateGradReference(
  [a, b, dy]: readonly HostArray[],
  [da, db]: readonly HostArray[],
  { activation }: GateParams,
): void {
  a!.data.forEach((z, i) => {
    da!.data[i] = dy!.data[i]! * b!.data[i]! * slopeAt(activation, z);
    db!.data[i] = dy!.data[i]! * activate(activation, z);
  });
}
