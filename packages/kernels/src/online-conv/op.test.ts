import { add, narrow, random, slice, stack, tensor, zeros, type Tensor } from "@everlong/core";
import { checkOp, relativeError, roundingOf, valuesOf } from "@everlong/testing";
import { expect, test } from "vitest";
import { fftConv } from "../fft-conv/fft-conv.ts";
import { onlineConv, onlineConvOp, onlineConvStart } from "./op.ts";

const clock = (n: number) => ({ shape: [], dtype: "i32" as const, values: [n] });
const inputs = (batch: number, slots: number, channels: number, now: number) => [
  [batch, channels],
  [slots, channels],
  [batch, slots, channels],
  clock(now),
];
checkOp(onlineConvOp, {
  cases: [
    { inputs: inputs(2, 7, 3, 0), params: {} },
    { inputs: inputs(1, 50, 5, 31), params: {} },
    { inputs: inputs(2, 70, 3, 40), params: {} },
    { inputs: inputs(1, 200, 9, 127), params: {} },
  ],
});

const error = async (a: Tensor, b: Tensor): Promise<number> =>
  relativeError(await valuesOf(a), await valuesOf(b));

test("fed position by position it is the convolution", async () => {
  const [batch, length, channels] = [2, 150, 3];
  const u = random.normal(random.key(1), [batch, length, channels]);
  const taps = random.normal(random.key(2), [length, channels]);
  const whole = fftConv(u, taps, { layout: "bld" });
  const prompt = 13;
  const slots = length - prompt;
  let held = onlineConvStart(narrow(u, 1, 0, prompt), taps, slots);
  const ys: Tensor[] = [];
  for (let t = 0; t < slots; t++) {
    const out = onlineConv(
      slice(u, [null, prompt + t]),
      narrow(taps, 0, 0, slots),
      held,
      tensor(t, { dtype: "i32" }),
    );
    held = out.held;
    ys.push(out.y);
  }
  expect(await error(stack(ys, 1), narrow(whole, 1, prompt, length))).toBeLessThan(roundingOf(u));
});

test.each([-1, 5, 6])("position %i of 5 has no output and changes nothing", async (now) => {
  const held = random.normal(random.key(3), [2, 5, 3]);
  const out = onlineConv(zeros([2, 3]), zeros([5, 3]), held, tensor(now, { dtype: "i32" }));
  expect(Array.from(await out.y.data()).every(Number.isNaN)).toBe(true);
  expect(await error(out.held, held)).toBe(0);
  expect(() => onlineConv(zeros([2, 4]), zeros([5, 3]), add(held, 0), tensor(0))).toThrow(/\[B, G, C\]/);
});
