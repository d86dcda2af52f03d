// What every task promises, checked on the rows themselves, and where the default leaves the original's path.

import { ConfigError, DataError } from "@everlong/core";
import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { generateSplit, generateSplits, type GenerateOptions, type TaskData } from "./generate.ts";
import { checkLeakage, findLeakage } from "./leakage.ts";
import { memorizationMap } from "./memorization.ts";
import type { TaskOptions } from "./options.ts";
import { findTask, TASKS } from "./registry.ts";
import { defineTask, IGNORE_INDEX, type Split } from "./task.ts";

interface Row {
  readonly inputs: number[];
  readonly targets: number[];
}

function rowsOf({ inputs, targets, count, length }: TaskData): Row[] {
  return Array.from({ length: count }, (_, i) => ({
    inputs: Array.from(inputs.subarray(i * length, (i + 1) * length)),
    targets: Array.from(targets.subarray(i * length, (i + 1) * length)),
  }));
}

const make = (what: GenerateOptions, split: Split, count: number): Row[] =>
  rowsOf(
    generateSplits(what, { train: split === "train" ? count : 0, test: split === "test" ? count : 0 })[split],
  );

const seedings = ["original", "keyed"] as const;

describe.each(TASKS)("$name", (task) => {
  test.each(seedings)("tokens and targets lie in the vocabulary (%s)", (seeding) => {
    const { options, length } = task.configure();
    const { train, test: held } = generateSplits({ task, seeding }, { train: 40, test: 40 });
    for (const data of [train, held]) {
      expect(data.inputs.length).toBe(40 * length);
      expect(data.inputs.every((t) => t >= 0 && t < options.vocabSize!)).toBe(true);
      expect(data.targets.every((t) => t === IGNORE_INDEX || (t >= 0 && t < options.vocabSize!))).toBe(true);
      for (const row of rowsOf(data)) expect(row.targets.some((t) => t !== IGNORE_INDEX)).toBe(true);
    }
    checkLeakage(train, held);
  });

  test("keyed rows depend on nothing but seed, split and index", () => {
    const whole = generateSplits({ task, seeding: "keyed" }, { train: 20, test: 20 });
    for (const split of ["train", "test"] as const) {
      const part = generateSplit({ task, seeding: "keyed", split, start: 7, count: 5 });
      expect(rowsOf(part)).toEqual(rowsOf(whole[split]).slice(7, 12));
    }
    const other = generateSplits({ task, seeding: "keyed", seed: 1 }, { train: 20, test: 0 });
    expect(other.train.inputs).not.toEqual(whole.train.inputs);
    expect(new Set(rowsOf(whole.train).map((r) => r.inputs.join())).size).toBe(20);
  });

  test("an original test split follows its training rows", () => {
    const whole = generateSplits({ task, compat: true }, { train: 13, test: 9 });
    const alone = generateSplit({ task, compat: true, split: "test", trainCount: 13, start: 4, count: 5 });
    expect(rowsOf(alone)).toEqual(rowsOf(whole.test).slice(4));
    expect(() => generateSplit({ task, split: "test", count: 1 })).toThrow(/expected trainCount/);
  });

  test("unknown and impossible options", () => {
    expect(() => task.configure({ vocabSise: 3 } as Partial<TaskOptions>)).toThrow(
      /Did you mean "vocabSize"/,
    );
    expect(() => task.configure({ vocabSize: 1 })).toThrow(ConfigError);
    expect(() => task.configure({ vocabSize: 16.5 })).toThrow(/expected an integer/);
    expect(() => task.configure({ seqLen: 1 })).toThrow(ConfigError);
    if ("fracNoise" in task.defaults) {
      expect(() => task.configure({ fracNoise: 0.5, noiseVocabSize: 0 })).toThrow(/noise needs a vocabulary/);
      expect(() => task.configure({ fracNoise: -0.1 })).toThrow(/from 0 to 1/);
    }
  });
});

describe("recall", () => {
  const options = fc.record({
    vocabSize: fc.integer({ min: 12, max: 40 }),
    seqLen: fc.integer({ min: 2, max: 40 }).map((n) => 2 * n),
    multiQuery: fc.boolean(),
    fracNoise: fc.constantFrom(0, 0.3, 0.9),
    noiseVocabSize: fc.integer({ min: 1, max: 8 }),
  });

  test("test targets are what the sequence taught, wherever a key returns", () => {
    fc.assert(
      fc.property(options, fc.nat(1000), fc.constantFrom(...seedings), (o, seed, seeding) => {
        const tokens = o.vocabSize - o.noiseVocabSize - (o.multiQuery ? 0 : 1);
        const keys = Math.floor(tokens / 2);
        for (const row of make({ task: "NR", options: o, seed, seeding }, "test", 3)) {
          const known = new Map<number, number>();
          const { inputs, targets } = row;
          const last = inputs.length - 1;
          for (let i = 0; i <= last; i++) {
            const key = inputs[i]!;
            const asks = key < keys && known.has(key) && (o.multiQuery || i === last);
            expect(targets[i]).toBe(asks ? known.get(key) : IGNORE_INDEX);
            if (key < keys && i < last) known.set(key, inputs[i + 1]!);
          }
          expect(targets[last]).not.toBe(IGNORE_INDEX);
          if (!o.multiQuery) expect(inputs[last - 1]).toBe(o.vocabSize - 1);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("training targets are the next tokens", () => {
    for (const task of ["CR", "NR", "FR"]) {
      for (const { inputs, targets } of make({ task }, "train", 10)) {
        expect(targets.slice(0, -1)).toEqual(inputs.slice(1));
      }
    }
  });

  test("a sequence of nothing but noise gets one pair", () => {
    const heavy = { vocabSize: 12, seqLen: 4, fracNoise: 0.99, noiseVocabSize: 8 };
    for (const { inputs, targets } of make({ task: "NR", options: heavy }, "test", 50)) {
      expect(inputs.length).toBe(3);
      expect(targets[2]).toBe(inputs[1]);
    }
  });

  test("a share of the pairs is noise", () => {
    const rows = make({ task: "NR", options: { seqLen: 256, fracNoise: 0.4 } }, "train", 200);
    const tokens = rows.flatMap((r) => r.inputs);
    const share = tokens.filter((t) => t >= 16).length / tokens.length;
    // 127 pairs may be noise in each row, of which one is exempt: standard error 0.003
    expect(share).toBeGreaterThan(0.38);
    expect(share).toBeLessThan(0.41);
  });
});

describe("fuzzy recall", () => {
  const isAnswerable = (row: Row, o: Partial<TaskOptions>): boolean => {
    const { inputs, targets } = row;
    const size = targets.length - targets.lastIndexOf(IGNORE_INDEX) - 1;
    const value = targets.slice(-size);
    const key = inputs.slice(inputs.length - size + 1 - o.kMotifSize!, inputs.length - size + 1);
    const pair = [...key, ...value].join();
    const body = inputs.slice(0, inputs.length - size + 1 - o.kMotifSize!);
    return body.some((_, i) => body.slice(i, i + key.length + size).join() === pair);
  };

  test.each(seedings)("compat: the pair asked for at the end is sometimes never shown (%s)", (seeding) => {
    const options = { kMotifSize: 3, vMotifSize: 3 };
    const what = { task: "FR", options, seeding } as const;
    const ours = make(what, "test", 600);
    const theirs = make({ ...what, compat: true }, "test", 600);
    expect(ours.every((row) => isAnswerable(row, options))).toBe(true);
    const broken = theirs.filter((row) => !isAnswerable(row, options));
    expect(broken.length).toBeGreaterThan(2);
    // every other row is the same, so the stream is where the original has it
    const changed = ours.filter((row, i) => row.inputs.join() !== theirs[i]!.inputs.join());
    expect(changed.length).toBe(broken.length);
  });

  test.each([false, true])(
    "what is asked stands in the sequence, also where the last pair was replaced (compat %s)",
    (compat) => {
      const options = { vocabSize: 9, seqLen: 26, kMotifSize: 1, vMotifSize: 2 };
      for (const { inputs, targets } of make(
        { task: "FR", options, seeding: "keyed", compat },
        "test",
        1000,
      )) {
        targets.slice(0, -1).forEach((t, i) => expect([IGNORE_INDEX, inputs[i + 1]]).toContain(t));
      }
    },
  );

  test("motifs repeat no token, keys come from the lower half, padding stands on the left", () => {
    for (const { inputs } of make({ task: "FR", seeding: "keyed" }, "train", 100)) {
      const start = inputs.findIndex((t) => t !== 15);
      const runs: number[][] = [];
      for (const t of inputs.slice(start)) {
        expect(t).toBeLessThan(15);
        const run = runs.at(-1);
        if (run && t < 7 === run[0]! < 7) run.push(t);
        else runs.push([t]);
      }
      for (const run of runs) {
        expect(run.length).toBeLessThanOrEqual(3);
        expect(new Set(run).size).toBe(run.length);
      }
    }
  });

  test("rules name what does not fit", () => {
    const fuzzy = findTask("FR");
    expect(() => fuzzy.configure({ vocabSize: 6 })).toThrow(
      /kMotifSize needs as many key tokens: there are 2/,
    );
    expect(() => fuzzy.configure({ seqLen: 12 })).toThrow(/twice the size of the largest pair/);
    expect(() => fuzzy.configure({ kMotifSize: 0 })).toThrow(/at least 1/);
    expect(() => fuzzy.configure({ vocabSize: 4000, kMotifSize: 4 })).toThrow(/too many motifs/);
  });
});

describe("memorization", () => {
  test("the map is one to one, and every row follows it", () => {
    const { keys, values } = memorizationMap(255, 12345);
    expect([...keys].sort((a, b) => a - b)).toEqual(Array.from({ length: 127 }, (_, i) => i));
    expect(new Set(values).size).toBe(127);
    const map = new Map(Array.from(keys, (k, i) => [k, values[i]!]));
    for (const split of ["train", "test"] as const) {
      for (const { inputs, targets } of make({ task: "M" }, split, 20)) {
        for (let i = 0; i < inputs.length; i += 2) {
          expect([inputs[i + 1], targets[i], targets[i + 1]]).toEqual([
            255,
            IGNORE_INDEX,
            map.get(inputs[i]!),
          ]);
        }
      }
    }
  });

  test("compat: the map of mad-lab's configurations runs over the noise tokens", () => {
    const options = { vocabSize: 64, noiseVocabSize: 20, fracNoise: 0.5 };
    const values = (compat: boolean): number[] =>
      make({ task: "M", options, compat }, "train", 50).flatMap((r) =>
        r.targets.filter((t) => t !== IGNORE_INDEX),
      );
    expect(Math.max(...values(true))).toBeGreaterThanOrEqual(43);
    expect(Math.max(...values(false))).toBeLessThan(43);
  });
});

describe("compression", () => {
  test("compat: noise is asked for too", () => {
    const options = { vocabSize: 20, noiseVocabSize: 6, fracNoise: 0.5 };
    const theirs = make({ task: "C", options, compat: true }, "test", 20);
    const ours = make({ task: "C", options }, "test", 20);
    ours.forEach(({ inputs, targets }, i) => {
      expect(inputs).toEqual(theirs[i]!.inputs);
      expect(theirs[i]!.targets).toEqual(inputs);
      expect(targets).toEqual(inputs.map((t) => (t >= 13 && t < 19 ? IGNORE_INDEX : t)));
    });
    expect(ours.some((r) => r.targets.includes(IGNORE_INDEX))).toBe(true);
  });
});

describe("selective copying", () => {
  test.each(seedings)("the targets are the tokens in order (%s)", (seeding) => {
    const options = { vocabSize: 9, seqLen: 40, numTokensToCopy: 7 };
    for (const { inputs, targets } of make({ task: "SC", options, seeding }, "train", 50)) {
      const copyAt = inputs.indexOf(8);
      expect(copyAt).toBe(40 - 7 - 1);
      expect(inputs.slice(0, copyAt).filter((t) => t < 7)).toEqual(targets.slice(-7));
      expect(inputs[copyAt - 1]).toBeLessThan(7);
      expect(inputs.slice(copyAt + 1)).toEqual(Array(7).fill(7));
      expect(targets.slice(0, -7)).toEqual(Array(33).fill(IGNORE_INDEX));
    }
  });

  test("the places of blanks come from the global seed alone", () => {
    const blanks = (seed: number, globalSeed: number): string =>
      make({ task: "SC", seed, globalSeed }, "train", 3)
        .map((r) => r.inputs.map((t) => t === 14).join())
        .join();
    expect(blanks(1, 5)).toBe(blanks(2, 5));
    expect(blanks(1, 5)).not.toBe(blanks(1, 6));
  });
});

describe("leakage", () => {
  test("a test set made from the start of the training stream fails", () => {
    const { train } = generateSplits({ task: "SC" }, { train: 50, test: 0 });
    const leaky = generateSplit({ task: "SC", split: "test", trainCount: 0, count: 20 });
    expect(findLeakage(train, leaky)).toEqual({ testRows: 20, shared: 20, fraction: 1 });
    expect(() => checkLeakage(train, leaky)).toThrow(DataError);
    expect(() => checkLeakage(train, leaky)).toThrow(/got 20 of 20/);
  });

  test("counts distinct rows, and respects the limit", () => {
    const rows = (...values: number[][]): TaskData => {
      const inputs = Int32Array.from(values.flat());
      return { task: "t", split: "test", count: values.length, length: 2, inputs, targets: inputs };
    };
    const train = rows([1, 2], [3, 4], [1, 2]);
    const held = rows([5, 6], [1, 2], [1, 2], [2, 1]);
    expect(findLeakage(train, held)).toEqual({ testRows: 3, shared: 1, fraction: 1 / 3 });
    expect(() => checkLeakage(train, held)).toThrow(DataError);
    expect(checkLeakage(train, held, 0.5).shared).toBe(1);
    expect(checkLeakage(train, rows()).fraction).toBe(0);
  });
});

describe("generation", () => {
  test("unknown tasks, seeds and settings", () => {
    expect(() => findTask("selective-coping")).toThrow(/Did you mean "selective-copying"/);
    const bad =
      (what: object): (() => unknown) =>
      () =>
        generateSplits({ task: "C", ...what }, { train: 1, test: 1 });
    expect(bad({ seeding: "random" })).toThrow(/expected original or keyed/);
    expect(bad({ sead: 1 })).toThrow(/Did you mean "seed"/);
    expect(bad({ seed: -1 })).toThrow(ConfigError);
    expect(() => generateSplits({ task: "C" }, { train: 1.5, test: 0 })).toThrow(ConfigError);
  });

  test("a task of one's own", () => {
    const parity = defineTask({
      name: "parity",
      shorthand: "P",
      describe: "Whether the number of ones so far is odd.",
      backbone: "language-model",
      defaults: { seqLen: 8 },
      rules: (o) => [[o.seqLen > 0, "seqLen must be positive"]],
      length: (o) => o.seqLen,
      rows: () => (random, _split, inputs, targets) => {
        for (let i = 0, odd = 0; i < inputs.length; i++) targets[i] = odd ^= inputs[i] = random.below(2);
      },
    });
    const [row] = make({ task: parity, options: { seqLen: 12 } }, "train", 1);
    expect(row!.targets.at(-1)).toBe(row!.inputs.reduce((a, b) => a + b) % 2);
  });
});
