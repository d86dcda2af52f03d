import { concat, gradients, mul, narrow, random, sum, type Tensor } from "@everlong/core";
import { checkOp, relativeError, roundingOf, valuesOf } from "@everlong/testing";
import { expect, test } from "vitest";
import { fftConv } from "../fft-conv/fft-conv.ts";
import { chunkedConv, chunkedConvFilterGradOp, chunkedConvOp } from "./op.ts";

const inputs = (batch: number, time: number, channels: number, taps: number) => [
  [batch, time, channels],
  [taps, channels],
  [batch, taps - 1, channels],
];
checkOp(chunkedConvOp, {
  cases: [
    { inputs: inputs(2, 11, 3, 4), params: { chunk: 4 } },
    { inputs: inputs(1, 5, 2, 9), params: { chunk: 2 } },
    { inputs: inputs(1, 3, 2, 2), params: { chunk: 8 } },
  ],
  strict: false,
  secondOrder: true,
  tolerance: { f32: { value: 3e-6, gradient: 1e-5 } },
});
checkOp(chunkedConvFilterGradOp, {
  cases: [
    {
      inputs: [
        [2, 11, 3],
        [2, 11, 3],
        [2, 3, 3],
      ],
      params: { chunk: 4 },
    },
    {
      inputs: [
        [1, 5, 2],
        [1, 5, 2],
        [1, 8, 2],
      ],
      params: { chunk: 2 },
    },
  ],
  strict: false,
  secondOrder: true,
  tolerance: { f32: { value: 3e-6, gradient: 1e-5 } },
});

const error = async (a: Tensor, b: Tensor): Promise<number> =>
  relativeError(await valuesOf(a), await valuesOf(b));

test.each([
  [40, 7, 8],
  [33, 33, 5],
  [10, 50, 3],
  [9, 1, 4],
])(
  "%i positions, %i taps, chunks of %i: the whole, gradients too, and parts with a carry",
  async (time, taps, chunk) => {
    const u = random.normal(random.key(1), [2, time, 3]);
    const k = random.normal(random.key(2), [taps, 3]);
    const skip = random.normal(random.key(3), [3]);
    const probe = random.normal(random.key(4), u.shape);
    const whole = fftConv(u, k, { layout: "bld", skip });
    const { y } = chunkedConv(u, k, { chunk, skip });
    expect(await error(y, whole)).toBeLessThan(roundingOf(u));
    const slopes = (t: Tensor): Tensor[] => gradients(sum(mul(t, probe)), [u, k, skip]);
    for (const [i, g] of slopes(y).entries())
      expect(await error(g, slopes(whole)[i]!)).toBeLessThan(10 * roundingOf(u));
    const cut = Math.floor(time / 3);
    const first = chunkedConv(narrow(u, 1, 0, cut), k, { chunk, skip });
    const second = chunkedConv(narrow(u, 1, cut, time), k, { chunk, skip, carry: first.carry });
    expect(await error(concat([first.y, second.y], 1), whole)).toBeLessThan(roundingOf(u));
  },
);
