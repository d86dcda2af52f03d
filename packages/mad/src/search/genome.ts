// Layer orders as genomes: lists of words such as `mA(heads=4)`, changed a little or crossed.

import { ConfigError } from "@everlong/core";
import { findLayer, type LayerEntry } from "@everlong/nn";
import type { BitGenerator } from "@everlong/data";
import { parseArchitecture, resolveLayers, shorthandOf } from "../benchmark/architecture-name.ts";

/** Words of a stack, in order. */
export type Genome = readonly string[];

/** Which stacks a search may reach. */
export interface SearchSpace {
  /** Layers it may use, with their options: `mA(heads=4)`. */
  readonly words: readonly string[];
  readonly minLayers: number;
  readonly maxLayers: number;
}

/** Words of a stack as text, each in its normal form. */
export function readGenome(text: string, more: readonly LayerEntry[] = []): Genome {
  const layers = resolveLayers(parseArchitecture(text, more), more);
  return layers.map((layer) => shorthandOf([layer]));
}

/** Checks a space and brings its words into normal form. @throws ConfigError for impossible ones */
export function makeSpace(space: SearchSpace, more: readonly LayerEntry[] = []): SearchSpace {
  const words = [...new Set(space.words.flatMap((w) => readGenome(w, more)))];
  const { minLayers, maxLayers } = space;
  if (words.length < 2) throw new ConfigError("mad search", "needs at least two kinds of layers");
  if (!Number.isSafeInteger(minLayers) || minLayers < 1 || maxLayers < minLayers) {
    throw new ConfigError("mad search", "depths do not fit", {
      expected: "1 <= minLayers <= maxLayers",
      got: `${minLayers} to ${maxLayers}`,
    });
  }
  return { words, minLayers, maxLayers };
}

/** A stack that mixes no positions solves nothing. */
export const mixesPositions = (genome: Genome, more: readonly LayerEntry[] = []): boolean =>
  genome.some((word) => findLayer(word.replace(/\(.*\)$/, ""), more).kind === "sequence");

/** A draw from 0 to n - 1. */
export const below = (bits: BitGenerator, n: number): number => Math.floor(bits.double() * n);

const pick = <T>(bits: BitGenerator, items: readonly T[]): T => items[below(bits, items.length)]!;

/** How genomes change. Each gives another list; whether it is new is the search's affair. */
const CHANGES: Readonly<Record<string, (g: Genome, space: SearchSpace, bits: BitGenerator) => Genome>> = {
  replace: (g, { words }, bits) => g.with(below(bits, g.length), pick(bits, words)),
  swap: (g, _space, bits) => {
    const [i, j] = [below(bits, g.length), below(bits, g.length)];
    return g.with(i, g[j]!).with(j, g[i]!);
  },
  insert: (g, { words, maxLayers }, bits) =>
    g.length >= maxLayers ? g : g.toSpliced(below(bits, g.length + 1), 0, pick(bits, words)),
  remove: (g, { minLayers }, bits) => (g.length <= minLayers ? g : g.toSpliced(below(bits, g.length), 1)),
};

/** A genome after one random change; `how` names it. */
export function mutate(
  genome: Genome,
  space: SearchSpace,
  bits: BitGenerator,
): { readonly genome: Genome; readonly how: string } {
  // Depth changes only where the space lets it.
  const free = space.minLayers < space.maxLayers;
  const how = pick(bits, free ? Object.keys(CHANGES) : ["replace", "swap"]);
  return { genome: CHANGES[how]!(genome, space, bits), how };
}

/** The first layers of one parent and the last of the other. */
export function cross(a: Genome, b: Genome, bits: BitGenerator): Genome {
  const cut = 1 + below(bits, Math.max(1, Math.min(a.length, b.length) - 1));
  return [...a.slice(0, cut), ...b.slice(cut)];
}
