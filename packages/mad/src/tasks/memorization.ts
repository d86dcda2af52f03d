import { defaultRng } from "@everlong/data";
import { defineTask, IGNORE_INDEX, noiseRules, type Task } from "./task.ts";

/** A fixed one-to-one map: `keys[i]` stands for `values[i]`. */
export interface MemorizationMap {
  readonly keys: Int32Array;
  readonly values: Int32Array;
}

/** The map that a seed fixes: the lower half of `tokens` tokens, shuffled, onto the upper half, shuffled. */
export function memorizationMap(tokens: number, seed: number): MemorizationMap {
  const rng = defaultRng(seed);
  const keyCount = Math.floor(tokens / 2);
  const keys = rng.permutation(keyCount);
  const values = rng.permutation(tokens - keyCount).map((value) => keyCount + value);
  // with an odd number of tokens one value stays without a key
  return { keys, values: values.slice(0, keyCount) };
}

/**
 * Memorization (M): one map of keys to values for all sequences, to be learnt by heart. A key, then a token that asks
 * for its value.
 *
 *     inputs   7 255 90 255 7 255     V = 256, keys 0-126, values 127-254, insert token 255
 *     targets  . 201 .  130 . 201
 *
 * `compat`: with a noise vocabulary mad-lab's configurations build the map over the noise tokens too, so a token can
 * be noise in one place and a key or value in another. By default the map keeps off the noise.
 */
export const memorization: Task = defineTask({
  name: "memorization",
  shorthand: "M",
  describe: "One map of keys to values for all sequences, to be learnt by heart.",
  backbone: "language-model",
  defaults: { vocabSize: 256, seqLen: 32, fracNoise: 0, noiseVocabSize: 0 },
  rules: (o) => [
    [o.seqLen >= 2, "seqLen must be at least 2"],
    [
      o.vocabSize - 1 - o.noiseVocabSize >= 2,
      "the vocabulary leaves no key and value beside noise and special tokens",
    ],
    ...noiseRules(o),
  ],
  length: (o) => 2 * Math.floor(o.seqLen / 2),
  rows: (o, { seed, compat }) => {
    const tokens = o.vocabSize - 1 - o.noiseVocabSize;
    const { keys, values } = memorizationMap(compat ? o.vocabSize - 1 : tokens, seed);
    const pairs = Math.floor(o.seqLen / 2);
    return (random, _split, inputs, targets) => {
      targets.fill(IGNORE_INDEX);
      const surePair = random.below(pairs);
      for (let i = 0; i < pairs; i++) {
        if (i !== surePair && o.fracNoise > 0 && random.uniform() < o.fracNoise) {
          inputs[2 * i] = tokens + random.below(o.noiseVocabSize);
          inputs[2 * i + 1] = tokens + random.below(o.noiseVocabSize);
          continue;
        }
        const pick = random.below(keys.length);
        inputs[2 * i] = keys[pick]!;
        inputs[2 * i + 1] = o.vocabSize - 1;
        targets[2 * i + 1] = values[pick]!;
      }
    };
  },
});
