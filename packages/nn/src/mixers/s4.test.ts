import {
  abs,
  concat,
  max,
  mul,
  random,
  sigmoid,
  stack,
  sub,
  tensor,
  zeros,
  type Tensor,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { roundHalfEven } from "../ssm/rounding.ts";
import { S4, type S4Options } from "./s4.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const make = (options: Partial<S4Options> = {}): S4 =>
  new S4({ key: random.key(1), dim: 3, ssm: { stateSize: 4 }, ...options });

test.each([-1, 0] as const)(
  "two-sided kernels, first backward lag %i, against the direct sum",
  async (lag) => {
    const layer = make({
      bidirectional: true,
      firstBackwardLag: lag,
      activation: "identity",
      outputActivation: null,
      kernelLength: 5,
    });
    const time = 9;
    const at = 4;
    const impulse = tensor(Array.from({ length: time * 3 }, (_, i) => (i === at * 3 ? 1 : 0)));
    const y = Array.from(
      await layer
        .forward(impulse.reshape([1, time, 3]))
        .slice([0, null, 0])
        .data(),
      Number,
    );
    const k = Array.from(await layer.kernel.kernel(5).slice([null, 0]).data(), Number);
    const skip = Number(await layer.skip.value.slice([0, 0]).item());
    for (let t = 0; t < time; t++) {
      const d = t - at;
      const ahead = d >= 0 && d < 5 ? k[d]! : 0;
      const back = -d + lag;
      const behind = back >= 0 && back < 5 ? k[5 + back]! : 0;
      expect(y[t]).toBeCloseTo(ahead + behind + (d === 0 ? skip : 0), 12);
    }
  },
);

test("chunks of odd lengths with carried state are the whole", async () => {
  const layer = make({ channels: 2, activation: "glu" });
  const x = random.normal(random.key(2), [2, 31, 3]);
  const none = zeros([2, 3, 2]);
  let state = { re: none, im: none } as { readonly [name: string]: Tensor };
  const parts: Tensor[] = [];
  for (const [from, to] of [
    [0, 7],
    [7, 8],
    [8, 31],
  ] as const) {
    const part = layer.chunk(x.narrow(1, from, to), state);
    parts.push(part.y);
    state = part.state;
  }
  expect(await distance(concat(parts, 1), layer.forward(x))).toBeLessThan(1e-12);
});

test("two-sided layers and DSS do not step", () => {
  const x = zeros([1, 3]);
  const none = { re: zeros([1, 3, 2]), im: zeros([1, 3, 2]) };
  expect(() => make({ bidirectional: true }).step(x, none)).toThrow(/no recurrence/);
  expect(() => make({ ssm: { stateSize: 4, discretization: "dss" } }).step(x, none)).toThrow(/no recurrence/);
});

test("dropout under a key only", async () => {
  const layer = make({ dropout: 0.5, tieDropout: true, kernelDropout: 0.3 });
  const x = random.normal(random.key(2), [1, 8, 3]);
  expect(await distance(layer.forward(x), layer.forward(x))).toBe(0);
  expect(await distance(layer.forward(x, { key: random.key(3) }), layer.forward(x))).toBeGreaterThan(1e-6);
});

test("lengths round as the originals' do", () => {
  expect([0.5, 1.5, 2.5, 2.6, 3.4].map(roundHalfEven)).toEqual([0, 2, 2, 3, 3]);
});

describe("a gate and a bottleneck", () => {
  const x = random.normal(random.key(2), [2, 9, 6]);
  const gss = { dim: 6, channels: 2, gate: 2, gateActivation: "sigmoid", bottleneck: 3 } as const;

  test("multiply outputs of narrow state spaces by a branch of the input", async () => {
    const layer = make({ ...gss, outputActivation: null });
    expect(layer.skip.shape).toEqual([2, 2]);
    expect([layer.inputLinear, layer.inputGate, layer.outputGate].map((map) => map!.weight.shape)).toEqual([
      [2, 6],
      [12, 6],
      [12, 4],
    ]);
    const inside = new S4(
      { key: random.key(4), dim: 2, channels: 2, outputActivation: null },
      () => layer.kernel,
    );
    inside.skip.value = layer.skip.value;
    const states = inside.forward(layer.inputLinear!.forward(x));
    const branch = sigmoid(layer.inputGate!.forward(x));
    const y = mul(layer.outputGate!.forward(states), branch);
    expect(y.shape).toEqual([2, 9, 12]);
    expect(await distance(layer.forward(x), y)).toBeLessThan(1e-12);
  });

  test("need no map where the widths agree, and end at the layer's width", () => {
    const layer = make({ dim: 6, channels: 2, gate: 2, gateActivation: "glu" });
    expect(layer.outputGate).toBeUndefined();
    expect(layer.inputLinear).toBeUndefined();
    expect(layer.inputGate!.weight.shape).toEqual([24, 6]);
    expect(layer.forward(x).shape).toEqual([2, 9, 6]);
    expect(() => make({ dim: 6, bottleneck: 4 })).toThrow(/bottleneck/);
    expect(() => make({ dim: 6, gate: 0 })).toThrow(/gate/);
  });

  test("step, chunk and prefill as the whole", async () => {
    const layer = make(gss);
    const none = zeros([2, 2, 2]);
    let state = { re: none, im: none } as { readonly [name: string]: Tensor };
    const rows: Tensor[] = [];
    for (let t = 0; t < 9; t++) {
      const next = layer.step(x.slice([null, t]), state);
      rows.push(next.y);
      state = next.state;
    }
    const whole = layer.forward(x);
    expect(await distance(stack(rows, 1), whole)).toBeLessThan(1e-12);
    const first = layer.chunk(x.narrow(1, 0, 4));
    const second = layer.chunk(x.narrow(1, 4, 9), first.state);
    expect(await distance(concat([first.y, second.y], 1), whole)).toBeLessThan(1e-12);
    const filled = layer.prefill(x, { capacity: 9 }).state;
    expect(await distance(filled["re"]!, state["re"]!)).toBeLessThan(1e-12);
  });
});

test("steps of channels side by side agree with the whole, the original's do not", async () => {
  const make = (compat?: "set-major-steps"): S4 =>
    new S4({
      key: random.key(1),
      dim: 3,
      channels: 2,
      channelOrder: "channel-major",
      ssm: { stateSize: 4 },
      ...(compat ? { compat } : {}),
    });
  const x = random.normal(random.key(2), [1, 1, 3]);
  const distance = async (layer: S4): Promise<number> => {
    const none = zeros([1, 3, layer.kernel.modes]);
    const { y } = layer.step(x.reshape([1, 3]), { re: none, im: none });
    return (await max(abs(sub(layer.forward(x).reshape([1, 3]), y))).item()) as number;
  };
  expect(await distance(make())).toBeLessThan(1e-12);
  expect(await distance(make("set-major-steps"))).toBeGreaterThan(1e-3);
});
