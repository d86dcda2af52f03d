// One row of each task, drawn: what the model reads above, what it has to say below.

import { generateSplits } from "../tasks/generate.ts";
import type { TaskOptions } from "../tasks/options.ts";
import { findTask } from "../tasks/registry.ts";
import { IGNORE_INDEX } from "../tasks/task.ts";

/** Sizes at which a row fits a line. */
const SMALL: Readonly<Record<string, Partial<TaskOptions>>> = {
  "in-context-recall": { vocabSize: 8, seqLen: 18 },
  "noisy-in-context-recall": { vocabSize: 14, noiseVocabSize: 6, seqLen: 18, fracNoise: 0.3 },
  "fuzzy-in-context-recall": { vocabSize: 8, seqLen: 24, kMotifSize: 2, vMotifSize: 2 },
  memorization: { vocabSize: 15, seqLen: 12 },
  compression: { vocabSize: 8, seqLen: 12 },
  "selective-copying": { vocabSize: 10, seqLen: 18, numTokensToCopy: 4 },
};

/** What a token is in its task; decides its colour. */
function role(task: string, token: number, o: Partial<TaskOptions>): string {
  const vocab = o.vocabSize!;
  switch (task) {
    case "selective-copying":
      return token === vocab - 1 ? "special" : token === vocab - 2 ? "blank" : "value";
    case "compression":
      return token === vocab - 1 ? "special" : "value";
    case "memorization":
      return token === vocab - 1 ? "special" : token < Math.floor((vocab - 1) / 2) ? "key" : "value";
    default: {
      const plain = vocab - (task === "fuzzy-in-context-recall" ? 1 : 0) - (o.noiseVocabSize ?? 0);
      if (token >= plain) return "blank";
      return token < Math.floor(plain / 2) ? "key" : "value";
    }
  }
}

/** A row as an HTML table of two lines. */
export function exampleRow(taskName: string): string {
  const task = findTask(taskName);
  const given = SMALL[task.name] ?? {};
  const { options } = task.configure(given);
  const { test } = generateSplits({ task, options: given, seed: 5 }, { train: 1, test: 1 });
  const cells = (tokens: Int32Array): string =>
    Array.from(tokens, (t) =>
      t === IGNORE_INDEX ? "<td></td>" : `<td class="t-${role(task.name, t, options)}">${t}</td>`,
    ).join("");
  return `<div class="scroll"><table class="tokens" aria-label="an example row of ${task.name}">
<tr><th scope="row">reads</th>${cells(test.inputs.subarray(0, test.length))}</tr>
<tr><th scope="row">says</th>${cells(test.targets.subarray(0, test.length))}</tr></table></div>`;
}
