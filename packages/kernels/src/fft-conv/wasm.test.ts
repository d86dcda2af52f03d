import { assert, boolean, constantFrom, integer, property, record } from "fast-check";
import { describe, expect, test } from "vitest";
import type { WasmTarget, WasmView } from "../wasm-step.ts";
import { contiguous, prepare, runChecked } from "../wasm-step-runner.ts";
import type { FftConvGradInput, FftConvInput, Layout } from "./op.ts";
import { fftConvFilterGradReference, fftConvReference } from "./reference.ts";
import { spectrumShape } from "./plain-spectrum.ts";
import { leafOf, niceLength } from "./wasm-lengths.ts";
import {
  blocksOf,
  fftConvCachedWasm,
  fftConvFilterGradWasm,
  fftConvSpectrumWasm,
  fftConvWasm,
} from "./wasm.ts";

const TARGETS: WasmTarget[] = [
  { width: 1, relaxed: true },
  { width: 2, relaxed: true },
  { width: 2, relaxed: false },
];

let seed = 11;
const random = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
};
const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

interface Input {
  readonly view: WasmView;
  readonly data: Float32Array;
  /** The same values, contiguous, in float64. */
  readonly host: { readonly shape: readonly number[]; readonly data: Float64Array };
}

/** Random values; the last axis is a slice of a wider one where `pitch` > 1, as in a fused projection. */
function tensor(shape: readonly number[], pitch = 1, scale = 1): Input {
  const width = shape.at(-1)! * pitch + (pitch > 1 ? 1 : 0);
  const strides = shape.map(() => 1);
  for (let i = shape.length - 2, step = width; i >= 0; i--) {
    strides[i] = step;
    step *= shape[i]!;
  }
  const offset = pitch > 1 ? 1 : 0;
  const used = shape.slice(0, -1).reduce((a, b) => a * b, 1) * width;
  const data = Float32Array.from({ length: used }, () => random() * scale);
  const host = new Float64Array(size(shape));
  const last = shape.at(-1)!;
  for (let i = 0; i < host.length; i++) host[i] = data[offset + Math.floor(i / last) * width + (i % last)]!;
  return { view: { dtype: "f32", shape, strides, offset }, data, host: { shape, data: host } };
}

interface Case {
  readonly layout: Layout;
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  readonly taps: number;
  readonly origin: number;
  readonly circular: boolean;
  readonly adjoint: boolean;
  readonly gates: boolean;
  readonly skip: boolean;
  readonly pitch: number;
}

function expectClose(got: Float32Array, want: Float64Array, label: string): void {
  let [error, norm] = [0, 0];
  want.forEach((w, i) => {
    error += (got[i]! - w) ** 2;
    norm += w * w;
  });
  const relative = Math.sqrt(error / (norm || 1));
  if (!(relative < 1e-6)) expect.fail(`${label}: relative error ${relative}`);
}

const shapes = (c: Case): { sequence: number[]; filter: number[] } =>
  c.layout === "bdl"
    ? { sequence: [c.batch, c.channels, c.length], filter: [c.channels, c.taps] }
    : { sequence: [c.batch, c.length, c.channels], filter: [c.taps, c.channels] };

function checkForward(c: Case, target: WasmTarget): void {
  const { sequence, filter } = shapes(c);
  const inputs: { [K in FftConvInput]?: Input } = {
    u: tensor(sequence, c.pitch),
    k: tensor(filter, 1, 1 / Math.sqrt(c.taps)),
    ...(c.skip ? { skip: tensor([c.channels]) } : {}),
    ...(c.gates ? { preGate: tensor(sequence, c.pitch), postGate: tensor(sequence) } : {}),
  };
  const names = Object.keys(inputs) as FftConvInput[];
  const params = {
    layout: c.layout,
    circular: c.circular,
    origin: c.origin,
    adjoint: c.adjoint,
    inputs: names,
  };
  const list = names.map((n) => inputs[n]!);
  const [got] = runChecked(fftConvWasm, list, [sequence], params, target);
  const want = { shape: sequence, data: new Float64Array(size(sequence)) };
  fftConvReference(list.map((i) => i.host) as never, [want] as never, params);
  expectClose(got!, want.data, `forward ${JSON.stringify(c)} width ${target.width}`);
}

function checkGradient(c: Case, target: WasmTarget): void {
  const { sequence, filter } = shapes(c);
  const inputs: { [K in FftConvGradInput]?: Input } = {
    u: tensor(sequence, c.pitch),
    dy: tensor(sequence),
    ...(c.gates ? { preGate: tensor(sequence), postGate: tensor(sequence, c.pitch) } : {}),
  };
  const names = Object.keys(inputs) as FftConvGradInput[];
  const { layout, circular, origin, taps } = c;
  const params = { layout, circular, origin, taps, inputs: names };
  const list = names.map((n) => inputs[n]!);
  const [got] = runChecked(fftConvFilterGradWasm, list, [filter], params, target);
  const want = { shape: filter, data: new Float64Array(size(filter)) };
  fftConvFilterGradReference(list.map((i) => i.host) as never, [want] as never, params);
  expectClose(got!, want.data, `gradient ${JSON.stringify(c)} width ${target.width}`);
}

const plain: Case = {
  layout: "bdl",
  batch: 1,
  channels: 8,
  length: 64,
  taps: 64,
  origin: 0,
  circular: false,
  adjoint: false,
  gates: false,
  skip: false,
  pitch: 1,
};

test("nice lengths are 1, 3 or 5 times a power of two, at most a third too long", () => {
  expect([1, 16, 17, 25, 33, 100, 300, 1000, 1536, 6000].map(niceLength)).toEqual([
    16, 16, 24, 32, 40, 128, 320, 1024, 1536, 6144,
  ]);
  for (let n = 16; n < 3000; n++) {
    const m = niceLength(n);
    expect(m).toBeGreaterThanOrEqual(n);
    expect(m / n).toBeLessThan(1.5);
    expect(leafOf(m)).toBeDefined();
  }
});

describe.each(TARGETS)("width $width relaxed $relaxed", (target) => {
  test.each([1, 2, 15, 16, 23, 32, 40, 48, 63, 80, 96, 100, 160, 300, 320, 384, 1000])(
    "causal, length %i",
    (length) => {
      for (const layout of ["bdl", "bld"] as const)
        checkForward({ ...plain, layout, length, taps: length }, target);
    },
  );

  test.each([1, 3, 4, 5, 7, 9, 12, 19])("%i channels", (channels) => {
    for (const layout of ["bdl", "bld"] as const) {
      checkForward({ ...plain, layout, channels, batch: 2, gates: true, skip: true }, target);
      checkGradient({ ...plain, layout, channels, batch: 3, gates: true }, target);
    }
  });

  test("filters shorter than the sequence, two-sided, circular, adjoint, gates, skip, pitch", () => {
    for (const layout of ["bdl", "bld"] as const)
      for (const adjoint of [false, true]) {
        const base = { ...plain, layout, adjoint, batch: 2, length: 100, gates: true, skip: true, pitch: 3 };
        for (const [taps, origin] of [
          [1, 0],
          [3, 0],
          [30, 0],
          [100, 0],
          [199, 99],
          [100, 99],
          [30, 13],
          [110, 20],
          [150, 100 - 1],
        ] as const) {
          checkForward({ ...base, taps, origin }, target);
          checkGradient({ ...base, taps, origin }, target);
        }
        for (const taps of [1, 2, 40, 100]) {
          checkForward({ ...base, taps, circular: true }, target);
          checkGradient({ ...base, taps, circular: true }, target);
        }
      }
  });

  test("batches are split over units when there are few groups", () => {
    for (const layout of ["bdl", "bld"] as const) {
      checkForward({ ...plain, layout, channels: 3, batch: 33, length: 20, taps: 20 }, target);
      checkGradient({ ...plain, layout, channels: 3, batch: 33, length: 20, taps: 20 }, target);
    }
  });
});

describe("short filters act on blocks", () => {
  test.each([
    [700, 20, 0],
    [700, 20, 19],
    [701, 33, 12],
    [1030, 1, 0],
    [515, 8, 7],
  ])("%i steps, %i taps, lag 0 at %i", (length, taps, origin) => {
    const { count, results, size: points } = blocksOf({ length, taps, origin, circular: false });
    expect(count).toBeGreaterThan(1);
    expect(count * results).toBeGreaterThanOrEqual(length);
    expect(results).toBe(2 * points - taps + 1);
    for (const target of TARGETS.slice(0, 2))
      for (const layout of ["bdl", "bld"] as const)
        for (const adjoint of [false, true]) {
          const base = {
            ...plain,
            layout,
            adjoint,
            length,
            taps,
            origin,
            channels: 9,
            gates: true,
            skip: true,
          };
          checkForward({ ...base, batch: 3, pitch: 2 }, target);
          checkGradient({ ...base, batch: 3 }, target);
        }
  });

  test("memory follows the filter, not the sequence, and length has no limit", () => {
    const scratch = (length: number): number => {
      const view = { ...contiguous([1, 8, length]), dtype: "f32" as const };
      const lowered = fftConvWasm.lower(
        {
          inputs: [view, { ...contiguous([8, 100]), dtype: "f32" }],
          outputs: [view],
          params: { layout: "bdl", circular: false, origin: 0, adjoint: false, inputs: ["u", "k"] },
        },
        TARGETS[1]!,
      );
      if (typeof lowered === "string") throw new Error(lowered);
      return lowered.steps.at(-1)!.scratchBytes;
    };
    expect(scratch(2 ** 24)).toBeLessThan(2 * scratch(10_000));
  });
});

test("random calls", () => {
  assert(
    property(
      record({
        target: constantFrom(...TARGETS),
        layout: constantFrom<Layout>("bdl", "bld"),
        batch: integer({ min: 1, max: 5 }),
        channels: integer({ min: 1, max: 20 }),
        length: integer({ min: 1, max: 300 }),
        reach: integer({ min: 0, max: 1000 }),
        origin: integer({ min: 0, max: 1000 }),
        circular: boolean(),
        adjoint: boolean(),
        gates: boolean(),
        skip: boolean(),
        pitch: integer({ min: 1, max: 3 }),
      }),
      ({ target, reach, ...c }) => {
        const origin = c.circular ? 0 : c.origin % c.length;
        const taps = origin + 1 + (reach % c.length);
        const call = { ...c, origin, taps };
        checkForward(call, target);
        checkGradient(call, target);
      },
    ),
    { numRuns: 60, seed: 5 },
  );
});

test("kept spectra give the bits of the convolution that makes them", () => {
  for (const target of TARGETS)
    for (const layout of ["bdl", "bld"] as const)
      for (const [channels, taps, origin, circular] of [
        [19, 50, 0, false],
        [7, 99, 49, false],
        [16, 33, 0, true],
      ] as const) {
        const c: Case = {
          ...plain,
          layout,
          channels,
          batch: 2,
          length: 50,
          taps: Math.min(taps, 99),
          origin,
          circular,
        };
        const { sequence, filter } = shapes(c);
        const [u, k, skip, gate] = [tensor(sequence), tensor(filter), tensor([channels]), tensor(sequence)];
        const shared = { layout, circular, origin };
        const spectrum = spectrumShape(channels, 50);
        const whole = prepare(
          fftConvSpectrumWasm,
          [k, skip],
          [spectrum],
          { ...shared, length: 50, inputs: ["k", "skip"] },
          target,
        );
        whole.run();
        const kept = { view: contiguous(spectrum), data: whole.outputs[0]!.slice() };
        const cached = {
          ...shared,
          taps: c.taps,
          adjoint: true,
          inputs: ["u", "spectrum", "postGate"] as const,
        };
        const [fromKept] = runChecked(fftConvCachedWasm, [u, kept, gate], [sequence], cached, target);
        const names = ["u", "k", "skip", "postGate"] as const;
        const direct = { ...shared, adjoint: true, inputs: names };
        const [want] = runChecked(fftConvWasm, [u, k, skip, gate], [sequence], direct, target);
        expect(fromKept).toEqual(want);
      }
});

test("kept spectra of another width or filter length are refused", () => {
  const [narrow, wide] = TARGETS as [WasmTarget, WasmTarget];
  const shared = { layout: "bdl", circular: false, origin: 0 } as const;
  const [u, k] = [tensor([1, 8, 50]), tensor([8, 50])];
  const made = prepare(
    fftConvSpectrumWasm,
    [k],
    [spectrumShape(8, 50)],
    { ...shared, length: 50, inputs: ["k"] },
    narrow,
  );
  made.run();
  const kept = { view: contiguous(spectrumShape(8, 50)), data: made.outputs[0]! };
  const convolve = (taps: number, target: WasmTarget): unknown =>
    runChecked(
      fftConvCachedWasm,
      [u, kept],
      [[1, 8, 50]],
      { ...shared, taps, adjoint: false, inputs: ["u", "spectrum"] },
      target,
    );
  expect(() => convolve(50, narrow)).not.toThrow();
  expect(() => convolve(50, wide)).toThrow(WebAssembly.RuntimeError);
  expect(() => convolve(2, narrow)).toThrow(WebAssembly.RuntimeError);
});

test("long sequences recurse", () => {
  // transforms of 1536, 5120 and 6144 points, two and three levels deep; short filters keep the direct sums short, and circular ones
  // do not act on blocks
  for (const [length, taps] of [
    [1536, 1536],
    [10_177, 64],
    [12_225, 64],
  ] as const)
    for (const target of TARGETS.slice(0, 2)) {
      const circular = taps < length;
      checkForward({ ...plain, channels: 2, length, taps, layout: "bld", circular }, target);
      checkGradient({ ...plain, channels: 2, length, taps, batch: 2, circular }, target);
    }
  // and one whose sequences are as long as the transform
  for (const target of TARGETS.slice(0, 2))
    checkForward({ ...plain, channels: 1, length: 4097, taps: 4097 }, target);
});
