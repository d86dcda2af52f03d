import { defineTask, IGNORE_INDEX, noiseRules, type Task } from "./task.ts";

/**
 * Compression (C): random tokens, then a token at which the whole sequence must be held; a decoder repeats it from
 * that one position.
 *
 *     inputs   4 11 0 7 15     V = 16, tokens 0-14, compression token 15
 *     targets  4 11 0 7 15
 *
 * `compat`: mad-lab computes targets that ignore noise, then returns the inputs instead; its models must repeat the
 * noise too. By default noise is ignored.
 */
export const compression: Task = defineTask({
  name: "compression",
  shorthand: "C",
  describe: "Random tokens to be held in one position, from which a decoder repeats them all.",
  backbone: "autoencoder",
  defaults: { vocabSize: 16, seqLen: 32, fracNoise: 0, noiseVocabSize: 0 },
  rules: (o) => [
    [o.seqLen >= 2, "seqLen must be at least 2"],
    [
      o.vocabSize - 1 - o.noiseVocabSize >= 1,
      "the vocabulary leaves no token beside noise and the compression token",
    ],
    ...noiseRules(o),
  ],
  length: (o) => o.seqLen,
  rows: (o, { compat }) => {
    const tokens = o.vocabSize - 1 - o.noiseVocabSize;
    const last = o.seqLen - 1;
    return (random, _split, inputs, targets) => {
      for (let i = 0; i < last; i++) inputs[i] = random.below(tokens);
      inputs[last] = o.vocabSize - 1;
      targets.set(inputs);
      if (o.fracNoise === 0) return;
      for (let i = 0; i < last; i++) {
        if (random.uniform() >= o.fracNoise) continue;
        inputs[i] = tokens + random.below(o.noiseVocabSize);
        targets[i] = compat ? inputs[i]! : IGNORE_INDEX;
      }
    };
  },
});
