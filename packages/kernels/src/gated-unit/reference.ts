import type { HostArray } from "@everlong/core";
import { slopeAt } from "../gate/reference.ts";
import type { GateParams } from "../gate/op.ts";
import { activate } from "../matmul/reference.ts";

/** Calls `at` with the place of every row's hidden feature and the values before the gate. */
function eachHidden(
  [x, w1, w2]: readonly HostArray[],
  at: (row: number, weight: number, hidden: number, a: number, b: number) => void,
): void {
  const [groups, rows, dim] = x!.shape as [number, number, number];
  const inner = w1!.shape[1]!;
  for (let g = 0; g < groups; g++)
    for (let r = 0; r < rows; r++)
      for (let f = 0; f < inner; f++) {
        const [row, weight] = [g * rows + r, g * inner + f];
        let [a, b] = [0, 0];
        for (let d = 0; d < dim; d++) {
          a += x!.data[row * dim + d]! * w1!.data[weight * dim + d]!;
          b += x!.data[row * dim + d]! * w2!.data[weight * dim + d]!;
        }
        at(row, weight, row * inner + f, a, b);
      }
}

/** Where `w3` holds what hidden feature `weight` (numbered through all groups) gives to result `n`. */
const thirdAt = (w3: HostArray, weight: number, n: number): number => {
  const [, width, inner] = w3.shape as [number, number, number];
  return (Math.floor(weight / inner) * width + n) * inner + (weight % inner);
};

/** `y = w3 (act(w1 x) * w2 x)`. */
export function gatedUnitReference(
  inputs: readonly HostArray[],
  [y]: readonly HostArray[],
  { activation }: GateParams,
): void {
  const w3 = inputs[3]!;
  const width = w3.shape[1]!;
  const sums = new Float64Array(y!.data.length);
  eachHidden(inputs, (row, weight, _, a, b) => {
    const h = activate(activation, a) * b;
    for (let n = 0; n < width; n++) sums[row * width + n]! += h * w3.data[thirdAt(w3, weight, n)]!;
  });
  sums.forEach((value, i) => (y!.data[i] = value));
}

/** `dh = w3^T dy`; `da = dh b act'(a)`, `db = dh act(a)`, `h = act(a) b`, `dx = w1^T da + w2^T db`. */
export function gatedUnitGradReference(
  inputs: readonly HostArray[],
  [dx, da, db, h]: readonly HostArray[],
  { activation }: GateParams,
): void {
  const [x, w1, w2, w3, dy] = inputs as [HostArray, HostArray, HostArray, HostArray, HostArray];
  const dim = x.shape[2]!;
  const width = w3.shape[1]!;
  const sums = new Float64Array(dx!.data.length);
  eachHidden(inputs, (row, weight, hidden, a, b) => {
    let dh = 0;
    for (let n = 0; n < width; n++) dh += dy.data[row * width + n]! * w3.data[thirdAt(w3, weight, n)]!;
    const y = activate(activation, a);
    const [first, second] = [dh * b * slopeAt(activation, a), dh * y];
    for (let d = 0; d < dim; d++)
      sums[row * dim + d]! += first * w1.data[weight * dim + d]! + second * w2.data[weight * dim + d]!;
    da!.data[hidden] = first;
    db!.data[hidden] = second;
    h!.data[hidden] = y * b;
  });
  sums.forEach((value, i) => (dx!.data[i] = value));
}
