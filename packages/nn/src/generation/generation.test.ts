import { random, reshape, softmax, tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { LanguageModel, type LanguageModelOptions } from "../backbones/language-model.ts";
import { generate } from "./generate.ts";
import { sampleToken, type SamplingOptions } from "./sampling.ts";

const VOCABULARY = 13;
const make = (more: Partial<LanguageModelOptions> = {}): LanguageModel =>
  new LanguageModel({
    key: random.key(3),
    vocabSize: VOCABULARY,
    dim: 16,
    maxLength: 64,
    positions: "learned",
    layers: ["hyena", "mlp", { layer: "mA", options: { heads: 2 } }, "s4d", "long-conv"],
    ...more,
  });

/** Token by token through `forward` on everything so far. */
async function greedyByForward(
  model: LanguageModel,
  prompt: readonly number[],
  count: number,
): Promise<number[]> {
  const ids = [...prompt];
  for (let i = 0; i < count; i++) {
    const logits = model.forward(reshape(tensor(Int32Array.from(ids)), [1, ids.length]));
    const last = Array.from(await logits.slice([0, -1]).data(), Number);
    ids.push(last.indexOf(Math.max(...last)));
  }
  return ids.slice(prompt.length);
}

test("greedy generation is repeated forward passes, whatever the prompts' lengths", async () => {
  const model = make();
  const prompts = [[1, 5, 2, 9], [7], [3, 3, 12, 0, 8, 6, 1]];
  const out = await generate(model, prompts, { maxTokens: 41, temperature: 0 });
  for (const [row, prompt] of prompts.entries())
    expect(out[row], `row ${row}`).toEqual(await greedyByForward(model, prompt, 41));
});

test("a seed decides the draws, stop tokens end rows, a callback ends all", async () => {
  const model = make();
  const prompts = [
    [1, 2],
    [4, 5, 6],
  ];
  const run = (seed: number, more = {}): Promise<number[][]> =>
    generate(model, prompts, { maxTokens: 12, seed, ...more });
  const first = await run(1);
  expect(await run(1)).toEqual(first);
  expect(await run(2)).not.toEqual(first);
  const stop = first[0]![3]!;
  const stopped = await run(1, { stopTokens: [stop] });
  for (const row of [0, 1]) {
    const at = first[row]!.indexOf(stop);
    expect(stopped[row]).toEqual(at < 0 ? first[row] : first[row]!.slice(0, at + 1));
  }
  const seen: (number | undefined)[][] = [];
  const cut = await run(1, { onTokens: (t: (number | undefined)[]) => seen.push([...t]) < 4 });
  expect(cut).toEqual(first.map((row) => row.slice(0, 4)));
  expect(seen.map((t) => t[1])).toEqual(cut[1]);
});

/** How often each token is drawn for the same logits. */
async function shares(logits: readonly number[], options: SamplingOptions): Promise<number[]> {
  const draws = 4000;
  const rows = tensor(Array.from({ length: draws }, () => [...logits]));
  const found = Array.from(await sampleToken(rows, random.key(5), options).data(), Number);
  return logits.map((_, i) => found.filter((t) => t === i).length / draws);
}
const probabilities = async (logits: readonly number[], scale = 1): Promise<number[]> =>
  Array.from(await softmax(tensor(logits.map((x) => x / scale)), -1).data(), Number);
/** Four standard errors of a share. */
const close = (share: number, p: number): void =>
  expect(Math.abs(share - p)).toBeLessThan(4 * Math.sqrt((p * (1 - p)) / 4000) + 1e-9);

test("temperature, topK and topP draw what they say", async () => {
  const logits = [0.3, 2, -1, 1.2, 0.3];
  (await probabilities(logits, 0.7)).forEach(async (p, i) =>
    close((await shares(logits, { temperature: 0.7 }))[i]!, p),
  );
  // The two equal logits tie for third place: exactly one of them stays.
  const three = await shares(logits, { topK: 3 });
  expect(three.filter((s) => s > 0)).toHaveLength(3);
  const kept = await probabilities([0.3, 2, 1.2]);
  [three[0]!, three[1]!, three[3]!].forEach((s, i) => close(s, kept[i]!));
  // Probabilities .50, .22, .091, .091, .024 in order of rank, after the best: p = .6 needs two tokens, .45 one.
  expect((await shares(logits, { topP: 0.7 })).filter((s) => s > 0)).toHaveLength(2);
  expect(await shares(logits, { topP: 0.45 })).toEqual([0, 1, 0, 0, 0]);
  expect(await shares(logits, { topK: 1 })).toEqual([0, 1, 0, 0, 0]);
  expect(await shares(logits, { temperature: 0 })).toEqual([0, 1, 0, 0, 0]);
  // topP counts among what topK leaves.
  expect((await shares(logits, { topK: 2, topP: 0.72 })).filter((s) => s > 0)).toHaveLength(2);
});

test.each([
  [{ temperature: -1 }, /temperature is out of range: expected a number from 0, got -1/],
  [{ topK: 0 }, /topK is out of range/],
  [{ topK: 1.5 }, /topK is out of range/],
  [{ topP: 0 }, /topP is out of range/],
  [{ topP: 1.1 }, /topP is out of range/],
  [{ maxTokens: 0 }, /maxTokens must be a positive integer/],
  [{ topk: 3 }, /unknown option "topk"/],
])("%j is refused", async (more, message) => {
  await expect(generate(make(), [[1]], { maxTokens: 1, ...more })).rejects.toThrow(message);
});

test("prompts that cannot be continued", async () => {
  const model = make();
  const run = (prompts: number[][], maxTokens = 2): Promise<number[][]> =>
    generate(model, prompts, { maxTokens });
  await expect(run([])).rejects.toThrow(/no prompts/);
  await expect(run([[1], []])).rejects.toThrow(/prompt 1 is empty/);
  await expect(run([[VOCABULARY]])).rejects.toThrow(/outside of the vocabulary: expected 0 to 12, got 13/);
  await expect(run([[1]], 64)).rejects.toThrow(/longer than maxLength/);
});
