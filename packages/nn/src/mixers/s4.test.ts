import { abs, concat, max, random, sub, tensor, zeros, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
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
