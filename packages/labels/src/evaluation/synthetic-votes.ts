import { ABSTAIN, Votes } from "../votes/votes.ts";

/** A draw with known truth. */
export interface SyntheticVotes {
  readonly votes: Votes;
  /** `[N]`. */
  readonly labels: Int16Array;
  /** P(vote | Y), `[M, K + 1, K]`, row 0 the abstention. */
  readonly conditionals: Float64Array;
}

/** A small deterministic generator (mulberry32) for tests and demonstrations. */
export function seededUniform(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/**
 * Conditionally independent functions with random confusion tables in which the right class is favoured (the generator of Snorkel's tests):
 * uniform cells, K - 1 added on the diagonal, the abstention's cell times `abstain`, columns normalised.
 */
export function syntheticVotes(options: {
  items: number;
  functions: number;
  classes?: number;
  abstain?: number;
  seed?: number;
  balance?: ArrayLike<number>;
}): SyntheticVotes {
  const { items: n, functions: m, classes: k = 2, abstain = 1, seed = 1 } = options;
  const uniform = seededUniform(seed);
  const conditionals = new Float64Array(m * (k + 1) * k);
  for (let j = 0; j < m; j++)
    for (let y = 0; y < k; y++) {
      const column = Array.from({ length: k + 1 }, (_, v) =>
        v === 0 ? uniform() * abstain : uniform() + (v - 1 === y ? k - 1 : 0),
      );
      const sum = column.reduce((a, b) => a + b, 0);
      for (let v = 0; v <= k; v++) conditionals[(j * (k + 1) + v) * k + y] = column[v]! / sum;
    }
  const draw = (weights: (v: number) => number, count: number): number => {
    let rest = uniform();
    for (let v = 0; v < count - 1; v++) {
      rest -= weights(v);
      if (rest < 0) return v;
    }
    return count - 1;
  };
  const balance = options.balance ?? new Float64Array(k).fill(1 / k);
  const labels = new Int16Array(n);
  const data = new Int16Array(n * m);
  for (let i = 0; i < n; i++) {
    const y = draw((c) => balance[c]!, k);
    labels[i] = y;
    for (let j = 0; j < m; j++) {
      const v = draw((w) => conditionals[(j * (k + 1) + w) * k + y]!, k + 1);
      data[i * m + j] = v === 0 ? ABSTAIN : v - 1;
    }
  }
  return { votes: new Votes(data, [n, m], { classes: k }), labels, conditionals };
}
