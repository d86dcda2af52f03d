// What in-context recall and its noisy variant share.

import { IGNORE_INDEX, noiseRules, type MakeRow } from "./task.ts";
import type { TaskOptions } from "./options.ts";

export type RecallOptions = Pick<
  TaskOptions,
  "vocabSize" | "seqLen" | "multiQuery" | "fracNoise" | "noiseVocabSize"
>;

/** Tokens that are keys or values: the rest are noise and, with a single query, the copy token. */
const plainTokens = (o: RecallOptions): number => o.vocabSize - (o.multiQuery ? 0 : 1) - o.noiseVocabSize;

/** What recall options must fulfil. */
export function recallRules(o: RecallOptions): (readonly [boolean, string])[] {
  return [
    [o.seqLen % 2 === 0 && o.seqLen >= 4, "seqLen must be even and at least 4"],
    [plainTokens(o) >= 2, "the vocabulary leaves no key and value beside noise and special tokens"],
    [o.fracNoise < 1, "fracNoise must be below 1"],
    ...noiseRules(o),
  ];
}

/** Row length: one is lost to the shift, one won by the copy token of a single query. */
export const recallLength = (o: RecallOptions): number => (o.multiQuery ? o.seqLen - 1 : o.seqLen);

/** Rows of in-context recall. */
export function recallRows(o: RecallOptions): MakeRow {
  const tokens = plainTokens(o);
  const keyCount = Math.floor(tokens / 2);
  const pairs = o.seqLen / 2;
  const valueOf = new Int32Array(keyCount);
  const seen = new Int32Array(keyCount);
  // the sequence before the shift, and what the test split asks at each of its tokens
  const sequence = new Int32Array(recallLength(o) + 1);
  const asked = new Int32Array(sequence.length);

  return (random, split, inputs, targets) => {
    valueOf.fill(-1);
    asked.fill(IGNORE_INDEX);
    let seenCount = 0;
    let at = 0;
    const surePair = random.below(pairs);
    for (let i = 0; i < pairs - 1; i++) {
      // a sequence without any pair has nothing to ask: the original fails there, here the last place becomes one
      const mustPair = i === pairs - 2 && seenCount === 0;
      const drawsNoise = i !== surePair && o.fracNoise > 0 && random.uniform() < o.fracNoise;
      if (drawsNoise && !mustPair) {
        sequence[at++] = tokens + random.below(o.noiseVocabSize);
        sequence[at++] = tokens + random.below(o.noiseVocabSize);
        continue;
      }
      const key = random.below(keyCount);
      const isNew = valueOf[key]! < 0;
      if (isNew) {
        valueOf[key] = keyCount + random.below(tokens - keyCount);
        seen[seenCount++] = key;
      }
      sequence[at++] = key;
      if (!isNew && o.multiQuery) asked[at] = valueOf[key]!;
      sequence[at++] = valueOf[key]!;
    }
    const probe = seen[random.below(seenCount)]!;
    if (!o.multiQuery) sequence[at++] = o.vocabSize - 1;
    sequence[at++] = probe;
    asked[at] = valueOf[probe]!;
    sequence[at++] = valueOf[probe]!;

    inputs.set(sequence.subarray(0, at - 1));
    targets.set((split === "train" ? sequence : asked).subarray(1, at));
  };
}
