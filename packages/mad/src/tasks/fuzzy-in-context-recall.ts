import { defineTask, IGNORE_INDEX, noiseRules, type MakeRow, type Task, type TaskContext } from "./task.ts";
import { arrangements, unrankArrangement } from "./arrangements.ts";
import type { TaskOptions } from "./options.ts";

type FuzzyOptions = Pick<
  TaskOptions,
  "vocabSize" | "seqLen" | "multiQuery" | "fracNoise" | "noiseVocabSize" | "kMotifSize" | "vMotifSize"
>;

/** Keys and values: all but the padding token, the copy token of a single query, and noise. */
const plainTokens = (o: FuzzyOptions): number => o.vocabSize - (o.multiQuery ? 1 : 2) - o.noiseVocabSize;

/**
 * Fuzzy in-context recall (FR): in-context recall where keys and values are motifs of several tokens, none twice in a
 * motif. Training mixes motif sizes; test keys all have the largest. Sequences are padded on the left.
 *
 *     inputs   15 15 3 0 9 12 5 1 6 8 3 0    V = 16, keys of 0-6, values of 7-14, padding 15
 *     test     .  .  . . . .  . . . . . 9 …
 *
 * `compat`: in 3 % of the test sequences of the baseline (fewer of longer ones), mad-lab never shows the pair that it asks for
 * at the end, so that its answer can only be guessed. By default that pair then takes the place of the last one.
 */
export const fuzzyInContextRecall: Task = defineTask({
  name: "fuzzy-in-context-recall",
  shorthand: "FR",
  describe: "In-context recall whose keys and values are motifs of several tokens.",
  backbone: "language-model",
  defaults: {
    vocabSize: 16,
    seqLen: 128,
    multiQuery: true,
    fracNoise: 0,
    noiseVocabSize: 0,
    kMotifSize: 3,
    vMotifSize: 3,
  },
  rules: (o) => {
    const keys = Math.floor(plainTokens(o) / 2);
    return [
      [o.kMotifSize >= 1 && o.vMotifSize >= 1, "motif sizes must be at least 1"],
      [keys >= o.kMotifSize, `kMotifSize needs as many key tokens: there are ${keys}`],
      [plainTokens(o) - keys >= o.vMotifSize, "vMotifSize needs as many value tokens"],
      [o.seqLen > 2 * (o.kMotifSize + o.vMotifSize), "seqLen must exceed twice the size of the largest pair"],
      [
        arrangements(plainTokens(o) - keys, Math.max(o.kMotifSize, o.vMotifSize)) < 2 ** 31,
        "too many motifs",
      ],
      [o.fracNoise < 1, "fracNoise must be below 1"],
      ...noiseRules(o),
    ];
  },
  length: (o) => o.seqLen,
  rows: fuzzyRows,
});

function fuzzyRows(o: FuzzyOptions, { compat }: TaskContext): MakeRow {
  const tokens = plainTokens(o);
  const keyTokens = Math.floor(tokens / 2);
  const valueTokens = tokens - keyTokens;
  const pad = o.multiQuery ? o.vocabSize - 1 : o.vocabSize - 2;
  const largestPair = o.kMotifSize + o.vMotifSize;
  const sequence = new Int32Array(o.seqLen + 1);
  const asked = new Int32Array(o.seqLen + 1);
  const keyCounts = counts(keyTokens, o.kMotifSize);
  const valueCounts = counts(valueTokens, o.vMotifSize);

  return (random, split, inputs, targets) => {
    asked.fill(IGNORE_INDEX);
    const smallestKey = split === "train" ? 1 : o.kMotifSize;
    const keysAt = shuffles("key", keyCounts, smallestKey);
    const valuesAt = shuffles("value", valueCounts, 1);
    function shuffles(list: string, sizes: readonly number[], from: number): ((place: number) => number)[] {
      return sizes.map((n, size) => (size < from ? never : random.shuffled(`${list}${size}`, n)));
    }
    const drawKeySize = (): number => smallestKey + random.below(o.kMotifSize - smallestKey + 1);
    const drawValueSize = (): number => 1 + random.below(o.vMotifSize);
    const drawKey = (size: number): number => keysAt[size]!(random.below(keyCounts[size]!));
    const drawValue = (size: number): Motif => ({
      size,
      rank: valuesAt[size]!(random.below(valueCounts[size]!)),
    });

    let at = 0;
    const write = (motif: Motif, first: number, count: number): void => {
      unrankArrangement(motif.rank, count, motif.size, first, sequence, at);
      at += motif.size;
    };
    const ask = (motif: Motif, start: number): void => {
      for (let i = 0; i < motif.size; i++) asked[start + i] = sequence[start + i]!;
    };

    const probeSize = drawKeySize();
    const probeValueSize = drawValueSize();
    const probe: Motif = { size: probeSize, rank: drawKey(probeSize) };
    const probeValue = drawValue(probeValueSize);
    const probePair = probe.size + probeValue.size;
    const probeAt = random.below(o.seqLen - 2 * probePair);
    const writeProbe = (): void => {
      write(probe, 0, keyTokens);
      write(probeValue, keyTokens, valueTokens);
    };

    const values: Map<number, Motif>[] = keyCounts.map(() => new Map());
    const shown: Set<number>[] = keyCounts.map(() => new Set());
    let probeShown = false;
    let lastStart = 0;
    while (at < o.seqLen - probePair - largestPair) {
      lastStart = at;
      const keySize = drawKeySize();
      const valueSize = drawValueSize();
      if (at >= probeAt && !probeShown) {
        writeProbe();
        values[probe.size]!.set(probe.rank, probeValue);
        shown[probe.size]!.add(probe.rank);
        probeShown = true;
        continue;
      }
      if (o.fracNoise > 0 && random.uniform() < o.fracNoise) {
        for (let i = 0; i < keySize + valueSize; i++)
          sequence[at++] = tokens + random.below(o.noiseVocabSize);
        continue;
      }
      const rank = drawKey(keySize);
      write({ size: keySize, rank }, 0, keyTokens);
      let value = probeValue;
      if (keySize === probe.size && rank === probe.rank) probeShown = true;
      else {
        value = values[keySize]!.get(rank) ?? drawValue(valueSize);
        values[keySize]!.set(rank, value);
      }
      const start = at;
      write(value, keyTokens, valueTokens);
      if (o.multiQuery && shown[keySize]!.has(rank)) ask(value, start);
      shown[keySize]!.add(rank);
    }
    if (!probeShown && !compat) {
      asked.fill(IGNORE_INDEX, lastStart);
      at = lastStart;
      writeProbe();
    }

    if (!o.multiQuery) sequence[at++] = o.vocabSize - 1;
    writeProbe();
    ask(probeValue, at - probeValue.size);

    // shifted by one and padded on the left
    const shift = o.seqLen + 1 - at;
    inputs.fill(pad, 0, shift);
    inputs.set(sequence.subarray(0, at - 1), shift);
    if (split === "train") {
      targets.fill(pad, 0, shift - 1);
      targets.set(sequence.subarray(0, at), shift - 1);
    } else {
      targets.fill(IGNORE_INDEX, 0, shift - 1);
      targets.set(asked.subarray(0, at), shift - 1);
    }
  };
}

/** A motif: the `rank`-th arrangement of `size` tokens, in lexicographic order. */
interface Motif {
  readonly size: number;
  readonly rank: number;
}

/** How many motifs there are of each size, by size; there is none of size 0. */
const counts = (tokens: number, largest: number): number[] =>
  Array.from({ length: largest + 1 }, (_, size) => (size === 0 ? 0 : arrangements(tokens, size)));

const never = (): never => {
  throw new Error("no motifs of this size");
};
