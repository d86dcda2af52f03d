import { abs, max, narrow, random, slice, sub, tensor, type Tensor } from "@everlong/core";
import { describe, expect, test } from "vitest";
import { DECAY_PRESETS, DecayedFilter, ExplicitFilter, ModalFilter } from "../filters/striped-filter.ts";
import { parameters, stateDict } from "../layer.ts";
import { StripedHyena, type StripedHyenaOptions } from "./striped-hyena.ts";

const DIM = 6;
const make = (stripe: StripedHyenaOptions["stripe"], more: Partial<StripedHyenaOptions> = {}): StripedHyena =>
  new StripedHyena({ key: random.key(3), dim: DIM, stripe, ...more });
const sample = (seed: number, time: number): Tensor => random.normal(random.key(seed), [1, time, DIM]);
const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();

describe.each([
  ["short", { width: 5 }],
  ["medium", { width: 40, scale: 1 }],
  ["medium", { width: 9, scale: 1, decay: "weak" }],
  ["long", { modes: 3 }],
] as const)("%s %o", (stripe, more) => {
  test.each([1, 2, 3, 6])("equals direct sums with %i groups", async (groups) => {
    const layer = make(stripe, { ...more, groups });
    const time = 53;
    const x = sample(1, time);
    const parts = (await layer.shortFilter.forward(layer.inProj.forward(x)).toArray()) as number[][][];
    const taps = (await layer.filter.forward(time).toArray()) as number[][];
    const skip = layer.convBias ? ((await layer.convBias.value.toArray()) as number[]) : undefined;
    const want = Array.from({ length: time }, (_, t) =>
      Array.from({ length: DIM }, (_, c) => {
        const u = (s: number): number => parts[0]![s]![DIM + c]! * parts[0]![s]![2 * DIM + c]!;
        let y = (skip?.[c] ?? 0) * u(t);
        for (let j = 0; j <= t && j < taps.length; j++)
          y += taps[j]![Math.floor((c * groups) / DIM)]! * u(t - j);
        return y * parts[0]![t]![c]!;
      }),
    );
    expect(await distance(layer.forward(x), layer.outProj.forward(tensor([want])))).toBeLessThan(1e-12);
  });

  test("steps go on from any prompt, longer or shorter than the filter", async () => {
    const layer = make(stripe, { ...more, groups: 2 });
    const x = sample(2, 60);
    const whole = layer.forward(x);
    for (const prompt of [1, 4, 50]) {
      let { state } = layer.prefill(narrow(x, 1, 0, prompt), { capacity: 60 });
      for (let t = prompt; t < Math.min(60, prompt + 12); t++) {
        const next = layer.step(slice(x, [null, t]), state);
        expect(await distance(next.y, slice(whole, [null, t])), `${prompt}, ${t}`).toBeLessThan(1e-12);
        state = next.state;
      }
    }
  });
});

test("interleaved projections are the same operator with its rows in another order", async () => {
  const [plain, mixed] = [make("long"), make("long", { interleaved: true })];
  const order = Array.from({ length: 3 * DIM }, (_, i) => (i % 3) * DIM + Math.floor(i / 3));
  const weight = (await plain.inProj.weight.value.toArray()) as number[][];
  const taps = (await plain.shortFilter.weight.value.toArray()) as number[][][];
  mixed.inProj.weight.value = tensor(order.map((i) => weight[i]!));
  mixed.shortFilter.weight.value = tensor(order.map((i) => taps[i]!));
  const x = sample(4, 20);
  expect(await distance(plain.forward(x), mixed.forward(x))).toBeLessThan(1e-13);
});

test("modal taps are sums of exponentials at any length", async () => {
  const filter = new ModalFilter({ key: random.key(5), groups: 3, modes: 4 });
  const [poles, residues] = (await Promise.all([
    filter.logPoles().toArray(),
    filter.residues().toArray(),
  ])) as [number[][], number[][]];
  for (const length of [1, 2, 7, 130]) {
    const taps = (await filter.forward(length).toArray()) as number[][];
    expect(taps.length).toBe(length);
    for (const t of [0, 1, Math.floor(length / 2), length - 1].filter((t) => t < length)) {
      for (let g = 0; g < 3; g++) {
        const want = residues[g]!.reduce((sum, r, n) => sum + r * Math.exp(poles[g]![n]! * t), 0);
        expect(taps[t]![g]).toBeCloseTo(want, 14);
      }
    }
  }
  expect(Math.max(...poles.flat())).toBeLessThan(0);
});

test("presets set the slowest decay; the fastest ends at exp(-100)", async () => {
  for (const [i, decay] of DECAY_PRESETS.entries()) {
    const filter = new DecayedFilter({ key: random.key(6), groups: 5, width: 11, decay });
    const rows = (await filter.decay.value.toArray()) as number[][];
    expect(rows[0]![10]).toBeCloseTo(Math.exp(-(10 ** -i)), 12);
    expect(rows[4]![10]).toBeCloseTo(Math.exp(-100), 12);
    expect(rows.every((r) => r[0] === 1)).toBe(true);
    expect([...parameters(filter).keys()]).toEqual(["h"]);
    expect([...stateDict(filter).keys()]).toEqual(["h", "decay"]);
  }
});

test("states do not grow, and options that would be ignored are refused", () => {
  expect(make("short").stateBytes()).toBe(4 * DIM * (6 + 6));
  expect(make("medium").stateBytes()).toBe(4 * DIM * (127 + 6));
  expect(make("long").stateBytes()).toBe(4 * DIM * (16 + 6));
  expect(() => make("short", { modes: 4 })).toThrow(/"modes" has no effect on a short filter/);
  expect(() => make("long", { width: 4 })).toThrow(/"width" has no effect on a long filter/);
  expect(() => make("long", { groups: 4 })).toThrow(/groups must divide the width/);
  expect(() => new ExplicitFilter({ key: random.key(1), groups: 2, width: 0 })).toThrow(/width must be/);
});
