import { abs, gradients, max, narrow, random, slice, sub, sum, tensor, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { MonarchMlp } from "../channel/monarch-mlp.ts";
import { namedVariables } from "../layer.ts";
import { BlockDiagonalLinear } from "../layers/block-diagonal-linear.ts";
import { MonarchMixer, type MonarchMixerOptions } from "./monarch-mixer.ts";

const DIM = 4;
const make = (more: Partial<MonarchMixerOptions> = {}): MonarchMixer =>
  new MonarchMixer({ key: random.key(2), dim: DIM, maxLength: 40, ...more });
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);
const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();

test.each([
  { bidirectional: true, residualConv: true, inputNorm: true },
  { bidirectional: true, residualConv: false },
  { bidirectional: false, residualConv: true },
])("equals direct sums over both sides: %o", async (options) => {
  const layer = make({ ...options, filter: { embeddingDim: 5, frequencyScale: 2 } });
  const time = 31;
  const x = sample(3, 1, time, DIM);
  const u = layer.layernorm ? layer.layernorm.forward(x) : x;
  const parts = (await layer.shortFilter.forward(layer.inLinear.forward(u)).toArray()) as number[][][];
  const inputs = (await u.toArray()) as number[][][];
  const rows = async (t: Tensor): Promise<number[][]> => (await t.toArray()) as number[][];
  const filters = await Promise.all(
    [layer.filterFn, layer.filterFn2].map(async (f) =>
      f
        ? {
            ahead: await rows(f.forward(time)),
            behind: options.bidirectional ? await rows(f.backward(time)) : undefined,
            skip: (await f.skip()!.toArray()) as number[],
          }
        : undefined,
    ),
  );
  const part = (p: number, t: number, c: number): number => parts[0]![t]![p * DIM + c]!;
  const convolved = (which: number, at: (s: number, c: number) => number, t: number, c: number): number => {
    const f = filters[which]!;
    let y = f.skip[c]! * at(t, c);
    for (let s = 0; s < time; s++) {
      if (s <= t) y += f.ahead[t - s]![c]! * at(s, c);
      // Tap 0 of the second filter acts one position ahead.
      else y += (f.behind?.[s - t - 1]![c] ?? 0) * at(s, c);
    }
    return y;
  };
  const want = Array.from({ length: time }, (_, t) =>
    Array.from({ length: DIM }, (_, c) => {
      const gated = convolved(0, (s, d) => part(2, s, d) * part(0, s, d), t, c) * part(1, t, c);
      return filters[1] ? gated + convolved(1, (s, d) => inputs[0]![s]![d]!, t, c) : gated;
    }),
  );
  expect(await distance(layer.forward(x), layer.outLinear.forward(tensor([want])))).toBeLessThan(1e-11);
});

test("sees both sides, or only the past", async () => {
  const reach = async (layer: MonarchMixer, from: number, to: number): Promise<number> => {
    const x = sample(4, 1, 30, DIM);
    const [g] = gradients(sum(slice(layer.forward(x), [0, 12])), [x]);
    return max(abs(narrow(g!, 1, from, to))).item();
  };
  expect(make().causal).toBe(false);
  expect(await reach(make(), 29, 30)).toBeGreaterThan(1e-8);
  expect(await reach(make(), 0, 1)).toBeGreaterThan(1e-8);
  expect(make({ bidirectional: false }).causal).toBe(true);
  expect(await reach(make({ bidirectional: false }), 13, 30)).toBeLessThan(1e-12);
});

test.each([true, false])(
  "the causal form goes on from a prompt, with and without the second convolution",
  async (residualConv) => {
    const layer = make({ bidirectional: false, residualConv, inputNorm: residualConv });
    const x = sample(9, 2, 33, DIM);
    const whole = layer.forward(x);
    let { y, state } = layer.prefill(narrow(x, 1, 0, 14), { capacity: 33 });
    expect(await distance(y, narrow(whole, 1, 0, 14))).toBeLessThan(1e-12);
    for (let t = 14; t < 33; t++) {
      ({ y, state } = layer.step(slice(x, [null, t]), state));
      expect(await distance(y, slice(whole, [null, t])), `${t}`).toBeLessThan(1e-12);
    }
    expect(() => make().step(slice(x, [null, 0]), state)).toThrow(/two-sided filters/);
  },
);

test("state has m2's names; both networks of a filter share their sines", () => {
  const all = namedVariables(make({ inputNorm: true }));
  const names = all.map((v) => v.name);
  for (const name of [
    "in_linear.weight",
    "out_linear.bias",
    "short_filter.weight",
    "layernorm.weight",
    "filter_fn.implicit_filter_rev.0.weight",
    "filter_fn2.implicit_filter.6.weight",
  ])
    expect(names).toContain(name);
  const sine = all.find((v) => v.name === "filter_fn.implicit_filter.1.freq")!;
  expect(sine.aliases).toContain("filter_fn.implicit_filter_rev.3.freq");
  expect(() => make({ bidirectional: false }).filterFn.backward(3)).toThrow(/no taps for the future/);
  expect(() => make().forward(sample(5, 1, 41, DIM))).toThrow(/up to 40/);
});

test.each([
  [12, 8, 4, false],
  [12, 8, 4, true],
  [10, 7, 3, false],
  [5, 9, 1, false],
])(
  "block-diagonal map of %i to %i in %i blocks equals its dense matrix",
  async (inputs, outputs, blocks, shuffle) => {
    const layer = new BlockDiagonalLinear({ key: random.key(6), inputs, outputs, blocks, shuffle });
    const weight = (await layer.weight.value.toArray()) as number[][][];
    const bias = (await layer.bias!.value.toArray()) as number[];
    const [rows, columns] = [Math.ceil(outputs / blocks), Math.ceil(inputs / blocks)];
    const x = sample(7, 2, 3, inputs);
    const values = (await x.toArray()) as number[][][];
    const want = values.map((group) =>
      group.map((row) =>
        Array.from({ length: outputs }, (_, o) => {
          const n = Math.floor(o / rows);
          return Array.from({ length: columns }, (_, i) => {
            // Shuffled, input i of block n is channel (i N + n) of the channels read column by column.
            const flat = n * columns + i;
            const at = shuffle ? (flat % blocks) * columns + Math.floor(flat / blocks) : flat;
            return weight[n]![o % rows]![i]! * (row[at] ?? 0);
          }).reduce((a, b) => a + b, bias[o]!);
        }),
      ),
    );
    expect(await distance(layer.forward(x), tensor(want))).toBeLessThan(1e-13);
  },
);

test("the channel mixer has a quarter of a dense one's weights", () => {
  const count = (blocks: number): number => new MonarchMlp({ key: random.key(8), dim: 16, blocks }).flops(1);
  expect(count(1)).toBe(2 * (16 * 128 + 64 * 16));
  expect(count(4)).toBe(count(1) / 4);
});
