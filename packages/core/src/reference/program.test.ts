import { describe, expect, test } from "vitest";
import type { FusedStep, LoopStep, ScanStep } from "../device.ts";
import { writeElement, type DType } from "../dtype.ts";
import type { OpDef } from "../op.ts";
import { ReferenceDevice } from "./device.ts";
import { runReference, runStepReference } from "./fallback.ts";
import { programOf, runStep, spec, whole } from "./hand-made.ts";

/** out = a + b over n elements. */
const addStep = (a: number, b: number, out: number, n: number, dtype: DType = "f64"): LoopStep => ({
  kind: "loop",
  shape: [n],
  args: [whole(a, [n], dtype), whole(b, [n], dtype)],
  code: [
    { op: "load", dtype, arg: 0 },
    { op: "load", dtype, arg: 1 },
    { op: "binary", dtype, fn: "add", a: 0, b: 1 },
  ],
  outputs: [{ operand: whole(out, [n], dtype), value: 2 }],
});

const f64 = (length: number): { dtype: "f64"; length: number } => ({ dtype: "f64", length });

/** Reverses a vector and sums it: two outputs, the first writable over the input. */
const reverseAndSum: OpDef = {
  id: Symbol("reverse-and-sum"),
  name: "reverse-and-sum",
  shape: ([x]) => [x!, { shape: [], dtype: x!.dtype }],
  reference: ([x], [reversed, sum]) => {
    expect([...reversed!.data, ...sum!.data].every(Number.isNaN)).toBe(true);
    const n = x!.data.length;
    sum!.data[0] = 0;
    for (let i = 0; i < n; i++) {
      reversed!.data[i] = x!.data[n - 1 - i]!;
      sum!.data[0]! += x!.data[i]!;
    }
  },
  cost: ([x]) => ({ flops: x!.shape[0]!, bytes: 0 }),
  inPlace: [0, undefined],
};

describe("fused", () => {
  test("runs the reference on packed inputs", async () => {
    const step: FusedStep = {
      kind: "fused",
      def: reverseAndSum,
      params: {},
      inputs: [{ buffer: 0, dtype: "f64", view: { shape: [3], strides: [-2], offset: 4 } }],
      outputs: [whole(1, [3]), whole(2, [])],
    };
    const out = await runStep(
      step,
      [{ dtype: "f64", values: [1, 2, 3, 4, 5] }],
      [
        { dtype: "f64", shape: [3] },
        { dtype: "f64", shape: [] },
      ],
    );
    expect(out).toEqual([[1, 3, 5], [9]]);
  });

  test("an output may lie over its input", async () => {
    const device = new ReferenceDevice();
    const step: FusedStep = {
      kind: "fused",
      def: reverseAndSum,
      params: {},
      inputs: [whole(3, [3])],
      outputs: [whole(3, [3]), whole(2, [])],
    };
    const temp = spec("f64", 3, { kind: "temp", offset: 0 });
    const program = programOf(
      [f64(3)],
      [f64(3), f64(1)],
      [addStep(0, 0, 3, 3), step, addStep(3, 0, 1, 3)],
      [temp],
    );
    const [sum, total] = device.load(program).run([device.upload(Float64Array.of(1, 2, 3), "f64")]);
    expect([...(await device.download(sum!, "f64", 3))]).toEqual([7, 6, 5]);
    expect([...(await device.download(total!, "f64", 1))]).toEqual([12]);
  });

  test("runReference takes and gives host storage of any dtype", () => {
    const data = new Uint16Array(3);
    [1.5, -2, 3.1].forEach((x, i) => writeElement("bf16", data, i, x));
    const [reversed, sum] = runReference(reverseAndSum, [{ shape: [3], dtype: "bf16", data }], {});
    expect(reversed).toEqual({
      shape: [3],
      dtype: "bf16",
      data: Uint16Array.of(data[2]!, data[1]!, data[0]!),
    });
    expect(sum!.data).toEqual(Uint16Array.of(0x4026)); // 2.59375
  });
});

test("runStepReference changes only what the step writes", () => {
  const buffers = [Int32Array.of(1, 2), Int32Array.of(10, 2 ** 31 - 1), new Int32Array(2), undefined];
  runStepReference(addStep(0, 1, 2, 2, "i32"), buffers);
  expect(buffers.slice(0, 3)).toEqual([
    Int32Array.of(1, 2),
    Int32Array.of(10, 2 ** 31 - 1),
    Int32Array.of(11, -(2 ** 31) + 1),
  ]);
});

describe("scan", () => {
  // carry c [2], sequence x [T, 2], constant k [2]: c' = c + x + k, y = c + x.
  const body = programOf(
    [f64(2), f64(2), f64(2)],
    [f64(2), f64(2)],
    [addStep(0, 1, 4, 2), addStep(4, 2, 3, 2)],
  );
  const scan = (length: number, reverse: boolean): ScanStep => ({
    kind: "scan",
    body,
    length,
    carries: 1,
    sequences: 1,
    reverse,
    inputs: [whole(0, [2]), whole(1, [length, 2]), whole(2, [2])],
    outputs: [whole(3, [2]), whole(4, [length, 2])],
  });
  const run = (length: number, reverse: boolean): Promise<number[][]> =>
    runStep(
      scan(length, reverse),
      [
        { dtype: "f64", values: [1, 2] },
        { dtype: "f64", values: Array.from({ length: 2 * length }, (_, i) => (i + 1) * 10) },
        { dtype: "f64", values: [0.5, 0.25] },
      ],
      [
        { dtype: "f64", shape: [2] },
        { dtype: "f64", shape: [length, 2] },
      ],
    );

  test("forward", async () => {
    expect(await run(3, false)).toEqual([
      [92.5, 122.75],
      [11, 22, 41.5, 62.25, 92, 122.5],
    ]);
  });
  test("reverse: starts at the end, outputs stay at their places", async () => {
    expect(await run(3, true)).toEqual([
      [92.5, 122.75],
      [92, 122.5, 81.5, 102.25, 51, 62],
    ]);
  });
  test("no steps", async () => {
    expect(await run(0, false)).toEqual([[1, 2], []]);
  });
  test("nested: the body is a scan itself", async () => {
    const inner = scan(2, false);
    const outer = programOf([f64(2), f64(4), f64(2)], [f64(2), f64(4)], [inner]);
    const step: ScanStep = {
      ...scan(3, false),
      body: outer,
      inputs: [whole(0, [2]), whole(1, [3, 2, 2]), whole(2, [2])],
      outputs: [whole(3, [2]), whole(4, [3, 2, 2])],
    };
    const values = Array.from({ length: 12 }, (_, i) => i);
    const [carry, ys] = await runStep(
      step,
      [
        { dtype: "f64", values: [0, 0] },
        { dtype: "f64", values },
        { dtype: "f64", values: [0, 0] },
      ],
      [
        { dtype: "f64", shape: [2] },
        { dtype: "f64", shape: [3, 2, 2] },
      ],
    );
    expect(carry).toEqual([30, 36]);
    expect(ys).toEqual([0, 1, 2, 4, 6, 9, 12, 16, 20, 25, 30, 36]);
  });
});

describe("memory", () => {
  test("temporaries are recycled and never read before they are written", async () => {
    const device = new ReferenceDevice();
    const temps = [0, 1, 2].map((i) => spec("f64", 4, { kind: "temp" as const, offset: 32 * (i % 2) }));
    const steps = [addStep(0, 0, 2, 4), addStep(2, 0, 3, 4), addStep(3, 0, 4, 4), addStep(4, 0, 1, 4)];
    const loaded = device.load(programOf([f64(4)], [f64(4)], steps, temps));
    for (const x of [1, 2, 5]) {
      const [out] = loaded.run([device.upload(new Float64Array(4).fill(x), "f64")]);
      expect([...(await device.download(out!, "f64", 4))]).toEqual([5 * x, 5 * x, 5 * x, 5 * x]);
    }
    // A program that reads a temporary too early sees NaN, and so does one that leaves part of an output unwritten.
    const early = device.load(programOf([f64(4)], [f64(4)], [addStep(2, 0, 1, 3)], temps.slice(0, 1)));
    const [out] = early.run([device.upload(new Float64Array(4), "f64")]);
    expect([...(await device.download(out!, "f64", 4))]).toEqual([NaN, NaN, NaN, NaN]);
  });

  test("constants belong to the program", async () => {
    const device = new ReferenceDevice();
    const table = spec("f32", 2, { kind: "constant", data: Float32Array.of(0.5, 7) });
    const f32 = { dtype: "f32" as const, length: 2 };
    const loaded = device.load(programOf([f32], [f32], [addStep(0, 2, 1, 2, "f32")], [table]));
    const [out] = loaded.run([device.upload(Float32Array.of(1, 2), "f32")]);
    expect(await device.download(out!, "f32", 2)).toEqual(Float32Array.of(1.5, 9));
  });

  test("a donated input comes back as the output, with values read before they were replaced", async () => {
    const device = new ReferenceDevice();
    const steps = [addStep(0, 1, 2, 2), addStep(0, 0, 3, 2)];
    const loaded = device.load(programOf([f64(2), f64(2)], [f64(2), f64(2)], steps, [], [0, undefined]));
    const [a, b] = [
      device.upload(Float64Array.of(1, 2), "f64"),
      device.upload(Float64Array.of(10, 20), "f64"),
    ];
    const before = device.stats.liveBytes;
    const [sum, twice] = loaded.run([a, b]);
    expect(sum).toBe(a);
    expect([...(await device.download(sum!, "f64", 2))]).toEqual([11, 22]);
    expect([...(await device.download(twice!, "f64", 2))]).toEqual([2, 4]);
    expect(device.stats.liveBytes - before).toBe(16);
  });

  test("accounting returns to zero; misuse is refused", () => {
    const device = new ReferenceDevice();
    const loaded = device.load({ ...programOf([f64(2)], [f64(2)], [addStep(0, 0, 1, 2)]), arenaBytes: 64 });
    const input = device.upload(new Float64Array(2), "f64");
    const [out] = loaded.run([input]);
    expect(device.stats).toEqual({ liveBytes: 96, peakBytes: 96, kernels: 0, launches: 1 });
    expect(loaded.describe()).toBe("loop -> f64[2]: 48 bytes, 2 flops");
    out!.free();
    input.free();
    loaded.dispose();
    expect(device.stats.liveBytes).toBe(0);
    expect(() => out!.free()).toThrow("freed twice");
    expect(() => loaded.run([input])).toThrow("disposed");
    expect(() => device.load(programOf([f64(2)], [f64(2)], [addStep(0, 0, 1, 2)])).run([input])).toThrow(
      "freed or donated",
    );
    expect(() =>
      device
        .load(programOf([f64(2)], [f64(2)], [addStep(0, 0, 1, 2)]))
        .run([new ReferenceDevice().upload(new Float64Array(2), "f64")]),
    ).toThrow("another device");
  });

  test.each<DType>(["f64", "f32", "f16", "bf16", "i32", "u8", "bool"])(
    "%s survives upload and download",
    async (dtype) => {
      const device = new ReferenceDevice();
      const values = [0, 1, 1, 0];
      const data = runReference(
        { ...reverseAndSum, reference: (_, [o]) => o!.data.set(values) },
        [{ shape: [4], dtype, data: new Uint8Array(4) }],
        {},
      )[0]!.data;
      const back = await device.download(device.upload(data, dtype), dtype, 4);
      expect(back).toEqual(data);
      expect(back.constructor).toBe(data.constructor);
    },
  );
});
