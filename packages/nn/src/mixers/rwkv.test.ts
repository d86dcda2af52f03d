import {
  abs,
  concat,
  exp,
  gradients,
  max,
  mul,
  neg,
  random,
  reshape,
  sub,
  sum,
  tensor,
  type Tensor,
} from "@everlong/core";
import { expect, test } from "vitest";
import { Rwkv5ChannelMixer, Rwkv6ChannelMixer } from "../channel/rwkv-channel-mixer.ts";
import { Rwkv5TimeMixer } from "./rwkv5.ts";
import { Rwkv6TimeMixer } from "./rwkv6.ts";
import { wkv, wkvStep } from "./wkv.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);

test("a position reads the memory before it is written, and itself with the bonus", async () => {
  const [r, k, v] = [sample(1, 1, 3, 1, 2), sample(2, 1, 3, 1, 2), sample(3, 1, 3, 1, 2)];
  const logDecay = neg(exp(sample(4, 1, 3, 1, 2)));
  const bonus = sample(5, 1, 2);
  const { y } = wkv({ r, k, v, logDecay, bonus }, "auto");
  const at = async (t: Tensor): Promise<number[]> => Array.from(await t.data(), Number);
  const [rv, kv, vv, g, u] = await Promise.all([at(r), at(k), at(v), at(logDecay), at(bonus)]);
  const s = [0, 0, 0, 0];
  const wanted: number[] = [];
  for (let t = 0; t < 3; t++) {
    for (let j = 0; j < 2; j++) {
      let out = 0;
      for (let i = 0; i < 2; i++)
        out += rv![2 * t + i]! * (s[2 * i + j]! + u![i]! * kv![2 * t + i]! * vv![2 * t + j]!);
      wanted.push(out);
    }
    for (let i = 0; i < 2; i++)
      for (let j = 0; j < 2; j++)
        s[2 * i + j] = s[2 * i + j]! * Math.exp(g![2 * t + i]!) + kv![2 * t + i]! * vv![2 * t + j]!;
  }
  (await at(y)).forEach((value, i) => expect(value).toBeCloseTo(wanted[i]!, 12));
});

test("chunks, the kernel and steps agree, and so do gradients", async () => {
  const time = 71;
  const inputs = {
    r: sample(6, 2, time, 2, 3),
    k: sample(7, 2, time, 2, 3),
    v: sample(8, 2, time, 2, 4),
    logDecay: neg(exp(sample(9, 2, time, 2, 3))),
    bonus: sample(10, 2, 3),
  };
  const whole = wkv(inputs, "auto");
  const chunks = wkv(inputs, "chunked");
  expect(await distance(whole.y, chunks.y)).toBeLessThan(1e-12);
  expect(await distance(whole.last(), chunks.last())).toBeLessThan(1e-12);
  let state = sub(whole.last(), whole.last());
  for (let t = 0; t < time; t++) {
    const at = (x: Tensor): Tensor => x.slice([null, t]);
    const next = wkvStep(state, {
      r: at(inputs.r),
      k: at(inputs.k),
      v: at(inputs.v),
      logDecay: at(inputs.logDecay),
      bonus: inputs.bonus,
    });
    if (t % 10 === 0) expect(await distance(next.y, at(whole.y))).toBeLessThan(1e-12);
    state = next.state;
  }
  expect(await distance(state, whole.last())).toBeLessThan(1e-12);
  const wrt = Object.values(inputs);
  const probe = sample(11, ...whole.y.shape);
  const [a, b] = [whole, chunks].map((w) => gradients(sum(mul(w.y, probe)), wrt));
  for (const [i, g] of a!.entries()) expect(await distance(g, b![i]!)).toBeLessThan(1e-11);
});

test("dividing before the norm is a larger eps", () => {
  const eps = (divisor: number): number =>
    new Rwkv5TimeMixer({ key: random.key(0), dim: 16, headSize: 4, divisor }).eps;
  expect(eps(8)).toBeCloseTo(64 * eps(1), 15);
});

test("deeper layers start with other weights", async () => {
  const mix = (layer: number): Tensor =>
    new Rwkv5TimeMixer({ key: random.key(0), dim: 16, headSize: 4, layer, layers: 4 }).timeMixK.value;
  expect(await distance(reshape(mix(0), [16]), random.uniform(random.key(0), [16]).mul(0))).toBeCloseTo(
    15 / 16,
    12,
  );
  expect(await distance(mix(0), mix(3))).toBeGreaterThan(0.1);
  expect(() => mix(4)).toThrow(/layer 4 of 4/);
});

test.each([Rwkv5ChannelMixer, Rwkv6ChannelMixer])(
  "%o sees one position back, through prefill and steps",
  async (Kind) => {
    const layer = new Kind({ key: random.key(1), dim: 8, inner: 12, layer: 1, layers: 3 });
    const x = sample(12, 2, 9, 8);
    const y = layer.forward(x);
    const [g] = gradients(sum(y.slice([0, 5])), [x]);
    const reach = async (t: number): Promise<number> => (await max(abs(g!.slice([0, t]))).item()) as number;
    expect(await reach(5)).toBeGreaterThan(1e-3);
    expect(await reach(4)).toBeGreaterThan(1e-3);
    expect(await reach(3)).toBe(0);
    expect(await reach(6)).toBe(0);
    let { state } = layer.prefill(x.narrow(1, 0, 4), { capacity: 9 });
    for (let t = 4; t < 9; t++) {
      const next = layer.step(x.slice([null, t]), state);
      expect(await distance(next.y, y.slice([null, t]))).toBeLessThan(1e-13);
      state = next.state;
    }
  },
);

test.each(["left", "right"])("channel mixers do not see padding on the %s", async (side) => {
  const layer = new Rwkv6ChannelMixer({ key: random.key(19), dim: 8, inner: 12 });
  const real = sample(20, 1, 5, 8);
  const junk = sample(21, 1, 3, 8).mul(50);
  const x = concat(side === "left" ? [junk, real] : [real, junk], 1);
  const from = side === "left" ? 3 : 0;
  const mask = tensor(
    Array.from({ length: 8 }, (_, i) => i >= from && i < from + 5),
    { dtype: "bool" },
  ).reshape([1, 8]);
  const padded = layer.prefill(x, { capacity: 8, mask });
  const plain = layer.prefill(real, { capacity: 8 });
  expect(await distance(padded.y.narrow(1, from, from + 5), plain.y)).toBe(0);
  expect(await distance(padded.state["before"]!, plain.state["before"]!)).toBe(0);
});

test("half precision is stored, sums run wide", async () => {
  const inputs = {
    r: sample(13, 1, 40, 1, 4).cast("bf16"),
    k: sample(14, 1, 40, 1, 4).cast("bf16"),
    v: sample(15, 1, 40, 1, 4).cast("bf16"),
    logDecay: neg(exp(sample(16, 1, 40, 1, 4))).cast("f32"),
    bonus: sample(17, 1, 4).cast("bf16"),
  };
  const { y, last } = wkv(inputs, "auto");
  expect(y.dtype).toBe("bf16");
  expect(last().dtype).toBe("f32");
});

test("RWKV 6 with zero low-rank maps is RWKV 5's recurrence", async () => {
  const six = new Rwkv6TimeMixer({ key: random.key(2), dim: 8, headSize: 4 });
  for (const v of [six.timeMaaW1, six.timeMaaW2, six.timeDecayW1, six.timeDecayW2]) v.value = v.value.mul(0);
  const five = new Rwkv5TimeMixer({ key: random.key(2), dim: 8, headSize: 4 });
  const x = sample(18, 1, 13, 8);
  // Same keys draw the same maps; interpolation weights start alike.
  expect(await distance(six.forward(x), five.forward(x))).toBeLessThan(1e-12);
});
