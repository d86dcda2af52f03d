import { defineTask, type Task } from "./task.ts";
import { recallLength, recallRows, recallRules } from "./recall.ts";

/**
 * Noisy in-context recall (NR): in-context recall where a share of the pairs is replaced by two tokens of noise.
 *
 *     inputs   2 9 17 30 5 12 2 9     V = 32, keys 0-7, values 8-15, noise 16-31
 *     test     . . .  .  . .  9 .     (. = ignored; in training every next token is a target)
 */
export const noisyInContextRecall: Task = defineTask({
  name: "noisy-in-context-recall",
  shorthand: "NR",
  describe: "In-context recall where a share of the pairs is replaced by noise tokens to be skipped.",
  backbone: "language-model",
  defaults: { vocabSize: 32, seqLen: 128, multiQuery: true, fracNoise: 0.2, noiseVocabSize: 16 },
  rules: recallRules,
  length: recallLength,
  rows: recallRows,
});
