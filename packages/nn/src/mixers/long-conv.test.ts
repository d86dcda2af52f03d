import { abs, concat, gradients, max, mul, random, sub, sum, tensor, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { LongKernel } from "../filters/long-kernel.ts";
import { hintsOf } from "../layer.ts";
import { activate } from "../layers/activation.ts";
import { H3Conv } from "./h3-conv.ts";
import { LongConv, type LongConvOptions } from "./long-conv.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const values = async (t: Tensor): Promise<number[]> => Array.from(await t.data(), Number);

/** Filter of a layer without output map, read off its answer to an impulse at `at`. */
async function response(options: Partial<LongConvOptions>, time: number, at: number): Promise<number[]> {
  const layer = new LongConv({
    key: random.key(5),
    dim: 1,
    maxLength: 7,
    activation: "identity",
    outputActivation: null,
    filter: { squash: 0 },
    ...options,
  });
  const impulse = tensor(Array.from({ length: time }, (_, t) => (t === at ? 1 : 0))).reshape([1, time, 1]);
  const y = await values(layer.forward(impulse));
  y[at]! -= Number(await layer.skip.value.item());
  return y;
}
const taps = async (sets: number, count: number): Promise<number[]> => {
  const keys = random.splitKey(random.key(5), 3);
  return values(new LongKernel({ key: keys[1]!, sets, channels: 1, taps: count, squash: 0 }).forward());
};

test.each([5, 7, 12])("lags of every kind of filter, %i positions", async (time) => {
  const at = 2;
  const one = await taps(1, 7);
  const two = await taps(2, 7);
  const folded = await taps(1, 14);
  const causal = await response({}, time, at);
  const minusOne = await response({ sides: "two-sided" }, time, at);
  const zero = await response({ sides: "two-sided", firstBackwardLag: 0 }, time, at);
  const wrapped = await response({ sides: "folded" }, time, at);
  for (let t = 0; t < time; t++) {
    const lag = t - at;
    expect(causal[t]).toBeCloseTo(lag >= 0 ? (one[lag] ?? 0) : 0, 12);
    const ahead = lag >= 0 && lag < 7 ? two[lag]! : 0;
    expect(minusOne[t]).toBeCloseTo(ahead + (lag < 0 ? two[7 - lag - 1]! : 0), 12);
    expect(zero[t]).toBeCloseTo(ahead + (lag <= 0 ? two[7 - lag]! : 0), 12);
    expect(wrapped[t]).toBeCloseTo(lag < 0 ? folded[14 + lag]! : lag < 7 ? folded[lag]! : 0, 12);
  }
});

test("the originals' period lets taps of short inputs act on the future; the default does not", async () => {
  const [time, at] = [5, 4];
  const right = await response({}, time, at);
  const wrapped = await response({ compat: "short-period" }, time, at);
  expect(Math.max(...right.slice(0, at).map(Math.abs))).toBeLessThan(1e-15);
  expect(Math.max(...wrapped.slice(0, at).map(Math.abs))).toBeGreaterThan(1e-4);
  // At full length nothing wraps.
  expect(await response({ compat: "short-period" }, 7, at)).toEqual(
    await response({ compat: "double-period" }, 7, at),
  );
});

test("the default start survives squashing, the originals' does not", async () => {
  const alive = async (settings: object): Promise<number> => {
    const kernel = new LongKernel({ key: random.key(1), sets: 1, channels: 8, taps: 65, ...settings });
    return (await values(kernel.forward())).filter((x) => x !== 0).length / (8 * 65);
  };
  expect(await alive({})).toBeGreaterThan(0.5);
  expect(await alive({ start: "random", squash: 0.1 })).toBe(0);
});

test("averages: over taps a plain mean, over frequencies a window over time", async () => {
  const count = 11;
  const raw = await taps(1, count);
  const make = (settings: object): Promise<number[]> => {
    const keys = random.splitKey(random.key(5), 3);
    return values(
      new LongKernel({
        key: keys[1]!,
        sets: 1,
        channels: 1,
        taps: count,
        squash: 0,
        window: 3,
        ...settings,
      }).forward(),
    );
  };
  const mean = await make({ smoothing: "time" });
  const bell = await make({ smoothing: "frequency" });
  const g = Math.exp(-0.5);
  for (let t = 0; t < count; t++) {
    expect(mean[t]).toBeCloseTo(((raw[t - 1] ?? 0) + raw[t]! + (raw[t + 1] ?? 0)) / 3, 12);
    const weight = (1 + 2 * g * Math.cos((2 * Math.PI * t) / count)) / (1 + 2 * g);
    expect(bell[t]).toBeCloseTo(raw[t]! * weight, 12);
  }
  // The original loses the last of an odd number of taps.
  expect(await make({ smoothing: "frequency", compat: true })).toHaveLength(count - 1);
});

test("kernel dropout and tied dropout act under a key only", async () => {
  const layer = new LongConv({
    key: random.key(2),
    dim: 4,
    maxLength: 9,
    dropout: 0.5,
    tieDropout: true,
    filter: { dropout: 0.5 },
    outputActivation: null,
  });
  const x = random.normal(random.key(3), [2, 9, 4]);
  expect(await distance(layer.forward(x), layer.forward(x))).toBe(0);
  const dropped = layer.forward(x, { key: random.key(4) });
  const columns = await values(max(abs(dropped), 1));
  expect(columns.filter((c) => c === 0).length).toBeGreaterThan(0);
  expect(await distance(dropped, layer.forward(x))).toBeGreaterThan(1e-3);
});

test.each([1, 2, 3])("H3Conv with heads of %i: padding and the direct sum", async (headDim) => {
  const [time, dim] = [9, 6];
  const layer = new H3Conv({ key: random.key(6), dim, maxLength: 12, headDim, filter: { squash: 0 } });
  const x = random.normal(random.key(7), [1, time, dim]);
  const y = layer.forward(x);
  const junk = mul(random.normal(random.key(8), [1, 4, dim]), 30);
  const mask = tensor(
    Array.from({ length: time + 4 }, (_, i) => i < time),
    { dtype: "bool" },
  ).reshape([1, time + 4]);
  const padded = layer.forward(concat([x, junk], 1), { mask });
  expect(await distance(padded.narrow(1, 0, time), y)).toBeLessThan(1e-12);

  const [q, k, v] = await Promise.all(
    [layer.qProj, layer.kProj, layer.vProj].map((p) => values(p.forward(x))),
  );
  const [a, c, dk, d] = await Promise.all(
    [layer.kKernel.forward(), layer.kernel.forward(), layer.keySkip.value, layer.skip.value].map(values),
  );
  const heads = dim / headDim;
  const keys = k!.map((_, i) => {
    const [t, ch] = [Math.floor(i / dim), i % dim];
    let s = dk![ch]! * k![i]!;
    for (let j = 0; j <= t; j++) s += a![ch * 12 + j]! * k![(t - j) * dim + ch]!;
    return s;
  });
  const inner = Array.from({ length: time * dim }, () => 0);
  for (let t = 0; t < time; t++)
    for (let h = 0; h < heads; h++)
      for (let e = 0; e < headDim; e++)
        for (let f = 0; f < headDim; f++) {
          const kv = (s: number): number => keys[s * dim + h * headDim + e]! * v![s * dim + h * headDim + f]!;
          let s = d![h]! * kv(t);
          for (let j = 0; j <= t; j++) s += c![h * 12 + j]! * kv(t - j);
          inner[t * dim + f * heads + h]! += q![t * dim + h * headDim + e]! * s;
        }
  expect(await distance(layer.outputLinear.forward(tensor(inner).reshape([1, time, dim])), y)).toBeLessThan(
    1e-12,
  );
});

test("taps below the threshold are 0 without gradient, the others move by it; their own learning rate, no decay", async () => {
  const kernel = new LongKernel({
    key: random.key(1),
    sets: 1,
    channels: 3,
    taps: 40,
    start: "random",
    squash: 0.001,
    learningRate: 5e-4,
  });
  expect(hintsOf(kernel.kernel)).toEqual({ learningRate: 5e-4, weightDecay: 0 });
  const [raw, squashed] = [await values(kernel.kernel.value), await values(kernel.forward())];
  const slopes = await values(gradients(sum(kernel.forward()), [kernel.kernel.value])[0]!);
  const below = raw.filter((w) => Math.abs(w) < 0.001).length;
  expect(below).toBeGreaterThan(10);
  expect(below).toBeLessThan(110);
  raw.forEach((w, i) => {
    const kept = Math.abs(w) > 0.001;
    expect(squashed[i]).toBeCloseTo(kept ? w - 0.001 * Math.sign(w) : 0, 14);
    expect(slopes[i]).toBeCloseTo(kept ? 1 : 0, 14);
  });
});

test("wrong options", () => {
  const of = (more: object): unknown => new LongConv({ key: random.key(0), dim: 4, maxLength: 8, ...more });
  expect(() => of({ sides: "both" })).toThrow(/unknown sides/);
  expect(() => of({ filter: { window: 4, smoothing: "time" } })).toThrow(/must be odd/);
  expect(() => of({ kernel: {} })).toThrow(/unknown option/);
});

test("a gated activation halves the width before the output map", async () => {
  const options = { key: random.key(1), dim: 3, maxLength: 6, channels: 2, activation: "glu" };
  const layer = new LongConv(options);
  expect(layer.outputLinear!.weight.shape).toEqual([6, 3]);
  const x = random.normal(random.key(2), [2, 5, 3]);
  const y = layer.forward(x);
  expect(y.shape).toEqual([2, 5, 3]);
  const half = new LongConv({ ...options, outputActivation: null }).forward(x);
  expect(half.shape).toEqual([2, 5, 3]);
  expect(await distance(y, activate("glu", layer.outputLinear!.forward(half)))).toBeLessThan(1e-12);
  expect(() => new LongConv({ ...options, channels: 1 })).toThrow(/even width: got 3 for glu/);
});
