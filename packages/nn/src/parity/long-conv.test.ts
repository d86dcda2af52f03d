import {
  add,
  concat,
  mul,
  narrow,
  ones,
  random,
  sigmoid,
  transpose,
  zeros,
  type Tensor,
} from "@everlong/core";
import { relativeError, valuesOf } from "@everlong/testing";
import { expect, test } from "vitest";
import { namedVariables } from "../layer.ts";
import type { ParityModule } from "../parity-entry.ts";
import { parityModules } from "./modules.ts";

const long = { d_model: 3, l_max: 5, lam: 0 };

function built(args: Readonly<Record<string, unknown>>, json: object = {}): ParityModule {
  const request = { args: { ...long, ...args }, json: { ...json }, shapes: new Map() };
  return parityModules["src.models.sequence.long_conv.LongConv"]!(request);
}

const run = (args: Readonly<Record<string, unknown>>, u: Tensor): Tensor => built(args).call({ u })["y"]!;

async function same(a: Tensor, b: Tensor): Promise<void> {
  expect(a.shape).toEqual(b.shape);
  expect(relativeError(await valuesOf(a), await valuesOf(b))).toBeLessThan(1e-12);
}

test("a gate between convolution and output map halves the last axis", async () => {
  const u = random.normal(random.key(2), [2, 3, 8]);
  const bare = { channels: 2, activation: null, postact: null };
  const y = run(bare, u);
  const halved = mul(narrow(y, 2, 0, 4), sigmoid(narrow(y, 2, 4, 8)));
  await same(run({ ...bare, activation: "glu" }, u), halved);

  const { module, call } = built({ channels: 2, activation: "glu", postact: "id" });
  const { outputLinear } = module as unknown as { outputLinear: { forward(x: Tensor): Tensor } };
  await same(call({ u })["y"]!, transpose(outputLinear.forward(transpose(halved))));
  expect(run({ activation: "glu" }, u).shape).toEqual([2, 3, 4]);

  const turned = transpose(u);
  const wide = run({ ...bare, transposed: false }, turned);
  await same(
    run({ ...bare, transposed: false, activation: "glu" }, turned),
    mul(narrow(wide, 2, 0, 3), sigmoid(narrow(wide, 2, 3, 6))),
  );
  expect(() => run({ activation: "glu" }, narrow(u, 2, 0, 7))).toThrow(/even length: got 7/);
  expect(() => built({ activation: "glu", transposed: false })).toThrow(/unsupported: .* glu/);
});

test("filters of both sides are twice as long where the kernel is not causal", async () => {
  // A period of 5 + 7 positions: of 10 taps ahead the last three wrap; taps behind end where 7 + 10 positions do.
  const { module, call } = built({ bidirectional: true, causal: false, activation: null, postact: null });
  const { kernel, skip } = module as unknown as Record<"kernel" | "skip", { value: Tensor }> & {
    kernel: { kernel: { value: Tensor } };
  };
  const taps = kernel.kernel.value;
  expect(taps.shape).toEqual([2, 3, 10]);
  const impulse = concat([zeros([1, 3, 3]), ones([1, 3, 1]), zeros([1, 3, 3])], 2);
  const y = call({ u: impulse })["y"]!.reshape([3, 7]);
  const tap = (set: number, j: number): Tensor => narrow(narrow(taps, 0, set, set + 1), 2, j, j + 1);
  const at = (t: number): Tensor => narrow(y, 1, t, t + 1).reshape([1, 3, 1]);
  await same(at(3), add(tap(0, 0), skip.value.reshape([1, 3, 1])));
  await same(at(6), tap(0, 3));
  // Lag -3 is lag 9 of the period, and place 9 also holds tap 7 from the end of those behind.
  await same(at(0), add(tap(0, 9), tap(1, 7)));
});

test.each(["last", "first", "sum"])("a decoder reads at most the positions there are: %s", async (mode) => {
  const x = random.normal(random.key(4), [2, 3, 5]);
  const heads = (l_output: number | null): Tensor => {
    const args = { d_model: 5, mode, l_output };
    const request = { args, json: {}, shapes: new Map([["in.x", [2, 3, 5]]]) };
    return parityModules["standalone_hyenadna.SequenceDecoder"]!(request).call({ x })["0"]!;
  };
  await same(heads(4), heads(null));
  expect(heads(2).shape).toEqual([2, 2, 5]);
});

test("the mean of the one position of an input is the position", async () => {
  const one = random.normal(random.key(5), [2, 1, 5]);
  const decoder = parityModules["standalone_hyenadna.SequenceDecoder"]!({
    args: { d_model: 5, d_output: null, l_output: null, mode: "pool" },
    json: {},
    shapes: new Map([["in.x", one.shape]]),
    numbers: () => undefined,
  });
  expect(await valuesOf(decoder.call({ x: one })["0"]!)).toEqual(await valuesOf(one));
});

test("H3 with filters of an odd length, averaged over frequencies, loses their last taps", () => {
  const u = random.normal(random.key(6), [2, 10, 3]);
  const { call } = parityModules["src.models.sequence.h3_conv.H3Conv"]!({
    args: { d_model: 3, l_max: 9, use_ma_smoothing: true, ma_window_len: 5, smooth_freq: true },
    json: {},
    shapes: new Map([["in.u", u.shape]]),
    numbers: () => undefined,
  });
  expect(call({ u })["y"]!.shape).toEqual([2, 10, 3]);
});

test.each([
  [true, [2, 3, 5], 1],
  [false, [2, 5, 3], 1],
] as const)(
  "a norm among the activations, transposed %s, is of the second axis",
  async (transposed, shape, axis) => {
    const u = random.normal(random.key(7), shape);
    const y = run({ activation: "ln", postact: null, transposed }, u);
    const lengths = await valuesOf(y.square().mean(axis));
    for (const value of lengths) expect(value).toBeCloseTo(1, 12);
    for (const value of await valuesOf(y.mean(axis))) expect(value).toBeCloseTo(0, 12);
    const state = built({ activation: "ln", postact: "ln", transposed }).module;
    expect(namedVariables(state!).map(({ name }) => name)).toEqual(
      expect.arrayContaining(["activation.m", "activation.s", "output_norm.m", "output_norm.s"]),
    );
  },
);
