// Text from a language model, token by token: prompts of different lengths side by side, the state in place, one compiled
// step for all positions.

import {
  ConfigError,
  Variable,
  add,
  checkOptions,
  compile,
  narrow,
  random,
  reshape,
  tensor,
  type Device,
  type Tensor,
} from "@everlong/core";
import type { LanguageModel, ModelState } from "../backbones/language-model.ts";
import { holdState, type StateTree } from "./held-state.ts";
import { checkSampling, sampleToken, SAMPLING_OPTIONS, type SamplingOptions } from "./sampling.ts";

export interface GenerateOptions extends SamplingOptions {
  /** Most tokens to add to each prompt. */
  readonly maxTokens: number;
  /** Tokens after which a row ends; the stop token is part of the result. */
  readonly stopTokens?: readonly number[];
  /** Decides the draws. Default 0. */
  readonly seed?: number;
  /** Called with the new token of every row, undefined for rows that have ended; return false to stop. */
  readonly onTokens?: (tokens: readonly (number | undefined)[]) => void | boolean;
}

const OPTIONS: readonly (keyof GenerateOptions)[] = [
  "maxTokens",
  "stopTokens",
  "seed",
  "onTokens",
  ...SAMPLING_OPTIONS,
];

/** Prompts as rows of one length, padded in front; a mask where they differ. */
function padPrompts(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  device: Device,
): { readonly ids: Tensor; readonly mask: Tensor | undefined; readonly longest: number } {
  if (prompts.length === 0)
    throw new ConfigError("generate", "there are no prompts", { expected: "at least one" });
  for (const [row, prompt] of prompts.entries()) {
    if (prompt.length === 0)
      throw new ConfigError("generate", `prompt ${row} is empty`, {
        hint: "Start it with one token at least.",
      });
    const wrong = prompt.find((t) => !Number.isInteger(t) || t < 0 || t >= model.vocabSize);
    if (wrong !== undefined)
      throw new ConfigError("generate", `prompt ${row} has a token outside of the vocabulary`, {
        expected: `0 to ${model.vocabSize - 1}`,
        got: `${wrong}`,
      });
  }
  const longest = Math.max(...prompts.map((p) => p.length));
  const shape = [prompts.length, longest];
  const rows = prompts.flatMap((p) => [...Array.from<number>({ length: longest - p.length }).fill(0), ...p]);
  const ids = tensor(Int32Array.from(rows), shape, { device });
  if (prompts.every((p) => p.length === longest)) return { ids, mask: undefined, longest };
  const real = prompts.flatMap((p) => Array.from({ length: longest }, (_, t) => t >= longest - p.length));
  return { ids, mask: reshape(tensor(real, { dtype: "bool", device }), shape), longest };
}

/**
 * Continues prompts of any lengths, all rows at once. Every layer keeps its state between tokens: attention its cache,
 * recurrences theirs, long convolutions what {@link OnlineConvs} holds.
 * @param prompts token numbers, at least one a row
 * @returns the new tokens of every row
 * @throws ConfigError for options out of range, empty prompts, and models with a layer that cannot step
 */
export async function generate(
  model: LanguageModel,
  prompts: readonly (readonly number[])[],
  options: GenerateOptions,
): Promise<number[][]> {
  checkOptions("generate", options, OPTIONS);
  checkSampling("generate", options);
  const { maxTokens, stopTokens = [], seed = 0, onTokens, temperature, topK, topP } = options;
  if (!Number.isInteger(maxTokens) || maxTokens < 1)
    throw new ConfigError("generate", "maxTokens must be a positive integer", { got: `${maxTokens}` });
  const device = model.embedding.weight.current.device;
  const { ids, mask, longest } = padPrompts(model, prompts, device);
  const sampling = {
    ...(temperature === undefined ? {} : { temperature }),
    ...(topK === undefined ? {} : { topK }),
    ...(topP === undefined ? {} : { topP }),
  };
  const base = random.key(seed, device);
  const count = new Variable(tensor(1, { dtype: "i32", device }), { name: "count", trainable: false });
  const start = model.prefill(ids, { capacity: longest + maxTokens, ...(mask ? { mask } : {}) });
  const last = reshape(narrow(start.logits, 1, longest - 1, longest), [prompts.length, model.vocabSize]);
  let token = sampleToken(last, random.foldIn(base, 0), sampling);
  const held = holdState(start.state as unknown as StateTree);
  const advance = compile(
    (from: Tensor): Tensor => {
      const { logits, state } = model.step(from, held.read() as unknown as ModelState);
      held.write(state as unknown as StateTree);
      const next = sampleToken(logits, random.foldIn(base, count.value), sampling);
      count.value = add(count.value, 1);
      return next;
    },
    { name: "generation step" },
  );
  const out: number[][] = prompts.map(() => []);
  const ended = prompts.map(() => false);
  try {
    for (let made = 0; ;) {
      const drawn = Array.from(await token.data(), Number);
      const fresh = drawn.map((t, row) => (ended[row] ? undefined : t));
      for (const [row, t] of fresh.entries()) {
        if (t === undefined) continue;
        out[row]!.push(t);
        ended[row] = stopTokens.includes(t);
      }
      const goOn = onTokens?.(fresh) !== false;
      if (++made === maxTokens || !goOn || ended.every(Boolean)) return out;
      const next = advance(token);
      token[Symbol.dispose]();
      token = next;
    }
  } finally {
    token[Symbol.dispose]();
    advance.dispose();
    held.dispose();
  }
}
