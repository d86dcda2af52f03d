import { describe, expect, test } from "vitest";
import {
  gradients,
  irfft,
  mul,
  narrow,
  pad,
  rfft,
  sum,
  tensor,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { Random, relativeError, valuesOf } from "@everlong/testing";
import { fftConv } from "./fft-conv.ts";
import { lowFrequencyConv, partialConv } from "./sparse.ts";

const sample = (seed: number, ...shape: number[]): Tensor =>
  tensor(new Random(seed).normals(shape.reduce((a, b) => a * b, 1)), shape);
const error = async (a: Tensor, b: Tensor): Promise<number> =>
  relativeError(await valuesOf(a), await valuesOf(b));

describe.each<["bdl" | "bld"]>([["bdl"], ["bld"]])("partial convolutions, %s", (layout) => {
  const turn = (t: Tensor): Tensor => (layout === "bdl" ? t : t.transpose());
  test.each([
    [41, 5, 8],
    [40, 8, 8],
    [23, 1, 4],
    [9, 20, 0],
  ])(
    "length %i, %i taps, blocks of %i: values and gradients are those of the cut filter",
    (length, taps, block) =>
      withDevice("reference", async () => {
        const [u, gate, post] = [1, 2, 3].map((s) => turn(sample(s, 2, 3, length))) as [
          Tensor,
          Tensor,
          Tensor,
        ];
        const k = turn(sample(4, 3, 30));
        const rest = { layout, skip: sample(5, 3), preGate: gate, postGate: post };
        const run = (filter: Tensor, x: Tensor): Tensor => partialConv(x, filter, taps, { ...rest, block });
        const want = (filter: Tensor, x: Tensor): Tensor =>
          fftConv(x, narrow(filter, layout === "bdl" ? 1 : 0, 0, taps), rest);
        expect(await error(run(k, u), want(k, u))).toBeLessThan(1e-13);
        const grads = (fn: typeof run): Tensor[] => gradients(sum(mul(fn(k, u), u)), [k, u]);
        const [mine, theirs] = [grads(run), grads(want)];
        for (const i of [0, 1]) expect(await error(mine[i]!, theirs[i]!)).toBeLessThan(1e-13);
      }),
  );

  test("frequencies beyond the kept ones are gone, the kept ones are as they were", () =>
    withDevice("reference", async () => {
      for (const [length, bins] of [
        [20, 7],
        [21, 1],
        [8, 30],
        [1, 1],
      ] as const) {
        const [u, k] = [turn(sample(1, 2, 3, length)), turn(sample(2, 3, 15))];
        const n = 2 * length;
        const last = (t: Tensor): Tensor => turn(t);
        const cut = Math.min(bins, length + 1);
        const filter = narrow(last(k), 1, 0, Math.min(15, n));
        const spectrum = rfft(filter, { n }).map((t) => pad(narrow(t, 1, 0, cut), [[0, length + 1 - cut]]));
        const want = narrow(irfft(rfft(last(u), { n }).mul(spectrum), { n }), 2, 0, length);
        expect(await error(last(lowFrequencyConv(u, k, bins, { layout })), want)).toBeLessThan(1e-12);
      }
    }));
});

test("a model's filters slide over inputs longer than they are", () =>
  withDevice("reference", async () => {
    const [u, k] = [sample(1, 1, 2, 100), sample(2, 2, 16)];
    const long = partialConv(u, k, 16, { block: 24 });
    // every output depends on the last 16 inputs alone
    const part = partialConv(narrow(u, 2, 61, 100), k, 16);
    expect(await error(narrow(long, 2, 76, 100), narrow(part, 2, 15, 39))).toBeLessThan(1e-13);
    expect(() => partialConv(u, k, 16, { block: 10 })).toThrow(/hold the filter/);
    expect(() => partialConv(u, k, 0)).toThrow(/positive integer/);
    expect(() => lowFrequencyConv(u, k, 0)).toThrow(/positive integer/);
  }));
