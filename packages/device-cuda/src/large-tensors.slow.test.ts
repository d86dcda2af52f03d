// Tensors of more elements than 32 bits count, and more sequences, channels and systems than an axis of a grid has blocks, on a GPU of at least 60 GB.

import { afterEach, expect, test } from "vitest";
import {
  add,
  cast,
  compile,
  device,
  gradients,
  iota,
  max,
  mod,
  mul,
  narrow,
  setStrict,
  sum,
  tensor,
  withDevice,
  type DType,
  type Tensor,
} from "@everlong/core";
import {
  attention,
  fftConv,
  fftConvFilter,
  globalNormOp,
  layerNorm,
  linear,
  linearScanOp,
  packedAttention,
  resolventOp,
  shortConv,
} from "@everlong/kernels";
import { relativeError } from "@everlong/testing";
import { cudaAvailable, cudaDevice } from "./index.ts";

const hasRoom = cudaAvailable() === true && cudaDevice().state().memory.total > 60e9;
afterEach(() => {
  setStrict(false);
  if (hasRoom) cudaDevice().releaseMemory();
});

const [PRIMES, FACTORS] = [
  [1009, 1013, 1019, 1021],
  [3, 7, 11, 13],
] as const;

/** Multiples of 1/128 from -125/128 to 125/128, exact in every dtype: element `index` of {@link noise}. */
function noiseAt(seed: number, index: readonly number[]): number {
  const place = index.reduce((s, i, axis) => s + (i % PRIMES[axis]!) * FACTORS[axis]!, 17 * seed) % 30_011;
  return (((place * place + 7 * place) % 251) - 125) / 128;
}

/** Made on the device: too large for the host. */
function noise(shape: readonly number[], seed: number, dtype: DType = "f32", scale = 1): Tensor {
  const made = compile(() => {
    const along = shape.map((_, axis) =>
      mul(mod(iota(shape, axis, { dtype: "i32" }), PRIMES[axis]!), FACTORS[axis]!),
    );
    const place = mod(
      along.reduce((a, b) => add(a, b), tensor(17 * seed, { dtype: "i32" })),
      30_011,
    );
    const mixed = mod(add(mul(place, place), mul(place, 7)), 251);
    return cast(mul(cast(add(mixed, -125), "f32"), scale / 128), dtype);
  });
  return made();
}

const values = async (t: Tensor): Promise<Float64Array> => Float64Array.from(await cast(t, "f32").data());

/** The function on the device against the reference on a few indices of an axis of inputs and results (undefined: they have none). */
async function expectAlike(
  inputs: readonly Tensor[],
  fn: (...inputs: Tensor[]) => Tensor[],
  axes: { readonly inputs: readonly (number | undefined)[]; readonly outputs: readonly number[] },
  indices: readonly number[],
  tolerance: number,
): Promise<void> {
  setStrict(true);
  const got = compile((...t: Tensor[]) => fn(...t))(...inputs);
  for (const i of indices) {
    const cut = (t: Tensor, axis: number | undefined): Tensor =>
      axis === undefined ? t : narrow(t, axis, i, i + 1);
    const own = inputs.map((t, n) => cut(t, axes.inputs[n]));
    const data = await Promise.all(own.map(values));
    const want = await withDevice("reference", async () => {
      const given = data.map((d, n) => tensor(d, own[n]!.shape, { dtype: "f64" }));
      return Promise.all(fn(...given).map((t) => t.data()));
    });
    for (const [n, w] of want.entries())
      expect(
        relativeError(await values(cut(got[n]!, axes.outputs[n])), w),
        `result ${n} at ${i}`,
      ).toBeLessThan(tolerance);
  }
}

const withGradients =
  (fn: (...inputs: Tensor[]) => Tensor) =>
  (...given: Tensor[]): Tensor[] => {
    const inputs = given.slice(0, -1);
    const y = fn(...inputs);
    return [y, ...gradients([y], inputs, [given.at(-1)!])];
  };

const onGpu = (name: string, run: () => Promise<void>): void => {
  test.skipIf(!hasRoom)(name, { timeout: 120_000 }, () => withDevice(device("cuda"), run));
};

onGpu("loops and sums", async () => {
  const [rows, columns] = [70_001, 46_003];
  const x = noise([rows, columns], 1, "bf16");
  const sums = compile((t: Tensor) => [
    sum(cast(t, "f32"), 1),
    sum(cast(t, "f32"), 0),
    max(t, 0),
    add(mul(cast(t, "f32"), 2), 1),
  ]);
  const [across, down, top, doubled] = sums(x) as unknown as [Tensor, Tensor, Tensor, Tensor];
  const [row, column] = [rows - 1, columns - 2];
  const [alongRow, alongColumn] = [
    Array.from({ length: columns }, (_, c) => noiseAt(1, [row, c])),
    Array.from({ length: rows }, (_, r) => noiseAt(1, [r, column])),
  ];
  const total = (list: readonly number[]): number => list.reduce((a, b) => a + b, 0);
  expect((await across.data())[row]).toBeCloseTo(total(alongRow), 1);
  expect((await down.data())[column]).toBeCloseTo(total(alongColumn), 1);
  expect((await values(top))[column]).toBe(alongColumn.reduce((a, b) => Math.max(a, b)));
  expect([...(await values(narrow(doubled, 0, row, row + 1)))]).toEqual(alongRow.map((v) => 2 * v + 1));
});

onGpu("positions of an axis of more than 2^31", async () => {
  const n = 3 * 2 ** 30 + 5;
  const half = compile(() => mul(iota([n], 0, { dtype: "f32" }), 0.5))();
  for (const i of [5, 2 ** 31 + 4097, n - 1])
    expect((await narrow(half, 0, i, i + 1).data())[0]).toBe(Math.fround(i) / 2);
});

onGpu("layer norm, linear layers, short convolutions, attention", async () => {
  const rows = 2_900_003;
  await expectAlike(
    [noise([rows, 768], 1, "bf16"), noise([768], 2), noise([rows, 768], 3, "bf16")],
    (x, g, dy) => {
      const y = layerNorm(x!, g!);
      return [y, ...gradients([y], [x!], [dy!])];
    },
    { inputs: [0, undefined, 0], outputs: [0, 0] },
    [0, 2_796_203, rows - 1],
    1e-2,
  );
  await expectAlike(
    [noise([1_600_001, 2048], 1, "bf16"), noise([512, 2048], 2, "bf16", 0.05)],
    (x, w) => [linear(x!, w!)],
    { inputs: [0, undefined], outputs: [0] },
    [0, 1_048_577, 1_600_000],
    1e-2,
  );
  await expectAlike(
    [noise([7, 300_001, 1601], 1, "bf16"), noise([1601, 4], 2), noise([7, 300_001, 1601], 3, "bf16")],
    withGradients((x, w) => shortConv(x!, w!)),
    { inputs: [2, 0, 2], outputs: [2, 2, 0] },
    [1600],
    1e-2,
  );
  const heads = [4201, 128, 64, 64];
  await expectAlike(
    [1, 2, 3, 4].map((seed) => noise(heads, seed, "bf16")),
    withGradients((q, k, v) => attention(q!, k!, v!, { causal: true })),
    { inputs: [0, 0, 0, 0], outputs: [0, 0, 0, 0] },
    [4200],
    2e-2,
  );
});

// Its sums have 2.2e9 numbers.
onGpu("the gradient of 64 taps of 33.6 million channels", async () => {
  const channels = 33_600_001;
  await expectAlike(
    [noise([1, 2, channels], 1, "f16"), noise([channels, 64], 2), noise([1, 2, channels], 3, "f16")],
    (x, w, dy) => gradients([shortConv(x!, w!)], [w!], [dy!]),
    { inputs: [2, 0, 2], outputs: [0] },
    [0, 16_000_000, channels - 1],
    1e-3,
  );
});

onGpu("70,001 systems, slices and sequences", async () => {
  const many = 70_001;
  const picks = [0, 65_535, 65_536, many - 1];
  await expectAlike(
    [
      noise([1, many, 3], 1),
      noise([1, many, 3], 2),
      noise([many, 3], 3).mul(0.5).sub(1),
      noise([many, 3], 4),
    ],
    (...t) => resolventOp(t, { nodes: 6 }),
    { inputs: [1, 1, 0, 0], outputs: [1, 1] },
    picks,
    1e-5,
  );
  await expectAlike(
    [noise([many, 33], 1)],
    (x) => globalNormOp([x!], { sliced: true }),
    { inputs: [0], outputs: [0] },
    picks,
    1e-6,
  );
  await expectAlike(
    [noise([many, 5, 3, 2, 8], 1, "bf16"), noise([many, 5, 2, 8], 2, "bf16")],
    withGradients((qkv) => packedAttention(qkv!, { causal: true })),
    { inputs: [0, 0], outputs: [0, 0] },
    picks,
    2e-2,
  );
  await expectAlike(
    [1, 2, 3].map((seed) => noise([many, 3, 1, 5], seed)),
    (...t) => linearScanOp(t, { reverse: false, decay: "rows", inputs: ["a", "b", "c"] }),
    { inputs: [0, 0, 0], outputs: [0, 0] },
    picks,
    1e-5,
  );
});

for (const dtype of ["f32", "f16"] as const)
  for (const layout of ["bdl", "bld"] as const)
    onGpu(`long convolutions of 70,001 channels and of 70,001 sequences, ${dtype} ${layout}`, async () => {
      const [many, length] = [70_001, 64];
      const tolerance = dtype === "f32" ? 3e-6 : 4e-3;
      const bdl = layout === "bdl";
      const sequences = (batch: number, channels: number): number[] =>
        bdl ? [batch, channels, length] : [batch, length, channels];
      const filters = (channels: number): Tensor =>
        noise(bdl ? [channels, length] : [length, channels], 2, "f32", 0.2);
      const [channel, filter] = bdl ? [1, 0] : [2, 1];
      const picks = [0, 32_768, 65_535, 65_536, many - 1];
      await expectAlike(
        [noise(sequences(2, many), 1, dtype), filters(many), noise(sequences(2, many), 3, dtype)],
        withGradients((u, k) => fftConv(u!, k!, { layout })),
        { inputs: [channel, filter, channel], outputs: [channel, channel, filter] },
        picks,
        tolerance,
      );
      await expectAlike(
        [noise(sequences(2, many), 1, dtype), filters(many)],
        (u, k) => {
          const half = u!.dtype === "f16" ? { dtype: "f16" as const } : {};
          return [fftConv(u!, fftConvFilter(k!, length, { layout, mode: "circular", ...half }))];
        },
        { inputs: [channel, filter], outputs: [channel] },
        picks,
        tolerance,
      );
      await expectAlike(
        [noise(sequences(many, 3), 1, dtype), filters(3)],
        (u, k) => [fftConv(u!, k!, { layout })],
        { inputs: [0, undefined], outputs: [0] },
        picks,
        tolerance,
      );
    });

onGpu("long convolutions of 600 channels of 2^20, and of 2^22 between channels", async () => {
  await expectAlike(
    [noise([1, 600, 2 ** 20], 1, "f16"), noise([600, 300], 2, "f32", 0.1)],
    (u, k) => [fftConv(u!, k!)],
    { inputs: [1, 0], outputs: [1] },
    [599],
    5e-3,
  );
  await expectAlike(
    [noise([1, 2 ** 22, 2], 1, "f16"), noise([300, 2], 2, "f32", 0.1)],
    (u, k) => [fftConv(u!, k!, { layout: "bld" })],
    { inputs: [2, 1], outputs: [2] },
    [1],
    5e-3,
  );
});

onGpu("copies of more than 4 GiB to the device and back", async () => {
  const n = 1_200_000_007;
  const host = new Float32Array(n);
  for (let i = 0; i < n; i += 4099) host[i] = i % 1021;
  const back = await compile((t: Tensor) => add(t, 1))(tensor(host, [n])).data();
  let wrong = back.length === n ? 0 : 1;
  for (let i = 0; i < n; i += 4099) wrong += back[i] === host[i]! + 1 ? 0 : 1;
  expect([wrong, back[n - 1], back[2 ** 30 + 1]]).toEqual([0, host[n - 1]! + 1, host[2 ** 30 + 1]! + 1]);
});
