import { defineTask, IGNORE_INDEX, type Task } from "./task.ts";

/**
 * Selective copying (SC): tokens among blanks, then a copy token, then blanks; repeat the tokens in order.
 *
 *     inputs   14 3 14 14 9 15 14 14     V = 16, tokens 0-13, blank 14, copy token 15
 *     targets  .  . .  .  . .  3  9
 *
 * Blanks stand before tokens, never between the last token and the copy token, as in mad-lab. mad-lab draws their
 * places from numpy's global stream: seeding its generator alone does not fix its data.
 */
export const selectiveCopying: Task = defineTask({
  name: "selective-copying",
  shorthand: "SC",
  describe: "Tokens scattered among blanks, to be repeated in order after a copy token.",
  backbone: "language-model",
  defaults: { vocabSize: 16, seqLen: 256, numTokensToCopy: 16 },
  rules: (o) => [
    [o.numTokensToCopy >= 1, "numTokensToCopy must be at least 1"],
    [o.seqLen > 2 * o.numTokensToCopy + 1, "seqLen must exceed 2 * numTokensToCopy + 1"],
    [o.vocabSize >= 3, "the vocabulary leaves no token beside the blank and the copy token"],
  ],
  length: (o) => o.seqLen,
  rows: (o) => {
    const count = o.numTokensToCopy;
    const blanks = o.seqLen - 2 * count - 1;
    const blank = o.vocabSize - 2;
    const tokens = new Int32Array(count);
    const blanksBefore = new Int32Array(count);
    return (random, _split, inputs, targets) => {
      for (let i = 0; i < count; i++) tokens[i] = random.below(o.vocabSize - 2);
      blanksBefore.fill(0);
      for (let i = 0; i < blanks; i++) blanksBefore[random.position(count)]!++;
      inputs.fill(blank);
      let at = 0;
      for (let i = 0; i < count; i++) {
        at += blanksBefore[i]!;
        inputs[at++] = tokens[i]!;
      }
      inputs[at] = o.vocabSize - 1;
      targets.fill(IGNORE_INDEX);
      targets.set(tokens, o.seqLen - count);
    };
  },
});
