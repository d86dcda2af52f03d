import { abs, gradients, max, mul, narrow, random, rfft, sub, sum, type Tensor } from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { causality } from "@everlong/testing";
import { describe, expect, test } from "vitest";
import { parameters } from "../layer.ts";
import { H3Conv } from "../mixers/h3-conv.ts";
import { Hyena } from "../mixers/hyena.ts";
import { LongConv } from "../mixers/long-conv.ts";
import { BlockFft } from "./block-fft.ts";

const distance = (a: Tensor, b: Tensor): Promise<number> => max(abs(sub(a, b))).item();
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);
const make = (more: object = {}): BlockFft => new BlockFft({ key: random.key(1), ...more });

describe("BlockFft", () => {
  test.each([
    [64, 16],
    [100, 16],
    [8192, 16],
    [512, 8],
    [1, 16],
  ])(
    "unlearned it is the FFT, and its inverse undoes it: %i points, matrices of %i",
    async (length, largest) => {
      const x = sample(2, 2, 3, length);
      for (const learned of [false, true]) {
        const block = make({ largest, learned });
        const y = block.forward(x);
        const size = y.re.shape[2]!;
        expect(size).toBe(2 ** Math.max(1, Math.ceil(Math.log2(length))));
        const want = rfft(x, { n: size });
        const half = size / 2 + 1;
        expect(await distance(narrow(y.re, 2, 0, half), want.re)).toBeLessThan(1e-10);
        expect(await distance(narrow(y.im, 2, 0, half), want.im)).toBeLessThan(1e-10);
        expect(await distance(narrow(block.inverse(y), 2, 0, length), x)).toBeLessThan(1e-12);
      }
    },
  );

  test.each<["bdl" | "bld"]>([["bdl"], ["bld"]])(
    "convolutions of every kind are the FFT's, %s",
    async (layout) => {
      const block = make({ learned: false });
      const turn = (t: Tensor): Tensor => (layout === "bdl" ? t : t.transpose());
      const [u, gate, post] = [4, 5, 6].map((s) => turn(sample(s, 2, 3, 21)));
      const [k, back] = [turn(sample(7, 3, 21)), turn(sample(8, 3, 30))];
      const rest = { layout, skip: sample(9, 3), preGate: gate!, postGate: post! };
      const all = [
        rest,
        { ...rest, mode: "two-sided" as const, backward: back, firstBackwardLag: -1 as const },
        { ...rest, mode: "two-sided" as const, backward: back, firstBackwardLag: 0 as const },
      ];
      for (const options of all)
        expect(await distance(block.conv(u!, k, options), fftConv(u!, k, options))).toBeLessThan(1e-12);
    },
  );

  test("the matrices of every size that a transform uses get gradients", async () => {
    const block = make();
    expect(parameters(block).size).toBe(4);
    const y = block.conv(sample(4, 1, 2, 40), sample(5, 2, 40));
    // 128 points: matrices of 16 and of 8
    const found = gradients(
      sum(mul(y, y)),
      block.matrices.map((m) => m.value),
    );
    const sizes = await Promise.all(found.map((g) => max(abs(g)).item() as Promise<number>));
    expect(sizes.map((s) => s > 0)).toEqual([false, false, true, true]);
  });

  test("noise and learning change the operator; wrong options", async () => {
    const [u, k] = [sample(4, 1, 2, 20), sample(5, 2, 20)];
    expect(await distance(make({ noise: 0.1 }).conv(u, k), make().conv(u, k))).toBeGreaterThan(0.1);
    expect(() => make({ largest: 12 })).toThrow(/power of two/);
    expect(() => make({ learned: false, noise: 1 })).toThrow(/noise needs learned/);
    expect(() => make().conv(u, k, { mode: "circular" })).toThrow(/causal or two-sided/);
  });
});

describe("LongConv through a block FFT", () => {
  const layer = (blockFft: object | undefined): LongConv =>
    new LongConv({ key: random.key(3), dim: 4, maxLength: 24, ...(blockFft ? { blockFft } : {}) });

  test("fixed matrices change nothing; learned ones start as the same layer", async () => {
    const x = sample(6, 2, 17, 4);
    const want = layer(undefined).forward(x);
    expect(await distance(layer({ learned: false }).forward(x), want)).toBeLessThan(1e-12);
    expect(await distance(layer({ learned: true }).forward(x), want)).toBeLessThan(1e-12);
  });

  test("fixed matrices keep causality, learned ones do not, and the layer says so", async () => {
    const x = sample(6, 1, 17, 4);
    const fixed = layer({ learned: false });
    expect(fixed.causal).toBe(true);
    await causality((t) => fixed.forward(t), x);
    const learned = layer({ learned: true, noise: 0.05 });
    expect(learned.causal).toBe(false);
    await expect(causality((t) => learned.forward(t), x)).rejects.toThrow();
    expect(() => learned.prefill(x, { capacity: 20 })).toThrow(/one position at a time/);
  });
});

test.each<[string, (blockFft?: { learned: boolean; noise?: number }) => Hyena | H3Conv]>([
  ["Hyena", (b) => new Hyena({ key: random.key(3), dim: 4, maxLength: 24, ...(b ? { blockFft: b } : {}) })],
  ["H3Conv", (b) => new H3Conv({ key: random.key(3), dim: 4, maxLength: 24, ...(b ? { blockFft: b } : {}) })],
])("%s through a block FFT", async (_, layer) => {
  const x = sample(6, 2, 17, 4);
  const want = layer().forward(x);
  expect(await distance(layer({ learned: false }).forward(x), want)).toBeLessThan(1e-12);
  const learned = layer({ learned: true, noise: 0.1 });
  expect(await distance(learned.forward(x), want)).toBeGreaterThan(1e-6);
  expect([layer({ learned: false }).causal, learned.causal]).toEqual([true, false]);
  expect(() => learned.prefill(x, { capacity: 20 })).toThrow(/one position at a time/);
});
