// Regularised evolution over layer orders (Real et al. 2019, arXiv 1802.01548), with crossing: the best of a random handful
// has a child, which replaces the oldest of the population. Every decision follows from the seed and the scores alone, so
// that a search that is started again takes the same way, on results that it finds in the store.

import { ConfigError } from "@everlong/core";
import { Pcg64 } from "@everlong/data";
import type { LayerEntry } from "@everlong/nn";
import {
  below,
  cross,
  makeSpace,
  mixesPositions,
  mutate,
  readGenome,
  type Genome,
  type SearchSpace,
} from "./genome.ts";

/** How an architecture came to be tried. */
export interface Origin {
  readonly how: string;
  /** Indices of its parents in the history. */
  readonly parents: readonly number[];
}

/** One architecture that was tried. */
export interface Trial {
  readonly index: number;
  /** `mA-Sg-Mb-Sg`. */
  readonly stack: string;
  readonly origin: Origin;
  readonly score: number;
  readonly tasks: Readonly<Record<string, number>>;
  readonly parameters: number;
  readonly stateElements: number;
  /** Time its trainings took when they were made. */
  readonly seconds: number;
}

/** What an evaluation finds out. */
export type Measurement = Omit<Trial, "index" | "stack" | "origin">;

export interface EvolutionOptions {
  readonly space: SearchSpace;
  /** Stacks to start from; the children are compared with these. */
  readonly parents: readonly string[];
  /** Scores a stack; the same stack must give the same score. */
  readonly evaluate: (stack: string) => Promise<Measurement>;
  /** Architectures alive at a time. Default 12. */
  readonly population?: number;
  /** Of which the best has a child. Default 4. */
  readonly tournament?: number;
  /** Share of children with two parents. Default 0.4. */
  readonly crossing?: number;
  /** Most trials, the parents included. */
  readonly trials?: number;
  /** No new trial begins once trials have taken this long together, in seconds. */
  readonly budget?: number;
  readonly seed?: number;
  /** Layers beside the registered ones. */
  readonly more?: readonly LayerEntry[];
  readonly onTrial?: (trial: Trial) => void;
  readonly signal?: AbortSignal;
}

export interface EvolutionResult {
  readonly history: readonly Trial[];
  readonly stopped: "trials" | "budget" | "exhausted" | "signal";
}

const ATTEMPTS = 200;

/** Searches until its budget is spent. @throws ConfigError for impossible options */
export async function evolve(options: EvolutionOptions): Promise<EvolutionResult> {
  const { population = 12, tournament = 4, crossing = 0.4, more = [], signal } = options;
  const space = makeSpace(options.space, more);
  if (options.parents.length < 2) throw new ConfigError("mad search", "needs at least two parents");
  if (options.trials === undefined && options.budget === undefined) {
    throw new ConfigError("mad search", "has no end", { hint: "Give a number of trials, a time, or both." });
  }
  const bits = new Pcg64(options.seed ?? 0);
  const history: Trial[] = [];
  const tried = new Set<string>();
  let alive: { readonly trial: Trial; readonly genome: Genome }[] = [];
  let spent = 0;

  const tryOne = async (genome: Genome, origin: Origin): Promise<void> => {
    const stack = genome.join("-");
    tried.add(stack);
    const measured = await options.evaluate(stack);
    const trial: Trial = { index: history.length, stack, origin, ...measured };
    spent += trial.seconds;
    history.push(trial);
    alive.push({ trial, genome });
    if (alive.length > population) alive = alive.slice(1);
    options.onTrial?.(trial);
  };
  const isOver = (): EvolutionResult["stopped"] | undefined =>
    signal?.aborted
      ? "signal"
      : history.length >= (options.trials ?? Number.POSITIVE_INFINITY)
        ? "trials"
        : spent >= (options.budget ?? Number.POSITIVE_INFINITY)
          ? "budget"
          : undefined;

  for (const text of options.parents) {
    const genome = readGenome(text, more);
    if (tried.has(genome.join("-"))) continue;
    const over = isOver();
    if (over) return { history, stopped: over };
    await tryOne(genome, { how: "parent", parents: [] });
  }
  const best = (): (typeof alive)[number] =>
    Array.from({ length: tournament }, () => alive[below(bits, alive.length)]!).reduce((a, b) =>
      b.trial.score > a.trial.score ? b : a,
    );
  for (;;) {
    const over = isOver();
    if (over) return { history, stopped: over };
    let child: { genome: Genome; origin: Origin } | undefined;
    for (let attempt = 0; attempt < ATTEMPTS && !child; attempt++) {
      const mother = best();
      const two = bits.double() < crossing;
      const father = two ? best() : mother;
      const crossed = two ? cross(mother.genome, father.genome, bits) : mother.genome;
      const { genome, how } = two ? { genome: crossed, how: "cross" } : mutate(crossed, space, bits);
      const fits = genome.length >= space.minLayers && genome.length <= space.maxLayers;
      if (!fits || tried.has(genome.join("-")) || !mixesPositions(genome, more)) continue;
      const parents = [...new Set([mother.trial.index, father.trial.index])];
      child = { genome, origin: { how, parents } };
    }
    if (!child) return { history, stopped: "exhausted" };
    await tryOne(child.genome, child.origin);
  }
}

/** Best first; of equal scores the smaller model. */
export const ranked = (history: readonly Trial[]): Trial[] =>
  history.toSorted((a, b) => b.score - a.score || a.parameters - b.parameters);
