// Fused ops whose sizes go beyond the 65,535 blocks that a grid's second and third axis have.

import { describe, expect, test } from "vitest";
import { contiguousView, type DType, type FusedStep, type Op } from "@everlong/core";
import {
  butterflyConvOp,
  butterflyOp,
  embeddingGradOp,
  fftConvBackwardOp,
  fftConvCachedOp,
  fftConvFilterGradOp,
  fftConvOp,
  fftConvSpectrumOp,
  globalNormOp,
  linearScanOp,
  onlineConvOp,
  packedAttentionGradOp,
  packedAttentionOp,
  packedHyenaOp,
  resolventOp,
  resolventSumsOp,
  selectiveScanGradOp,
  selectiveScanOp,
  transferGradOp,
  transferOp,
} from "@everlong/kernels";
import { H100, type CudaStep } from "@everlong/kernels/cuda";
import type { Lowered } from "./lowered.ts";
import { lower } from "./lowering.ts";

type Shape = readonly number[];

function lowered<P>(op: Op<P>, inputs: readonly (readonly [DType, Shape])[], params: P): Lowered {
  const types = inputs.map(([dtype, shape]) => ({ dtype, shape }));
  const operands = [...types, ...op.def.shape(types, params as never)].map(({ dtype, shape }, buffer) => ({
    buffer,
    dtype,
    view: contiguousView(shape),
  }));
  const step = {
    kind: "fused",
    def: op.def,
    params,
    inputs: operands.slice(0, inputs.length),
    outputs: operands.slice(inputs.length),
  } as unknown as FusedStep;
  const answer = lower(step, H100);
  if (typeof answer === "string") throw new Error(answer);
  return answer;
}

const gridsOf = ({ steps }: Lowered): Readonly<Record<string, readonly number[]>> =>
  Object.fromEntries((steps as readonly CudaStep[]).map((s) => [s.kernel.entry, s.grid]));
const floats = (...shapes: Shape[]): (readonly [DType, Shape])[] => shapes.map((s) => ["f32", s]);

test.each([
  [70_001, 1, 33, [2, 35_001, 2]],
  [3, 30_000, 5, [1, 45_000, 2]],
  [3, 100, 5, [1, 300, 1]],
])("linear scans of %i sequences of %i heads, %i columns", (batch, heads, columns, grid) => {
  const key = [batch, 2, heads, 3];
  const inputs = floats(key, [batch, 2, heads, columns], key);
  const params = { reverse: false, decay: "rows", inputs: ["a", "b", "c"] } as const;
  expect(gridsOf(lowered(linearScanOp, inputs, params))).toEqual({ linear_scan: grid });
});

test.each([
  [70_001, 33, [3, 35_001, 2]],
  [1, 1_100_000, [68_750, 1, 1]],
])("selective scans of %i sequences of %i channels", (batch, channels, grid) => {
  const [u, a, b] = [
    [batch, 1, channels],
    [channels, 16],
    [batch, 1, 16],
  ];
  const inputs = floats(u!, u!, a!, b!, b!);
  const names = ["u", "delta", "a", "b", "c"] as const;
  expect(gridsOf(lowered(selectiveScanOp, inputs, { inputs: names }))).toEqual({
    selective_scan: grid,
  });
  const backward = gridsOf(
    lowered(selectiveScanGradOp, [...inputs, ...floats(u!, [batch, channels, 16])], {
      inputs: [...names, "dy", "dlast"],
    }),
  );
  expect(backward).toMatchObject({ selective_scan: grid, selective_scan_grad: grid });
});

test("online convolutions of 70,001 sequences", () => {
  const inputs = [...floats([70_001, 130], [4, 130], [70_001, 4, 130]), ["i32", []] as const];
  expect(gridsOf(lowered(onlineConvOp, inputs, {}))).toEqual({
    online_copy: [528, 1, 1],
    online_present: [2, 35_001, 2],
  });
});

test("transforms by butterflies of 70,001 sequences", () => {
  const inputs = floats([70_001, 10, 3], [2, 4, 4], [2, 4, 4]);
  const grid = gridsOf(lowered(butterflyOp, inputs, { layout: "bld", radices: [4, 4] })).butterfly;
  expect(grid).toEqual([1, 35_001, 2]);
});

test("convolutions through butterflies of 70,001 sequences", () => {
  const inputs = floats([70_001, 10, 3], [5, 3], [2, 4, 4], [2, 4, 4]);
  const params = { layout: "bld", radices: [4, 4], adjoint: false } as const;
  expect(gridsOf(lowered(butterflyConvOp, inputs, params)).butterfly_convolve![1]).toBeLessThan(65_536);
});

test.each([
  [1, 70_001, [1, 35_001, 2]],
  [9, 30_000, [1, 30_000, 3]],
  [300_000, 1, [1, 37_500, 2]],
])("resolvents of %i sets of %i systems", (sets, systems, grid) => {
  const [v, a] = [
    [sets, systems, 2],
    [systems, 2],
  ];
  const up = lowered(resolventOp, floats(v, v, a, a), { nodes: 6 });
  expect(gridsOf(up)).toEqual({ resolvent: grid });
  const g = [sets, systems, 4];
  expect(gridsOf(lowered(resolventSumsOp, floats(g, g, a, a), { nodes: 6 })).resolvent_sums).toEqual(grid);
});

test.each([
  [1, 1, 70_001, [1, 35_001, 2]],
  [300, 300, 1, [1, 45_000, 2]],
])("transfer functions of %i sets, %i read-outs and %i systems", (sets, reads, systems, grid) => {
  const of = (n: number): Shape => [n, systems, 2];
  const [b, c, p, a] = [of(sets), of(reads), of(1), [systems, 2]];
  const system = floats(b, b, c, c, p, p, a, a, [systems, 1]);
  const nodes = 6;
  expect(gridsOf(lowered(transferOp, system, { nodes }))).toEqual({ dplr_transfer: grid });
  const g = [sets, reads, systems, 4];
  const sums = gridsOf(lowered(transferGradOp, [...floats(g, g), ...system], { nodes })).dplr_transfer_sums;
  expect(sums).toEqual(grid);
});

test("norms of 70,001 slices", () => {
  const inputs = floats([70_001, 3], [70_001, 2, 2]);
  expect(gridsOf(lowered(globalNormOp, inputs, { sliced: true }))).toEqual({
    squares: [2, 35_001, 2],
    root: [70_001, 1, 1],
  });
});

const halves = (...shapes: Shape[]): (readonly [DType, Shape])[] => shapes.map((s) => ["bf16", s]);

test("packed attention of 70,001 sequences", () => {
  const params = { left: -1, right: 0, scale: 1, interleaved: false } as const;
  const [qkv, y] = [
    [70_001, 5, 3, 6, 8],
    [70_001, 5, 6, 8],
  ];
  const forward = lowered(packedAttentionOp, halves(qkv), { ...params, inputs: ["qkv"] });
  expect(gridsOf(forward)).toEqual({ packed_attention: [3, 35_001, 2] });
  const inputs = [...halves(qkv, y, y), ...floats([70_001, 6, 5])];
  const backward = lowered(packedAttentionGradOp, inputs, {
    ...params,
    inputs: ["qkv", "y", "dy", "lse"],
  });
  expect(gridsOf(backward)).toEqual({ packed_attention_grad: [3, 35_001, 2] });
});

test("packed Hyena of two million sequences", () => {
  const inputs = [...halves([2_000_000, 3, 24]), ...floats([3, 8])];
  const { packed_hyena } = gridsOf(lowered(packedHyenaOp, inputs, { inputs: ["u", "k"] }));
  expect(packed_hyena).toEqual([125_000, 1, 1]);
});

/** Bytes behind the beginning of an operand at which launches of an entry begin. */
const placesOf = (
  { steps }: Lowered,
  entry: RegExp,
  operand: "input" | "output",
  index: number,
): number[] => [
  ...new Set(
    (steps as readonly CudaStep[])
      .filter((s) => entry.test(s.kernel.entry))
      .flatMap((s) => s.args)
      .flatMap((w) => {
        const word = w as {
          readonly input?: number;
          readonly output?: number;
          readonly byteOffset?: number;
        };
        return typeof w === "object" && word[operand] === index ? [word.byteOffset ?? 0] : [];
      }),
  ),
];

const SLICES = [0, 32_768, 65_536];

describe.each(["f32", "f16"] as const)("long convolutions in %s", (dtype) => {
  const half = dtype === "f16";
  describe.each(["bdl", "bld"] as const)("%s", (layout) => {
    const bdl = layout === "bdl";
    const sequences = (batch: number, channels: number, length: number): readonly [DType, Shape] => [
      dtype,
      bdl ? [batch, channels, length] : [batch, length, channels],
    ];
    const filters = (channels: number): readonly [DType, Shape] => [
      "f32",
      bdl ? [channels, 9] : [9, channels],
    ];
    const params = { layout, circular: false, origin: 0, adjoint: false } as const;
    const [many, length] = [70_001, 40];
    const bytes = half ? 2 : 4;
    /** Of a sequence, and of a filter. */
    const [perChannel, perFilter] = bdl ? [bytes * length, 4 * 9] : [bytes, 4];
    const of = (each: number): number[] => SLICES.map((first) => first * each);

    test("of 70,001 channels go in slices", () => {
      const inputs = [sequences(2, many, length), filters(many), ["f32", [many]] as const];
      const made = lowered(fftConvOp, inputs, { ...params, inputs: ["u", "k", "skip"] });
      expect(placesOf(made, /convolve|transpose/, "input", 0)).toEqual(of(perChannel));
      expect(placesOf(made, /convolve|transpose/, "output", 0)).toEqual(of(perChannel));
      expect(placesOf(made, /spectrum/, "input", 1)).toEqual(of(perFilter));
      expect(placesOf(made, /spectrum/, "input", 2)).toEqual(of(4));
      // Temporaries are those of one slice.
      expect(made.temps.reduce((a, b) => a + b)).toBeLessThan(2 ** 15 * 2 * 8 * 1100);
    });

    test("with kept spectra of 70,001 channels, too", () => {
      const kept = { layout, circular: false, origin: 0, length, half, inputs: ["k"] } as const;
      const spectrum = lowered(fftConvSpectrumOp, [filters(many)], kept);
      const points = half ? 1024 : 64;
      const [head, each] = half ? [4 * 70_016, 4 * points] : [64, 8 * points];
      const places = of(each).map((at) => at + head);
      const want = half ? [...places, ...of(4)].sort((a, b) => a - b) : places;
      const ascending = (list: number[]): number[] => list.sort((a, b) => a - b);
      expect(ascending(placesOf(spectrum, /spectrum/, "output", 0))).toEqual(want);
      const [{ shape: size }] = fftConvSpectrumOp.def.shape(
        [{ dtype: "f32", shape: filters(many)[1] }],
        kept as never,
      ) as unknown as [{ readonly shape: Shape }];
      const cached = lowered(fftConvCachedOp, [sequences(2, many, length), ["f32", size]], {
        layout,
        circular: false,
        origin: 0,
        adjoint: false,
        taps: 9,
        inputs: ["u", "spectrum"],
      });
      expect(ascending(placesOf(cached, /convolve/, "input", 1))).toEqual(want);
      expect(placesOf(cached, /convolve|transpose/, "output", 0)).toEqual(of(perChannel));
      // Numbers of spectra beyond 2^31.
      const [wide, long] = [70_001, 2 ** 14];
      lowered(fftConvSpectrumOp, [filters(wide)], { ...kept, length: long });
    });

    test("and their gradients", () => {
      const inputs = [sequences(2, many, length), sequences(2, many, length)];
      const alone = lowered(fftConvFilterGradOp, inputs, {
        ...params,
        taps: 9,
        inputs: ["u", "dy"],
      });
      expect(placesOf(alone, /gradient/, "output", 0)).toEqual(of(perFilter));
      if (!half) return;
      const both = lowered(fftConvBackwardOp, [inputs[0]!, filters(many), inputs[1]!], {
        ...params,
        wanted: ["u", "k"],
        inputs: ["u", "k", "dy"],
      });
      expect(placesOf(both, /backward|transpose/, "output", 0)).toEqual(of(perChannel));
      expect(placesOf(both, /gradient/, "output", 1)).toEqual(of(perFilter));
    });

    test("of 70,001 sequences", () => {
      const inputs = [sequences(many, 2, length), filters(2)];
      const made = lowered(fftConvOp, inputs, { ...params, inputs: ["u", "k"] });
      const each = bytes * 2 * length;
      const cut = half && !bdl ? [0, 32_768, 65_536].map((n) => n * each) : [0];
      expect(placesOf(made, /convolve|transpose/, "input", 0)).toEqual(cut);
    });
  });
});

test("long convolutions in f32 of a million sequences", () => {
  const inputs = floats([1_000_001, 1, 1024], [1, 9]);
  const params = {
    layout: "bdl",
    circular: false,
    origin: 0,
    adjoint: false,
    inputs: ["u", "k"],
  } as const;
  expect(gridsOf(lowered(fftConvOp, inputs, params)).convolve).toEqual([1, 62_501, 1]);
});

test("long convolutions of 600 channels of 2^20, and of 2^22 positions between channels", () => {
  const params = { circular: false, origin: 0, adjoint: false, inputs: ["u", "k"] } as const;
  const [u, k] = [
    ["f16", [1, 600, 2 ** 20]],
    ["f32", [600, 9]],
  ] as const;
  const { steps } = lowered(fftConvOp, [u, k], { ...params, layout: "bdl" });
  expect(steps.length).toBeGreaterThan(2);
  // 600 channels of 128 rows each.
  for (const { grid } of steps as readonly CudaStep[])
    expect(Math.max(grid[1], grid[2])).toBeLessThanOrEqual(65_535);
  const between = lowered(
    fftConvOp,
    [
      ["f16", [1, 2 ** 22, 2]],
      ["f32", [9, 2]],
    ],
    { ...params, layout: "bld" },
  );
  expect(placesOf(between, /transpose/, "input", 0)).toEqual([0, 2 ** 21 * 2 * 2]);
});

const embeddingGrad = (rows: number, width: number, count: number): Lowered =>
  lowered(
    embeddingGradOp,
    [
      ["i32", [count]],
      ["bf16", [count, width]],
    ],
    { rows },
  );

test.each([
  ["in shared memory", 16, 128, 16_384, ["embedding_grad_few", "embedding_combine"]],
  ["by looking at all", 200, 768, 130, ["embedding_grad"]],
  ["by a digit", 512, 128, 16_384, ["embedding_count", "embedding_place"]],
  ["by two digits", 50_257, 768, 8192, ["embedding_count", "embedding_place"]],
  ["by two digits, wide", 1_000_000, 100_000, 1, ["embedding_count", "embedding_place"]],
])("gradients of embeddings %s", (_, rows, width, count, first) => {
  const { steps, temps } = embeddingGrad(rows, width, count);
  const entries = (steps as readonly CudaStep[]).map((s) => s.kernel.entry);
  expect(entries.slice(0, first.length)).toEqual(first);
  const bytes = temps.reduce((a, b) => a + b, 0);
  const partials = 4 * width * Math.ceil(count / 64);
  expect(bytes).toBeLessThanOrEqual(2 ** 21 + 16 * count + 4 * rows + partials);
});

test("more ids than 32 bits number are refused", () => {
  expect(() => embeddingGrad(1000, 1, 2 ** 32)).toThrow(/4294967296 ids are more than 4294967295/);
});
