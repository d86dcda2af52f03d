// Layers over parts of a longer input.

import {
  abs,
  concat,
  div,
  gradients,
  max,
  maximum,
  mul,
  random,
  stack,
  sub,
  sum,
  type Tensor,
} from "@everlong/core";
import { expect, test } from "vitest";
import { parameters } from "../layer.ts";
import type { Mixer, MixerState } from "../mixer.ts";
import { H3Conv } from "./h3-conv.ts";
import { H3 } from "./h3.ts";
import { Hyena } from "./hyena.ts";
import { LongConv } from "./long-conv.ts";
import { S4 } from "./s4.ts";

const DIM = 4;
type Chunked = Mixer & { chunk(x: Tensor, state?: MixerState): { y: Tensor; state: MixerState } };

const key = random.key(1);
const layers: readonly (readonly [string, number, () => Chunked])[] = [
  ["long-conv", 22, () => new LongConv({ key, dim: DIM, maxLength: 12, channels: 2 })],
  ["h3-conv", 22, () => new H3Conv({ key, dim: DIM, maxLength: 8 })],
  ["h3-conv with heads", 22, () => new H3Conv({ key, dim: DIM, maxLength: 50, headDim: 2 })],
  ["hyena", 22, () => new Hyena({ key, dim: DIM, maxLength: 22, order: 3, heads: 2, postOrderMixing: true })],
  ["h3", 22, () => new H3({ key, dim: DIM, stateSize: 4 })],
  ["h3 with heads", 22, () => new H3({ key, dim: DIM, stateSize: 6, headDim: 2 })],
  ["s4", 22, () => new S4({ key, dim: DIM, channels: 2, ssm: { stateSize: 4 }, chunkLength: 7 })],
];

test.each(layers)("%s: parts of odd lengths are the whole, gradients too", async (_, time, make) => {
  const layer = make();
  if (layer instanceof H3) layer.shift.b.value = random.normal(random.key(2), layer.shift.b.shape);
  const x = random.normal(random.key(3), [2, time, DIM]);
  const parts: Tensor[] = [];
  let state: MixerState | undefined;
  for (const [from, to] of [
    [0, 5],
    [5, 6],
    [6, time],
  ] as const) {
    const part = layer.chunk(x.narrow(1, from, to), state);
    parts.push(part.y);
    state = part.state;
  }
  const y = concat(parts, 1);
  const plain = layer instanceof S4 ? new S4({ key, dim: DIM, channels: 2, ssm: { stateSize: 4 } }) : layer;
  const whole = plain.forward(x);
  const probe = random.normal(random.key(4), y.shape);
  const slopes = (t: Tensor, of: Mixer): Tensor[] =>
    gradients(sum(mul(t, probe)), [x, ...[...parameters(of).values()].map((v) => v.value)]);
  const wanted = [whole, whole, ...slopes(whole, plain)];
  const found = [y, layer.forward(x), ...slopes(y, layer)];
  const errors = await stack(
    found.map((g, i) => div(max(abs(sub(g, wanted[i]!))), maximum(max(abs(wanted[i]!)), 1))),
  ).data();
  errors.forEach((e, i) => expect(e, `tensor ${i}`).toBeLessThan(1e-10));
});

test("chunks need a filter that reads the past alone", () => {
  const x = random.normal(key, [1, 4, DIM]);
  expect(() => new Hyena({ key, dim: DIM, maxLength: 8, bidirectional: true }).chunk(x)).toThrow(/two-sided/);
  expect(() => new LongConv({ key, dim: DIM, maxLength: 8, sides: "folded" }).chunk(x)).toThrow(/folded/);
  expect(() => new S4({ key, dim: DIM, bidirectional: true, chunkLength: 4 })).toThrow(/no recurrence/);
  expect(() => new S4({ key, dim: DIM, kernelLength: 9, chunkLength: 4 })).toThrow(/without kernelLength/);
});
