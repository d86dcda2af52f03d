import { Complex, add, mul, narrow, random, type Tensor } from "@everlong/core";
import { dftMatrix } from "@everlong/kernels";
import { relativeError, valuesOf } from "@everlong/testing";
import { expect, test } from "vitest";
import { loadState, namedVariables } from "../layer.ts";
import type { ParityModule } from "../parity-entry.ts";
import { OriginalBlockFft, truncatedInverse } from "./block-fft.ts";
import { parityModules } from "./modules.ts";

const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);
const error = async (a: Tensor, b: Tensor): Promise<number> =>
  relativeError(await valuesOf(a), await valuesOf(b));

function longConv(args: Readonly<Record<string, unknown>>): ParityModule {
  const request = { args: { d_model: 3, l_max: 32, lam: 0, ...args }, json: {}, shapes: new Map() };
  return parityModules["src.models.sequence.long_conv.LongConv"]!(request);
}

/** State of a case under the original's names. */
const filters = (channels: number, sides = 1): Record<string, Tensor> => ({
  D: sample(5, channels, 3),
  "kernel.kernel": sample(6, sides * channels, 3, 32),
});

test.each([
  ["unlearned", { learn_dft_matrices: false }],
  ["additions of zero", { learn_additive: true }],
  ["additions of zero for each channel", { learn_additive: true, H: 3, max_m: 32 }],
])("matrices of the DFT leave the convolution as it is: %s", async (_, block_fft_conv_args) => {
  const u = sample(4, 2, 3, 32);
  for (const bidirectional of [false, true]) {
    const args = { channels: 2, bidirectional, activation: "tanh", postact: null };
    const state = filters(2, bidirectional ? 2 : 1);
    const outputs = [{}, { block_fft_conv: true, block_fft_conv_args }].map((more) => {
      const { module, rename, call } = longConv({ ...args, ...more });
      const matrices = namedVariables(module!).filter((v) => v.name.startsWith("block_fft"));
      const rest = matrices.map((v) => [v.name, v.variable.value] as const);
      loadState(module!, [...Object.entries(state), ...rest], { rename });
      return call({ u })["y"]!;
    });
    expect(await error(outputs[1]!, outputs[0]!)).toBeLessThan(1e-12);
  }
});

test("every stage takes the learned matrix of its size, of inputs and filters apart", async () => {
  const args = { activation: null, postact: null, block_fft_conv: true };
  const { module, rename, call } = longConv(args);
  const state = filters(1);
  const scales: Record<string, number> = { u2: 2, u4: 7, u8: 7, u16: 3, k2: 7, k4: 5, k8: 7, k16: 0.5 };
  // 64 points are stages of 16 and 4.
  const matrices = Object.entries(scales).flatMap(([at, scale]) => {
    const [side, rows] = [at[0]!, Number(at.slice(1))];
    const matrix = mul(dftMatrix(rows).permute([1, 2, 0]).reshape([1, rows, rows, 2]), scale);
    const place = Math.log2(rows) - 1;
    return [
      [`block_fft_${side}.mat_${rows}`, matrix],
      [`block_fft_${side}.dft_matrices.${place}`, matrix],
    ] as const;
  });
  loadState(module!, [...Object.entries(state), ...matrices], { rename });
  const plain = longConv({ activation: null, postact: null });
  loadState(plain.module!, Object.entries(state), { rename: plain.rename! });
  const u = sample(7, 1, 3, 32);
  const through = mul(u, state["D"]!.reshape([1, 3, 1]));
  const convolved = add(plain.call({ u })["y"]!, mul(through, -1));
  expect(await error(call({ u })["y"]!, add(through, mul(convolved, 7 * 3 * 5 * 0.5)))).toBeLessThan(1e-12);
});

test.each([9, 12])("the inverse takes the first %i frequencies and the real part", async (points) => {
  const [u, k] = [
    new Complex(sample(1, 1, 1, 16), sample(2, 1, 1, 16)),
    new Complex(sample(3, 1, 1, 16), sample(4, 1, 1, 16)),
  ];
  const product = u.mul(k);
  const [re, im] = [await valuesOf(product.re), await valuesOf(product.im)];
  const expected = Array.from({ length: 5 }, (_, t) => {
    let sum = 0;
    for (let f = 0; f < points; f++) {
      const angle = (2 * Math.PI * f * t) / points;
      sum += re[f]! * Math.cos(angle) - im[f]! * Math.sin(angle);
    }
    return sum / points;
  });
  const y = truncatedInverse(u, k, points, 5);
  expect(y.shape).toEqual([1, 1, 5]);
  expect(relativeError(await valuesOf(y), expected)).toBeLessThan(1e-12);
});

test("what the original fails on is refused", () => {
  const x = sample(1, 2, 3, 20);
  expect(() => new OriginalBlockFft({}).spectrum(narrow(x, 2, 0, 8), 16)).toThrow(
    /expected more than 16, got 16/,
  );
  expect(() => new OriginalBlockFft({ max_m: 8 })).toThrow(/max_m/);
  expect(() => new OriginalBlockFft({ H: 2 }).spectrum(x, 40)).toThrow(/expected 1 or 3, got 2/);
});
