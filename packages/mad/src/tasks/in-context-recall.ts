import { defineTask, type Task } from "./task.ts";
import { recallLength, recallRows, recallRules } from "./recall.ts";

/**
 * In-context recall (CR): pairs of a key and a value, one map per sequence; say the value when a key comes again.
 *
 *     inputs   2 9 5 12 2 9 0 14 5     V = 16, keys 0-7, values 8-15
 *     test     . . . .  9 . . .  12    (. = ignored; in training every next token is a target)
 */
export const inContextRecall: Task = defineTask({
  name: "in-context-recall",
  shorthand: "CR",
  describe: "Pairs of a key and a value, drawn anew for each sequence: say the value when a key comes again.",
  backbone: "language-model",
  defaults: { vocabSize: 16, seqLen: 128, multiQuery: true, fracNoise: 0, noiseVocabSize: 0 },
  rules: recallRules,
  length: recallLength,
  rows: recallRows,
});
