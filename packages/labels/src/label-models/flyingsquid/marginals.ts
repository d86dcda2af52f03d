import { Matrix, solve } from "ml-matrix";

/** What is known about one clique of k functions and a target, enough to fix its joint distribution. */
export interface CliqueFacts {
  readonly size: number;
  readonly abstentions: boolean;
  /** P(product of `members`, times Y if `withTarget`, is +1 and every function of `zeros` abstains); indices are positions 0..k-1. */
  readonly probability: (members: readonly number[], withTarget: boolean, zeros: readonly number[]) => number;
}

/**
 * The joint table of a clique: votes (-1, 0, +1 or -1, +1) of function 0 vary slowest, the target (-1, +1) fastest.
 *
 * Every cell of the table has one fact: a function voting 0 in the cell's index enters the product, one voting -1 must abstain (without
 * abstentions: -1 enters the product). The facts are linear in the table and the system is square and invertible (Fu et al. 2020, section 3.2).
 */
export function cliqueTable(facts: CliqueFacts): Float64Array {
  const { size: k, abstentions } = facts;
  const votes = abstentions ? [-1, 0, 1] : [-1, 1];
  const cells: number[][] = [[]];
  for (let position = 0; position <= k; position++) {
    const values = position < k ? votes : [-1, 1];
    cells.splice(0, cells.length, ...cells.flatMap((cell) => values.map((x) => [...cell, x])));
  }
  const system = new Matrix(cells.length, cells.length);
  const right = new Matrix(cells.length, 1);
  for (const [row, code] of cells.entries()) {
    const members: number[] = [];
    const zeros: number[] = [];
    for (let i = 0; i < k; i++) {
      if (abstentions && code[i] === 0) members.push(i);
      if (abstentions && code[i] === -1) zeros.push(i);
      if (!abstentions && code[i] === -1) members.push(i);
    }
    const withTarget = code[k] === -1;
    for (const [column, cell] of cells.entries()) {
      let product = withTarget ? cell[k]! : 1;
      for (const i of members) product *= cell[i]!;
      system.set(row, column, product === 1 && zeros.every((i) => cell[i] === 0) ? 1 : 0);
    }
    right.set(row, 0, facts.probability(members, withTarget, zeros));
  }
  return Float64Array.from(solve(system, right).getColumn(0));
}

/** What happens to negative cells: `flip` their sign, `clamp` them to 1e-8, or `keep` them. The table is normalised afterwards. */
export type NegativeRule = "flip" | "clamp" | "keep";

/** Applies a {@link NegativeRule} in place. */
export function makeDistribution(table: Float64Array, rule: NegativeRule): Float64Array {
  for (let i = 0; i < table.length; i++)
    if (table[i]! < 0) {
      if (rule === "flip") table[i] = -table[i]!;
      else if (rule === "clamp") table[i] = 1e-8;
    }
  const sum = table.reduce((a, b) => a + b, 0);
  for (let i = 0; i < table.length; i++) table[i] = table[i]! / sum;
  return table;
}
