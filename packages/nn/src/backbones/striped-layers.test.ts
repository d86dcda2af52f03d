import { abs, max, random, sub, tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { LanguageModel } from "./language-model.ts";
import { stripedLayers } from "./striped-layers.ts";

test("the default pattern puts attention and filters where Evo 2's 32 layers have them", () => {
  const names = stripedLayers({ count: 32, channelMixer: null }).map((l) => (l as { layer: string }).layer);
  const at = (name: string): number[] => names.flatMap((n, i) => (n === name ? [i] : []));
  expect(at("mh-attention")).toEqual([3, 10, 17, 24, 31]);
  expect(at("hyena-se")).toEqual([0, 4, 7, 11, 14, 18, 21, 25, 28]);
  expect(at("hyena-mr")).toEqual([1, 5, 8, 12, 15, 19, 22, 26, 29]);
  expect(at("hyena-li")).toEqual([2, 6, 9, 13, 16, 20, 23, 27, 30]);
});

test("a striped model generates what it computes at once, with a state that only attention lets grow", async () => {
  const model = new LanguageModel({
    key: random.key(1),
    vocabSize: 11,
    dim: 16,
    maxLength: 64,
    layers: stripedLayers({
      count: 4,
      options: { S: { groups: 4 }, M: { groups: 4, width: 9, scale: 1 }, A: { heads: 2 } },
    }),
    norm: "rms",
  });
  expect(model.layers.length).toBe(8);
  const ids = Array.from({ length: 20 }, (_, i) => (i * i + 3) % 11);
  const whole = model.forward(tensor([ids], { dtype: "i32" }));
  let { logits, state } = model.prefill(tensor([ids.slice(0, 12)], { dtype: "i32" }), { capacity: 20 });
  expect(await max(abs(sub(logits, whole.narrow(1, 0, 12)))).item()).toBeLessThan(1e-11);
  for (let t = 12; t < 20; t++) {
    ({ logits, state } = model.step(tensor([ids[t]!], { dtype: "i32" }), state));
    expect(await max(abs(sub(logits, whole.slice([null, t])))).item(), `${t}`).toBeLessThan(1e-11);
  }
});

test("unknown letters and options are refused", () => {
  expect(() => stripedLayers({ count: 3, pattern: "SX" })).toThrow(/unknown letter .* got "X" in "SX"/);
  expect(() => stripedLayers({ count: 1, options: { Q: {} } })).toThrow(/unknown option "Q"/);
  expect(() => stripedLayers({ count: 0 })).toThrow(/count must be/);
});
