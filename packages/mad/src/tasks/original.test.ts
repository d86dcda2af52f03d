// Equality with mad-lab's own generators (athms/mad-lab at 0f49a45, numpy 1.24.2): whole rows at small sizes, checksums
// of many rows at others.

import { expect, test } from "vitest";
import { generateSplits } from "./generate.ts";
import type { TaskOptions } from "./options.ts";

interface SmallCase {
  readonly task: string;
  readonly options: Partial<TaskOptions>;
  /** Inputs and targets of one training row, then of one test row; seed 7, global seed 3. */
  readonly rows: readonly number[][];
}

const SMALL: SmallCase[] = [
  {
    task: "CR",
    options: { vocabSize: 8, seqLen: 12 },
    rows: [
      [2, 6, 3, 6, 3, 6, 3, 6, 0, 4, 2],
      [6, 3, 6, 3, 6, 3, 6, 0, 4, 2, 6],
      [3, 7, 0, 5, 3, 7, 0, 5, 3, 7, 3],
      [-100, -100, -100, -100, 7, -100, 5, -100, 7, -100, 7],
    ],
  },
  {
    task: "CR",
    options: { vocabSize: 9, seqLen: 10, multiQuery: false },
    rows: [
      [2, 6, 3, 6, 3, 6, 3, 6, 8, 2],
      [6, 3, 6, 3, 6, 3, 6, 8, 2, 6],
      [1, 5, 3, 7, 0, 5, 3, 7, 8, 1],
      [-100, -100, -100, -100, -100, -100, -100, -100, -100, 5],
    ],
  },
  {
    task: "NR",
    options: { vocabSize: 10, noiseVocabSize: 4, seqLen: 14, fracNoise: 0.4 },
    rows: [
      [1, 4, 9, 6, 0, 5, 0, 5, 0, 5, 7, 7, 1],
      [4, 9, 6, 0, 5, 0, 5, 0, 5, 7, 7, 1, 4],
      [0, 4, 1, 4, 2, 5, 1, 4, 9, 6, 2, 5, 1],
      [-100, -100, -100, -100, -100, -100, 4, -100, -100, -100, 5, -100, 4],
    ],
  },
  {
    task: "FR",
    options: { vocabSize: 9, seqLen: 20, kMotifSize: 2, vMotifSize: 2 },
    rows: [
      [8, 8, 8, 8, 8, 1, 5, 7, 3, 7, 6, 1, 3, 5, 4, 2, 7, 6, 1, 5],
      [8, 8, 8, 8, 1, 5, 7, 3, 7, 6, 1, 3, 5, 4, 2, 7, 6, 1, 5, 7],
      [8, 8, 8, 8, 8, 0, 1, 7, 5, 1, 3, 6, 5, 0, 1, 7, 5, 3, 2, 7],
      [
        -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, -100, 7, 5, -100, -100,
        7, 5,
      ],
    ],
  },
  {
    task: "M",
    options: { vocabSize: 16, seqLen: 8 },
    rows: [
      [4, 15, 4, 15, 3, 15, 4, 15],
      [-100, 7, -100, 7, -100, 8, -100, 7],
      [1, 15, 5, 15, 0, 15, 6, 15],
      [-100, 11, -100, 10, -100, 14, -100, 13],
    ],
  },
  {
    task: "C",
    options: { seqLen: 9, fracNoise: 0.3, noiseVocabSize: 3 },
    rows: [
      [11, 7, 13, 10, 6, 9, 14, 14, 15],
      [11, 7, 13, 10, 6, 9, 14, 14, 15],
      [5, 5, 14, 14, 13, 12, 11, 9, 15],
      [5, 5, 14, 14, 13, 12, 11, 9, 15],
    ],
  },
  {
    task: "SC",
    options: { vocabSize: 8, seqLen: 14, numTokensToCopy: 4 },
    rows: [
      [6, 6, 5, 6, 3, 6, 4, 6, 5, 7, 6, 6, 6, 6],
      [-100, -100, -100, -100, -100, -100, -100, -100, -100, -100, 5, 3, 4, 5],
      [6, 6, 3, 6, 6, 4, 5, 6, 1, 7, 6, 6, 6, 6],
      [-100, -100, -100, -100, -100, -100, -100, -100, -100, -100, 3, 4, 5, 1],
    ],
  },
];

test.each(SMALL)("$task $options", ({ task, options, rows }) => {
  const { train, test: held } = generateSplits(
    { task, options, seed: 7, globalSeed: 3, compat: true },
    { train: 1, test: 1 },
  );
  expect([train.inputs, train.targets, held.inputs, held.targets].map((a) => Array.from(a))).toEqual(rows);
});

type Checksum = [string, Partial<TaskOptions>, number, number, number, number, number];

/** task, options, seed, global seed, training rows, test rows, FNV-1a over all tokens. */
const CHECKSUMS: Checksum[] = [
  ["CR", {}, 12345, 12345, 20, 10, 4111063528],
  ["NR", {}, 12345, 12345, 20, 10, 744495644],
  ["FR", {}, 12345, 12345, 20, 10, 3749149799],
  ["M", {}, 12345, 12345, 20, 10, 744485901],
  ["C", {}, 12345, 12345, 20, 10, 831676129],
  ["SC", {}, 12345, 12345, 20, 10, 4071726811],
  ["CR", { vocabSize: 33, seqLen: 64, multiQuery: false }, 1, 1, 9, 9, 2940338497],
  ["CR", { vocabSize: 128, seqLen: 1024 }, 12345, 0, 5, 5, 967138163],
  ["CR", { vocabSize: 24, seqLen: 50, noiseVocabSize: 5, fracNoise: 0.8 }, 1099511627779, 0, 5, 5, 241813398],
  ["NR", { vocabSize: 144, fracNoise: 0.8, seqLen: 512 }, 12345, 0, 6, 6, 373647991],
  ["NR", { multiQuery: false, noiseVocabSize: 7, vocabSize: 17, seqLen: 30 }, 99, 0, 20, 20, 1595041846],
  ["FR", { vocabSize: 32, seqLen: 256 }, 12345, 0, 4, 4, 397321833],
  [
    "FR",
    { vocabSize: 20, kMotifSize: 2, vMotifSize: 3, multiQuery: false, seqLen: 48 },
    5,
    0,
    20,
    20,
    4259303257,
  ],
  ["FR", { vocabSize: 64 }, 12345, 0, 1, 1, 2477024226],
  [
    "FR",
    { vocabSize: 30, noiseVocabSize: 9, fracNoise: 0.5, kMotifSize: 1, vMotifSize: 2, seqLen: 33 },
    31337,
    0,
    20,
    20,
    842138412,
  ],
  ["FR", { vocabSize: 12, kMotifSize: 3, vMotifSize: 1, seqLen: 64 }, 4, 0, 20, 40, 1144225585],
  ["M", { vocabSize: 8192 }, 12345, 0, 10, 10, 4292146940],
  ["M", { vocabSize: 33, seqLen: 21, noiseVocabSize: 6, fracNoise: 0.5 }, 3, 0, 10, 10, 1217401532],
  ["C", { vocabSize: 128, seqLen: 256 }, 12345, 0, 10, 10, 656123229],
  ["C", { vocabSize: 20, noiseVocabSize: 6, fracNoise: 0.5 }, 8, 0, 10, 10, 2064901453],
  ["SC", { seqLen: 1024, numTokensToCopy: 96 }, 12345, 12345, 10, 10, 2790809215],
  ["SC", { vocabSize: 5, seqLen: 6, numTokensToCopy: 2 }, 0, 4294967295, 30, 30, 3833503237],
];

test.each(CHECKSUMS)("%s %j, seeds %d and %d", (task, options, seed, globalSeed, train, held, checksum) => {
  const data = generateSplits({ task, options, seed, globalSeed, compat: true }, { train, test: held });
  expect(fnv([data.train.inputs, data.train.targets, data.test.inputs, data.test.targets])).toBe(checksum);
});

function fnv(arrays: readonly Int32Array[]): number {
  let h = 0x811c9dc5;
  for (const array of arrays) for (const token of array) h = Math.imul(h ^ token, 0x01000193);
  return h >>> 0;
}
