import type { Clique, JunctionTree } from "./graph.ts";

/** Exact inference on a junction tree of clique tables: P(Y | votes) is the product of cliques over the product of separators. */
export class CliquePosterior {
  readonly #tree: JunctionTree;
  readonly #cliques: readonly { clique: Clique; table: Float64Array }[];
  readonly #abstentions: boolean;
  readonly #compat: boolean;
  /** log of every factor without functions, `[2^V]` (in compat: the factor itself). */
  readonly #constant: Float64Array;
  readonly #separators: { clique: Clique; table: Float64Array }[];

  constructor(
    tree: JunctionTree,
    cliques: readonly { clique: Clique; table: Float64Array }[],
    options: { abstentions: boolean; balance: Float64Array; compat: boolean },
  ) {
    this.#tree = tree;
    this.#cliques = cliques.filter(({ clique }) => clique.functions.length > 0 && clique.targets.length > 0);
    this.#abstentions = options.abstentions;
    this.#compat = options.compat;
    const { targets: v } = tree;
    const states = 2 ** v;
    const separators = new Map<string, { clique: Clique; degree: number }>();
    for (const clique of tree.separators) {
      const key = `${clique.functions.join()}|${clique.targets.join()}`;
      const entry = separators.get(key) ?? { clique, degree: 0 };
      entry.degree++;
      separators.set(key, entry);
    }
    this.#constant = new Float64Array(states);
    this.#separators = [];
    const marginal = (targets: readonly number[], s: number): number => {
      let p = 0;
      for (let other = 0; other < states; other++)
        if (targets.every((t) => ((other ^ s) >> (v - 1 - t)) % 2 === 0)) p += options.balance[other]!;
      return p;
    };
    for (let s = 0; s < states; s++) {
      let log = 0;
      for (const { clique, table } of cliques)
        if (clique.functions.length === 0) log += Math.log(table[stateIndex(clique.targets, s, v)]!);
      for (const { clique, degree } of separators.values())
        if (clique.functions.length === 0)
          log -= (options.compat ? degree - 1 : degree) * Math.log(marginal(clique.targets, s));
      this.#constant[s] = log;
    }
    if (!options.compat)
      for (const clique of tree.separators)
        if (clique.functions.length > 0 && clique.targets.length > 0)
          this.#separators.push({ clique, table: this.#separatorTable(clique) });
  }

  /** `[N, 2^V]`, rows summing to 1. */
  joint(votes: Int8Array): Float64Array {
    const { functions: m, targets: v } = this.#tree;
    const states = 2 ** v;
    const n = votes.length / m;
    const out = new Float64Array(n * states);
    const row = new Float64Array(states);
    const signs = new Float64Array(states);
    const logs = (list: readonly { clique: Clique; table: Float64Array }[]): Float64Array[] =>
      list.map(({ table }) => table.map((x) => Math.log(Math.abs(x))));
    const over = logs(this.#cliques);
    const under = logs(this.#separators);
    for (let i = 0; i < n; i++) {
      row.set(this.#constant);
      signs.fill(1);
      this.#accumulate(row, signs, votes, i * m, this.#cliques, over, 1);
      this.#accumulate(row, signs, votes, i * m, this.#separators, under, -1);
      normalise(row, signs, out.subarray(i * states, (i + 1) * states), this.#compat);
    }
    return out;
  }

  #accumulate(
    row: Float64Array,
    signs: Float64Array,
    votes: Int8Array,
    base: number,
    list: readonly { clique: Clique; table: Float64Array }[],
    logs: readonly Float64Array[],
    sign: number,
  ): void {
    const v = this.#tree.targets;
    for (let c = 0; c < list.length; c++) {
      const { functions, targets } = list[c]!.clique;
      let index = 0;
      for (const f of functions) {
        const vote = votes[base + f]!;
        index = this.#abstentions ? index * 3 + vote + 1 : index * 2 + (vote > 0 ? 1 : 0);
      }
      const shift = v - 1 - targets[0]!;
      const low = logs[c]![index * 2]! * sign;
      const high = logs[c]![index * 2 + 1]! * sign;
      for (let s = 0; s < row.length; s++) row[s] = row[s]! + ((s >> shift) & 1 ? high : low);
      const { table } = list[c]!;
      // only tables with kept negative entries have signs
      if (table[index * 2]! < 0 || table[index * 2 + 1]! < 0)
        for (let s = 0; s < row.length; s++)
          signs[s] = signs[s]! * Math.sign(table[index * 2 + ((s >> shift) & 1)]!);
    }
  }

  // A separator's table is any of its cliques', summed over the other functions.
  #separatorTable(separator: Clique): Float64Array {
    const owner = this.#cliques.find(({ clique }) =>
      separator.functions.every((f) => clique.functions.includes(f)),
    )!;
    const base = this.#abstentions ? 3 : 2;
    const out = new Float64Array(base ** separator.functions.length * 2);
    const k = owner.clique.functions.length;
    for (let cell = 0; cell < owner.table.length; cell++) {
      const digits: number[] = [];
      let rest = cell >> 1;
      for (let d = 0; d < k; d++) {
        digits.unshift(rest % base);
        rest = Math.floor(rest / base);
      }
      let index = 0;
      for (const f of separator.functions) index = index * base + digits[owner.clique.functions.indexOf(f)]!;
      out[index * 2 + (cell & 1)] = out[index * 2 + (cell & 1)]! + owner.table[cell]!;
    }
    return out;
  }
}

function stateIndex(targets: readonly number[], state: number, v: number): number {
  let index = 0;
  for (const t of targets) index = index * 2 + ((state >> (v - 1 - t)) & 1);
  return index;
}

// Votes that the model calls impossible under every Y say nothing: the row becomes uniform (as in the reference).
function normalise(log: Float64Array, signs: Float64Array, out: Float64Array, compat: boolean): void {
  let top = -Infinity;
  for (const x of log) if (x > top) top = x;
  let sum = 0;
  for (let s = 0; s < log.length; s++) {
    const p =
      top === -Infinity || Number.isNaN(top) || Number.isNaN(log[s]!)
        ? 0
        : signs[s]! * Math.exp(log[s]! - (compat ? 0 : top));
    out[s] = p;
    sum += p;
  }
  if (sum === 0) {
    out.fill(1 / log.length);
    return;
  }
  for (let s = 0; s < log.length; s++) out[s] = out[s]! / sum;
}
