import { DataError, ShapeError } from "@everlong/core";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";

/** A class balance as probabilities, `[classes]`; uniform when absent. @throws ShapeError or DataError. */
export function balanceOrUniform(op: string, classes: number, balance?: ArrayLike<number>): Float64Array {
  const out = balance ? Float64Array.from(balance) : new Float64Array(classes).fill(1);
  if (out.length !== classes)
    throw new ShapeError(op, "the class balance does not fit the classes", {
      expected: `${classes} probabilities`,
      got: `${out.length}`,
    });
  const sum = out.reduce((a, b) => a + b, 0);
  if (!(sum > 0) || out.some((p) => !(p >= 0)))
    throw new DataError(op, "the class balance is no distribution", {
      expected: "numbers of at least 0 with a positive sum",
      got: `[${out.join(", ")}]`,
    });
  return out.map((p) => p / sum);
}

/** Class shares of labels 0..classes-1, each class counted `smoothing` times extra. */
export function countBalance(labels: ArrayLike<number>, classes: number, smoothing = 0): Float64Array {
  const out = new Float64Array(classes).fill(smoothing);
  for (let i = 0; i < labels.length; i++) out[labels[i]!] = out[labels[i]!]! + 1;
  const sum = out.reduce((a, b) => a + b, 0);
  return out.map((x) => x / sum);
}

/** @throws DataError when no function votes on any item: there is nothing to learn. */
export function requireVotes(op: string, votes: Votes): void {
  if (votes.items === 0 || votes.coverage() === 0)
    throw new DataError(op, "there is not a single vote", {
      expected: "functions that vote on some items",
      got: `${votes.functions} functions, all abstaining on ${votes.items} items`,
      hint: "Print analyzeFunctions(votes) and widen the functions.",
    });
}

/** @throws DataError when no two functions ever vote on the same item: agreement is all that these models learn from. */
export function requireOverlap(op: string, votes: Votes): void {
  for (let i = 0; i < votes.items; i++) {
    let said = 0;
    for (let j = 0; j < votes.functions; j++) if (votes.at(i, j) !== ABSTAIN) said++;
    if (said > 1) return;
  }
  throw new DataError(op, "no two functions vote on the same item", {
    expected: "overlapping votes, from whose agreement accuracies are learned",
    got: `${votes.functions} functions that never meet`,
    hint: "Use the majority vote, widen the functions, or extend the votes first (Epoxy).",
  });
}
