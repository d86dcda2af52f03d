import { ConfigError } from "@everlong/core";

/** Who votes on what, and which variables depend on each other directly. */
export interface DependencyGraph {
  /** M, the labelling functions. */
  readonly functions: number;
  /** V, the hidden targets (frames of a chain, parts of a multi-label item). Default 1. */
  readonly targets?: number;
  /** Pairs of targets that depend on each other, e.g. `[[0, 1], [1, 2]]` for a chain of three frames. */
  readonly targetEdges?: readonly (readonly [number, number])[];
  /** `[function, target]` pairs; empty or absent: every function votes on target 0. */
  readonly voteEdges?: readonly (readonly [number, number])[];
  /** Pairs of functions that are dependent even when the target is known. */
  readonly functionEdges?: readonly (readonly [number, number])[];
}

/** A maximal clique or a separator of the junction tree. */
export interface Clique {
  /** Function indices, ascending. */
  readonly functions: readonly number[];
  /** Target indices, ascending. */
  readonly targets: readonly number[];
}

/** The checked graph with its junction tree. Nodes 0..M-1 are functions, M..M+V-1 targets. */
export interface JunctionTree {
  readonly functions: number;
  readonly targets: number;
  readonly neighbours: readonly ReadonlySet<number>[];
  readonly cliques: readonly Clique[];
  /** One separator per edge of the tree (so a separator of degree d stands here d times). */
  readonly separators: readonly Clique[];
  /** The target each function votes on. */
  readonly voteTarget: readonly number[];
  readonly independent: boolean;
}

/**
 * Builds the junction tree of a weak-supervision graph.
 * @throws ConfigError for fewer than three functions, an unknown index, a function on several targets, or a clique that holds functions
 *   and more than one target (its marginal has no triplet).
 */
export function junctionTree(graph: DependencyGraph): JunctionTree {
  const { functions: m, targets: v = 1, targetEdges = [], functionEdges = [] } = graph;
  if (m < 3)
    throw new ConfigError("flyingsquid", "too few labelling functions", {
      expected: "at least 3 (a triplet)",
      got: `${m}`,
      hint: "With one or two functions use the majority vote.",
    });
  const votes =
    graph.voteEdges && graph.voteEdges.length > 0
      ? graph.voteEdges
      : Array.from({ length: m }, (_, i) => [i, 0] as const);
  const neighbours = Array.from({ length: m + v }, () => new Set<number>());
  const connect = (a: number, b: number): void => {
    if (neighbours[a] === undefined || neighbours[b] === undefined || a === b)
      throw new ConfigError("flyingsquid", "an edge names a variable that does not exist", {
        expected: `functions 0..${m - 1} and targets 0..${v - 1}`,
        got: `[${a < m ? a : a - m}, ${b < m ? b : b - m}]`,
      });
    neighbours[a]!.add(b);
    neighbours[b]!.add(a);
  };
  const within = (index: number, count: number): number =>
    Number.isInteger(index) && index >= 0 && index < count ? index : Number.NaN;
  for (const [a, b] of targetEdges) connect(m + within(a, v), m + within(b, v));
  for (const [a, b] of votes) connect(within(a, m), m + within(b, v));
  for (const [a, b] of functionEdges) connect(within(a, m), within(b, m));

  const voteTarget: number[] = [];
  for (let i = 0; i < m; i++) {
    const on = [...neighbours[i]!].filter((n) => n >= m);
    if (on.length !== 1)
      throw new ConfigError("flyingsquid", `function ${i} votes on ${on.length} targets`, {
        expected: "exactly one",
        hint: "Copy the function's column, one copy per target.",
      });
    voteTarget.push(on[0]! - m);
  }

  const cliques = maximalCliques(neighbours).map((nodes) => split(nodes, m));
  for (const c of cliques)
    if (c.functions.length > 0 && c.targets.length > 1)
      throw new ConfigError("flyingsquid", "a clique joins functions and several targets", {
        expected: "dependent functions to vote on the same target",
        got: `functions ${c.functions.join(", ")} with targets ${c.targets.join(", ")}`,
      });
  cliques.sort(compareCliques);
  return {
    functions: m,
    targets: v,
    neighbours,
    cliques,
    separators: spanningSeparators(cliques, m),
    voteTarget,
    independent: functionEdges.length === 0,
  };
}

/** Whether every path between a node of `from` and a node of `to` passes through one of `blocked`. */
export function separated(
  tree: JunctionTree,
  from: readonly number[],
  to: readonly number[],
  blocked: ReadonlySet<number>,
): boolean {
  const goal = new Set(to);
  const seen = new Set<number>(from);
  const queue = [...from];
  if (from.some((node) => goal.has(node))) return false;
  for (let node = queue.pop(); node !== undefined; node = queue.pop())
    for (const next of tree.neighbours[node]!) {
      if (goal.has(next)) return false;
      if (seen.has(next) || blocked.has(next)) continue;
      seen.add(next);
      queue.push(next);
    }
  return true;
}

function split(nodes: readonly number[], m: number): Clique {
  const sorted = [...nodes].sort((a, b) => a - b);
  return {
    functions: sorted.filter((n) => n < m),
    targets: sorted.filter((n) => n >= m).map((n) => n - m),
  };
}

function compareCliques(a: Clique, b: Clique): number {
  // cliques of targets first, then by function
  if (a.functions.length === 0 || b.functions.length === 0) {
    if (a.functions.length !== b.functions.length) return a.functions.length - b.functions.length;
    return a.targets[0]! - b.targets[0]!;
  }
  for (let k = 0; k < Math.min(a.functions.length, b.functions.length); k++)
    if (a.functions[k] !== b.functions[k]) return a.functions[k]! - b.functions[k]!;
  return a.functions.length - b.functions.length;
}

// Min-fill elimination: on a chordal graph it adds no edge, otherwise it triangulates.
function maximalCliques(neighbours: readonly ReadonlySet<number>[]): number[][] {
  const rest = neighbours.map((set) => new Set(set));
  const alive = new Set(rest.keys());
  const cliques: number[][] = [];
  while (alive.size > 0) {
    let best = -1;
    let bestFill = Infinity;
    for (const node of alive) {
      const around = [...rest[node]!];
      let fill = 0;
      for (let a = 0; a < around.length; a++)
        for (let b = a + 1; b < around.length; b++) if (!rest[around[a]!]!.has(around[b]!)) fill++;
      if (fill < bestFill) [best, bestFill] = [node, fill];
      if (fill === 0) break;
    }
    const around = [...rest[best]!];
    for (const a of around)
      for (const b of around)
        if (a !== b) {
          rest[a]!.add(b);
          rest[b]!.add(a);
        }
    for (const a of around) rest[a]!.delete(best);
    alive.delete(best);
    const clique = [best, ...around];
    if (!cliques.some((other) => clique.every((n) => other.includes(n)))) cliques.push(clique);
  }
  return cliques;
}

// A maximum-weight spanning forest of the clique graph is a junction tree (Jensen and Jensen 1994).
function spanningSeparators(cliques: readonly Clique[], m: number): Clique[] {
  const nodes = cliques.map((c) => new Set([...c.functions, ...c.targets.map((t) => t + m)]));
  const edges: { a: number; b: number; shared: number[] }[] = [];
  for (let a = 0; a < nodes.length; a++)
    for (let b = a + 1; b < nodes.length; b++) {
      const shared = [...nodes[a]!].filter((n) => nodes[b]!.has(n));
      if (shared.length > 0) edges.push({ a, b, shared });
    }
  edges.sort((x, y) => y.shared.length - x.shared.length);
  const root = nodes.map((_, i) => i);
  const find = (i: number): number => (root[i] === i ? i : (root[i] = find(root[i]!)));
  const separators: Clique[] = [];
  for (const { a, b, shared } of edges) {
    if (find(a) === find(b)) continue;
    root[find(a)] = find(b);
    separators.push(split(shared, m));
  }
  return separators;
}
