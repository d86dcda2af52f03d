import { describe, expect, test } from "vitest";
import { trialTable } from "../cli/search-command.ts";
import { TASKS } from "../tasks/registry.ts";
import { judge, pairedDifference, verdictText } from "./confirm.ts";
import { evolve, ranked, type EvolutionOptions, type Measurement } from "./evolution.ts";
import { cross, makeSpace, mixesPositions, mutate, readGenome } from "./genome.ts";
import { Pcg64 } from "@everlong/data";

const space = { words: ["mA(heads=4)", "H", "Mb", "Sg"], minLayers: 4, maxLayers: 4 };

/** A landscape with one summit: attention in third place between Mambas, SwiGLU last. */
const SUMMIT = ["Mb", "H", "mA(heads=4)", "Sg"];
const evaluate = (stack: string): Promise<Measurement> => {
  const hits = stack.split("-").filter((w, i) => w === SUMMIT[i]).length;
  return Promise.resolve({ score: hits / 4, tasks: {}, parameters: 1, stateElements: 1, seconds: 2 });
};
const options = (more: Partial<EvolutionOptions> = {}): EvolutionOptions => ({
  space,
  parents: ["H-Sg-H-Sg", "Mb-Sg-Mb-Sg", "mA(heads=4)-Sg-mA(heads=4)-Sg"],
  evaluate,
  seed: 3,
  ...more,
});

describe("genomes", () => {
  test("words have one form", () => {
    expect(readGenome("mh-attention(heads=4) swiglu 2*mamba")).toEqual(["mA(heads=4)", "Sg", "Mb", "Mb"]);
    expect(makeSpace({ ...space, words: ["hyena", "H", "swiglu"] }).words).toEqual(["H", "Sg"]);
    expect(() => makeSpace({ ...space, words: ["H"] })).toThrow(/two kinds/);
    expect(() => makeSpace({ ...space, maxLayers: 3 })).toThrow(/depths/);
    expect(mixesPositions(["Sg", "M"])).toBe(false);
    expect(mixesPositions(["Sg", "mA(heads=4)"])).toBe(true);
  });

  test("changes stay within the space", () => {
    const bits = new Pcg64(1);
    const wide = makeSpace({ ...space, minLayers: 2, maxLayers: 6 });
    let genome = readGenome("H-Sg-H-Sg");
    const depths = new Set<number>();
    for (let i = 0; i < 500; i++) {
      ({ genome } = mutate(genome, wide, bits));
      depths.add(genome.length);
      expect(genome.every((w) => wide.words.includes(w))).toBe(true);
    }
    expect([...depths].toSorted((a, b) => a - b)).toEqual([2, 3, 4, 5, 6]);
    const child = cross(["a", "a", "a", "a"], ["b", "b", "b", "b"], bits);
    expect(child.length).toBe(4);
    expect(new Set(child).size).toBe(2);
  });
});

describe("evolution", () => {
  test("climbs to the summit in a fraction of the 256 stacks, better than chance", async () => {
    const found = await Promise.all(
      Array.from({ length: 20 }, async (_, seed) => {
        const { history } = await evolve(options({ seed, trials: 60 }));
        return history.some((t) => t.score === 1);
      }),
    );
    // Sixty random stacks hold the summit in 23 % of cases.
    expect(found.filter(Boolean).length).toBeGreaterThan(12);
  });

  test("the same seed takes the same way; a longer search begins as a shorter one", async () => {
    const short = await evolve(options({ trials: 15 }));
    const long = await evolve(options({ trials: 30 }));
    expect(long.history.slice(0, 15)).toEqual(short.history);
    expect((await evolve(options({ trials: 15, seed: 4 }))).history).not.toEqual(short.history);
    expect(new Set(long.history.map((t) => t.stack)).size).toBe(30);
    for (const t of long.history.slice(3)) expect(t.origin.parents.length).toBeGreaterThan(0);
  });

  test("ends by time, by trials, by signal, and when nothing is left", async () => {
    expect((await evolve(options({ budget: 21 }))).history.length).toBe(11);
    const stop = new AbortController();
    const onTrial = ({ index }: { index: number }): void => void (index === 4 && stop.abort());
    const stopped = await evolve(options({ trials: 99, signal: stop.signal, onTrial }));
    expect([stopped.history.length, stopped.stopped]).toEqual([5, "signal"]);
    const two = { words: ["H", "Sg"], minLayers: 1, maxLayers: 2 };
    const all = await evolve(options({ space: two, parents: ["H", "H-Sg"], trials: 99 }));
    expect(all.stopped).toBe("exhausted");
    // Everything of one or two layers but Sg and Sg-Sg.
    expect(all.history.map((t) => t.stack).toSorted()).toEqual(["H", "H-H", "H-Sg", "Sg-H"]);
    await expect(evolve(options())).rejects.toThrow(/has no end/);
    expect(ranked(stopped.history)[0]!.score).toBe(Math.max(...stopped.history.map((t) => t.score)));
  });
});

describe("confirmation", () => {
  const repeated = (stack: string, ...scores: number[]) => ({ stack, scores });

  test("a paired t interval", () => {
    const d = pairedDifference(repeated("a", 0.5, 0.7, 0.6), repeated("b", 0.4, 0.5, 0.3));
    expect(d.mean).toBeCloseTo(0.2, 12);
    // Standard error 0.1 / sqrt(3), t(2) 2.920.
    expect(d.high - d.mean).toBeCloseTo((2.92 * 0.1) / Math.sqrt(3), 3);
    expect(pairedDifference(repeated("a", 1), repeated("b", 0)).low).toBe(Number.NEGATIVE_INFINITY);
  });

  test("says so when a parent is not beaten", () => {
    const best = repeated("best", 0.9, 0.91, 0.92);
    const far = repeated("far", 0.1, 0.12, 0.11);
    const near = repeated("near", 0.91, 0.9, 0.91);
    expect(judge(best, [far]).beatsParents).toBe(true);
    const verdict = judge(best, [far, near]);
    expect(verdict.beatsParents).toBe(false);
    expect(verdictText(verdict)).toContain("is not shown to beat");
  });
});

test("the table of trials names tasks by their shorthands", () => {
  const tasks = Object.fromEntries(TASKS.map((t) => [t.name, 0.5]));
  const trial = { tasks, score: 0.5, parameters: 18_908, stateElements: 4864, seconds: 1 };
  const stack = "mA(heads=4)-H-Sg-M";
  const origin = { how: "replace", parents: [0, 1] };
  const lines = trialTable([{ ...trial, index: 2, stack, origin }], 12).split("\n");
  expect(lines[0]).toMatch(/CR +NR +FR +M +C +SC/);
});
