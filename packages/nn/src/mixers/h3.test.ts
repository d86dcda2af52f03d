import { abs, max, random, slice, stack, sub, zeros, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import type { MixerState } from "../mixer.ts";
import { H3 } from "./h3.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;

test.each([
  [1, 4],
  [2, 6],
  [3, 32],
])("heads of %i, %i states: steps, prefill and forward are one function", async (headDim, stateSize) => {
  const layer = new H3({ key: random.key(1), dim: 6, headDim, stateSize });
  // B is e_1 at first; a general one tells its kernel from that of C alone.
  layer.shift.b.value = random.normal(random.key(2), layer.shift.b.shape);
  const x = random.normal(random.key(3), [2, 19, 6]);
  const whole = layer.forward(x);
  let { y, state }: { y: Tensor; state: MixerState } = layer.prefill(x.narrow(1, 0, 5), { capacity: 19 });
  expect(await distance(y, whole.narrow(1, 0, 5))).toBeLessThan(1e-12);
  const steps: Tensor[] = [];
  for (let t = 5; t < 19; t++) {
    ({ y, state } = layer.step(slice(x, [null, t]), state));
    steps.push(y);
  }
  expect(await distance(stack(steps, 1), whole.narrow(1, 5, 19))).toBeLessThan(1e-12);
  const held = Object.values(state).reduce((n, t) => n + t.size * 4, 0) / 2;
  expect(layer.stateBytes()).toBe(held);
});

test("a limit on the kernel cuts the kernel, not the steps", async () => {
  const [time, limit] = [12, 4];
  const make = (more: object): H3 => new H3({ key: random.key(1), dim: 2, stateSize: 4, ...more });
  const x = random.normal(random.key(2), [1, time, 2]);
  const cut = make({ kernelLength: limit }).forward(x);
  const full = make({}).forward(x);
  expect(await distance(cut.narrow(1, 0, limit), full.narrow(1, 0, limit))).toBeLessThan(1e-12);
  expect(await distance(cut, full)).toBeGreaterThan(1e-4);
});

test("wrong options", () => {
  expect(() => new H3({ key: random.key(0), dim: 6, headDim: 4 })).toThrow(/must divide/);
  expect(() => new H3({ key: random.key(0), dim: 6, heads: 2 } as never)).toThrow(/unknown option/);
  expect(() => new H3({ key: random.key(0), dim: 6 }).forward(zeros([1, 2, 5]))).toThrow(/expected/);
});
