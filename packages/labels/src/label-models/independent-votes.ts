import type { Votes } from "../votes/votes.ts";
import { softmaxInto } from "./majority-vote.ts";

/**
 * `P(Y | votes)` `[N, K]` of functions that are independent given the class (naive Bayes).
 * @param balance P(Y) of every class
 * @param tables P(vote | Y), the K classes of a vote beside each other
 * @param rowOf where the table's row of a function's vote stands, counted in rows; -1 for a vote that is no evidence
 */
export function independentPosterior(
  votes: Votes,
  balance: Float64Array,
  tables: Float64Array,
  rowOf: (fn: number, vote: number) => number,
): Float64Array {
  const { classes: k, functions: m } = votes;
  const logs = tables.map((p) => Math.log(p));
  const start = balance.map((p) => Math.log(Math.max(p, 1e-12)));
  const out = new Float64Array(votes.items * k);
  const log = new Float64Array(k);
  for (let i = 0; i < votes.items; i++) {
    log.set(start);
    for (let j = 0; j < m; j++) {
      const row = rowOf(j, votes.at(i, j));
      if (row < 0) continue;
      for (let y = 0; y < k; y++) log[y] = log[y]! + logs[row * k + y]!;
    }
    softmaxInto(log, out, i * k);
  }
  return out;
}
