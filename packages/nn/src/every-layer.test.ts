// What every registered layer must do, whatever it is; batch mates and padding have a file of their own.

import {
  abs,
  compile,
  concat,
  gradients,
  max,
  mul,
  narrow,
  random,
  recompute,
  slice,
  sub,
  sum,
  tensor,
  type Tensor,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { parameterCount, parameters, stateDict } from "./layer.ts";
import type { ChannelMixer, Mixer, MixerState } from "./mixer.ts";
import type { LayerEntry } from "./registry-entry.ts";
import { channelMixers, findLayer, mixers } from "./registry.ts";

const DIM = 32;
const LENGTH = 23;
const all: readonly LayerEntry[] = [...mixers, ...channelMixers];
const shape = (seed: number): { key: Tensor; dim: number; maxLength: number } => ({
  key: random.key(seed),
  dim: DIM,
  maxLength: 64,
});
const sample = (seed: number, batch = 2, time = LENGTH): Tensor =>
  random.normal(random.key(seed), [batch, time, DIM]);
const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;

describe.each(all.map((e) => [e.name, e] as const))("%s", (_, entry) => {
  test.each([1, 2, LENGTH])("keeps the shape at length %i", async (time) => {
    const y = entry.build(shape(1)).forward(sample(2, 3, time));
    expect(y.shape).toEqual([3, time, DIM]);
    expect(Number.isFinite(await sum(y).item())).toBe(true);
  });

  test("takes a batch of nothing", async () => {
    const layer = entry.build(shape(1));
    const x = sample(2, 0, 5);
    const y = layer.forward(x);
    expect(y.shape).toEqual([0, 5, DIM]);
    const wrt = [x, ...[...parameters(layer).values()].map((v) => v.value)];
    for (const g of gradients(sum(mul(y, y)), wrt))
      expect(Array.from(await g.data(), Number).every((value) => value === 0)).toBe(true);
  });

  test("is decided by its key", async () => {
    const x = sample(3);
    const forward = (seed: number): Tensor => entry.build(shape(seed)).forward(x);
    expect(await distance(forward(5), forward(5))).toBe(0);
    expect(await distance(forward(5), forward(6))).toBeGreaterThan(1e-4);
  });

  test("rejects unknown options and wrong types", () => {
    expect(() => entry.build(shape(1), { nonsense: 1 })).toThrow(/unknown option "nonsense"/);
    const first = Object.entries(entry.options).find(([, spec]) => typeof spec.default === "number");
    if (first) expect(() => entry.build(shape(1), { [first[0]]: "many" })).toThrow(/wrong type/);
  });

  test("is found by name and shorthand", () => {
    expect(findLayer(entry.name)).toBe(entry);
    expect(findLayer(entry.shorthand)).toBe(entry);
  });

  test("has gradients for every parameter and counts them", async () => {
    const layer: Mixer | ChannelMixer = entry.build(shape(7));
    const x = sample(8);
    const probe = random.normal(random.key(9), x.shape);
    const variables = [...stateDict(layer).keys()];
    expect(new Set(variables).size).toBe(variables.length);
    const found = gradients(
      sum(mul(layer.forward(x), probe)),
      [...parameters(layer).values()].map((v) => v.value),
    );
    for (const [i, name] of [...parameters(layer).keys()].entries()) {
      expect(await max(abs(found[i]!)).item(), name).toBeGreaterThan(0);
    }
    expect(parameterCount(layer)).toBe(found.reduce((n, g) => n + g.size, 0));
    expect(layer.flops(LENGTH)).toBeGreaterThan(2 * LENGTH * DIM);
  });

  test("recomputed gradients are the same", async () => {
    const layer = entry.build(shape(10));
    const x = sample(11);
    const probe = random.normal(random.key(12), x.shape);
    const [direct] = gradients(sum(mul(layer.forward(x), probe)), [x]);
    const [again] = gradients(sum(mul(recompute((t: Tensor) => layer.forward(t))(x), probe)), [x]);
    expect(await distance(direct!, again!)).toBeLessThan(1e-12);
  });
});

describe.each(mixers.map((e) => [e.name, e] as const))("sequence mixer %s", (_, entry) => {
  test("is causal where it says so", async () => {
    const mixer = entry.build(shape(20));
    const x = sample(21, 1);
    const at = 11;
    const [g] = gradients(sum(slice(mixer.forward(x), [0, at])), [x]);
    if (!mixer.causal) {
      expect(await max(abs(narrow(g!, 1, at + 1, LENGTH))).item()).toBeGreaterThan(1e-6);
      return;
    }
    // FFT convolutions leave rounding noise ahead of the position.
    expect(await max(abs(narrow(g!, 1, at + 1, LENGTH))).item()).toBeLessThan(1e-12);
    expect(await max(abs(slice(g!, [0, at]))).item()).toBeGreaterThan(1e-6);
    expect(await max(abs(slice(g!, [0, at - 2]))).item()).toBeGreaterThan(1e-9);
  });

  const forms = (entry.options["form"]?.choices ?? []) as readonly string[];
  test.runIf(forms.length > 1)("computes the same in every form, gradients too", async () => {
    // A chunk of 64 and an odd rest.
    const dim = 16;
    const x = random.normal(random.key(28), [1, 67, dim]);
    const probe = random.normal(random.key(29), x.shape);
    const [first, ...others] = forms.map((form) => {
      const layer = entry.build({ ...shape(27), dim }, { form });
      const y = layer.forward(x);
      const wrt = [x, ...[...parameters(layer).values()].map((v) => v.value)];
      return [y, ...gradients(sum(mul(y, probe)), wrt)];
    });
    for (const other of others) {
      for (const [i, t] of first!.entries()) {
        const size = (await max(abs(t)).item()) as number;
        expect((await distance(t, other[i]!)) / Math.max(size, 1e-9), `tensor ${i}`).toBeLessThan(1e-10);
      }
    }
  });

  const stepping = entry.build(shape(25));
  test.runIf("step" in stepping && stepping.causal).each(["left", "right"])(
    "continues a prompt with padding on the %s",
    async (side) => {
      const x = sample(30, 1, 12);
      const prompt = narrow(x, 1, 0, 11);
      const junk = mul(sample(31, 1, 6), 50);
      const wide = concat(side === "left" ? [junk, prompt] : [prompt, junk], 1);
      const from = side === "left" ? 6 : 0;
      const mask = tensor(
        Array.from({ length: 17 }, (_, i) => i >= from && i < from + 11),
        { dtype: "bool" },
      ).reshape([1, 17]);
      const plain = stepping.prefill!(prompt, { capacity: 20 });
      const masked = stepping.prefill!(wide, { capacity: 20, mask });
      const next = slice(x, [null, 11]);
      expect(
        await distance(stepping.step!(next, plain.state).y, stepping.step!(next, masked.state).y),
      ).toBeLessThan(1e-12);
    },
  );

  test.runIf("step" in stepping && stepping.causal)("steps as it computes at once", async () => {
    const x = sample(26);
    const whole = stepping.forward(x);
    const prompt = 9;
    const step = compile(
      (t: Tensor, s: MixerState) => stepping.step!(t, s) as { y: Tensor; state: MixerState },
    );
    let { y, state } = stepping.prefill!(narrow(x, 1, 0, prompt), { capacity: LENGTH });
    expect(await distance(y, narrow(whole, 1, 0, prompt))).toBeLessThan(1e-12);
    for (let t = prompt; t < LENGTH; t++) {
      ({ y, state } = step(slice(x, [null, t]), state));
      expect(y.shape).toEqual([2, DIM]);
      expect(await distance(y, slice(whole, [null, t])), `position ${t}`).toBeLessThan(1e-12);
    }
    expect(step.traces).toBe(1);
    // Taps belong to the layer, not to a sequence; slots exist for the positions after the prompt only.
    const own = Object.entries(state).filter(([name, t]) => t.dtype !== "i32" && !name.startsWith("taps"));
    const bytes = (part: typeof own): number => part.reduce((n, [, t]) => n + (t.size * 4) / 2, 0);
    const slots = own.filter(([name]) => name.startsWith("held"));
    const rest = own.filter(([name]) => !name.startsWith("held"));
    expect(stepping.stateBytes(LENGTH)).toBe(bytes(rest) + (bytes(slots) * LENGTH) / (LENGTH - prompt));
  });
});

test("an unknown layer names its neighbour", () => {
  expect(() => findLayer("hyenna")).toThrow(/Did you mean "hyena"/);
});

test("names and shorthands are unique", () => {
  const names = all.flatMap((e) => [e.name, e.shorthand]);
  expect(new Set(names).size).toBe(names.length);
});
