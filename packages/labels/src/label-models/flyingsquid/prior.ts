import { DataError, ShapeError } from "@everlong/core";

/** Where P(Y) comes from: given, counted from labels, or uniform. */
export interface PriorSource {
  readonly classBalance?: ArrayLike<number>;
  readonly devLabels?: ArrayLike<number>;
}

/** P(Y) over the 2^V sign vectors, normalised. @throws ShapeError or DataError. */
export function balanceOf(targets: number, options: PriorSource): Float64Array {
  const states = 2 ** targets;
  const { classBalance, devLabels } = options;
  const balance = new Float64Array(states);
  if (classBalance) {
    if (classBalance.length !== states)
      throw new ShapeError("flyingsquid", "the class balance does not fit the targets", {
        expected: `${states} probabilities (2^${targets})`,
        got: `${classBalance.length}`,
      });
    for (let s = 0; s < states; s++) {
      if (!(classBalance[s]! >= 0))
        throw new DataError("flyingsquid", "the class balance is no distribution", {
          expected: "numbers of at least 0",
          got: `${classBalance[s]}`,
        });
      balance[s] = classBalance[s]!;
    }
  } else if (devLabels) {
    for (let i = 0; i * targets < devLabels.length; i++) {
      let state = 0;
      for (let t = 0; t < targets; t++) {
        const y = devLabels[i * targets + t];
        if (y !== 1 && y !== -1)
          throw new DataError("flyingsquid", `label outside the classes at row ${i}`, {
            expected: "-1 or +1",
            got: `${y}`,
          });
        state = state * 2 + (y === 1 ? 1 : 0);
      }
      balance[state]!++;
    }
  } else balance.fill(1);
  const sum = balance.reduce((a, b) => a + b, 0);
  if (!(sum > 0))
    throw new DataError("flyingsquid", "the class balance is no distribution", {
      expected: "a positive sum",
      got: `${sum}`,
    });
  return balance.map((x) => x / sum);
}

/** P of the targets listed in `keep`, `[2^keep]`. */
export function balanceMarginal(
  balance: Float64Array,
  targets: number,
  keep: readonly number[],
): Float64Array {
  const out = new Float64Array(2 ** keep.length);
  for (let s = 0; s < balance.length; s++) {
    let index = 0;
    for (const t of keep) index = index * 2 + ((s >> (targets - 1 - t)) & 1);
    out[index] = out[index]! + balance[s]!;
  }
  return out;
}

/** P(Y_target = +1). */
export function targetPositive(balance: Float64Array, targets: number, target: number): number {
  return balanceMarginal(balance, targets, [target])[1]!;
}
