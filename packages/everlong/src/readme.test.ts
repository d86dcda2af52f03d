import { readFileSync } from "node:fs";
import { grad, random, setDefaultDevice, sum, type Tensor } from "@everlong/core";
import "@everlong/device-cpu";
import { expect, test } from "vitest";
import type { LayerEntry, Mixer } from "@everlong/nn";

const read = (path: string): string => readFileSync(new URL(path, import.meta.url), "utf8");
const blocks = (path: string): string[] =>
  [...read(path).matchAll(/```ts\n([\s\S]*?)```/g)].map(([, block]) => block!);

test("the README's sample is the example that the type check compiles", () => {
  expect(blocks("../../../README.md")[0]).toBe(read("../examples/recall.ts"));
});

test("the mixer of mad's README is the example, and computes what it says", async () => {
  expect(blocks("../../mad/README.md")).toContain(read("../examples/decaying-mean.ts"));
  setDefaultDevice("cpu");
  // outside of this folder's type check: the examples have their own
  const { href } = new URL("../examples/decaying-mean.ts", import.meta.url);
  const { decayingMean } = (await import(href)) as { readonly decayingMean: LayerEntry<Mixer> };
  const layer = decayingMean.build({ key: random.key(1), dim: 3, maxLength: 7 }, { fastest: 2 });
  const x = random.normal(random.key(2), [2, 7, 3]);
  const nested = async (v: Tensor): Promise<number[][][]> => (await v.toArray()) as number[][][];
  const module = layer as unknown as { rate: { value: Tensor }; gate: { forward(x: Tensor): Tensor } };
  const [u, y] = [await nested(x), await nested(layer.forward(x))];
  const gate = await nested(module.gate.forward(x).sigmoid());
  const rate = await module.rate.value.data();
  const place = [1, 6, 2] as const;
  const at = (v: number[][][], [b, t, d]: readonly [number, number, number]): number => v[b]![t]![d]!;
  const past = Array.from({ length: 7 }, (_, s) => Math.exp(-rate[2]! * (6 - s)) * at(u, [1, s, 2]));
  expect(at(y, place)).toBeCloseTo(at(gate, place) * past.reduce((a, b) => a + b, 0), 5);
  const slope = grad((r: Tensor) => sum(layer.forward(r)))(x);
  expect(slope.shape).toEqual([2, 7, 3]);
});
