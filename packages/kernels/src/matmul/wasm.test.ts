import { show } from "@everlong/core";
import { assert, constantFrom, integer, property, record, shuffledSubarray, tuple } from "fast-check";
import { describe, expect, test } from "vitest";
import type { WasmTarget, WasmView } from "../wasm-step.ts";
import { contiguous, runChecked } from "../wasm-step-runner.ts";
import { ACTIVATIONS, type LinearInput, type LinearParams } from "./op.ts";
import { linearReference } from "./reference.ts";
import { linearWasm, matmulWasm } from "./wasm.ts";

const TARGETS: WasmTarget[] = [
  { width: 1, relaxed: true },
  { width: 2, relaxed: true },
  { width: 2, relaxed: false },
];

let seed = 7;
const random = (): number => {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return seed / 2 ** 31 - 1;
};
const size = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

interface Input {
  readonly view: WasmView;
  readonly data: Float32Array;
}

/** Random data behind a view whose axes lie in memory in the order `order`, with gaps and an offset. */
function strided(shape: readonly number[], order: readonly number[], gap: number, offset: number): Input {
  const strides = shape.map(() => 0);
  let step = 1;
  order.forEach((axis, i) => {
    strides[axis] = step;
    step *= shape[axis]! + (i === 0 ? gap : 0);
  });
  const last = shape.reduce((sum, n, i) => sum + Math.max(0, n - 1) * strides[i]!, 0);
  const data = Float32Array.from({ length: offset + last + 1 }, random);
  return { view: { dtype: "f32", shape, strides, offset }, data };
}

/** Product in float64 and, per element, the sum of absolute terms: the scale of rounding errors. */
function product(a: Input, b: Input): { value: Float64Array; scale: Float64Array; shape: number[] } {
  const [m, k] = a.view.shape.slice(-2) as [number, number];
  const n = b.view.shape.at(-1)!;
  const rank = Math.max(a.view.shape.length, b.view.shape.length) - 2;
  const pad = (s: readonly number[]): number[] =>
    [...Array<number>(rank + 2 - s.length).fill(1), ...s].slice(0, rank);
  const [pa, pb] = [pad(a.view.shape), pad(b.view.shape)];
  const batch = pa.map((x, i) => (x === 1 ? pb[i]! : x));
  const shape = [...batch, m, n];
  const value = new Float64Array(size(shape));
  const scale = new Float64Array(size(shape));
  for (let e = 0; e < size(batch); e++) {
    const index: number[] = [];
    for (let axis = rank - 1, rest = e; axis >= 0; axis--) {
      index.unshift(rest % batch[axis]!);
      rest = Math.floor(rest / batch[axis]!);
    }
    const base = (input: Input, p: number[]): number =>
      index.reduce((at, i, axis) => {
        const own = axis - (rank + 2 - input.view.shape.length);
        return own < 0 || p[axis] === 1 ? at : at + i * input.view.strides[own]!;
      }, input.view.offset);
    const [aAt, bAt] = [base(a, pa), base(b, pb)];
    const [aRow, aStep] = a.view.strides.slice(-2) as [number, number];
    const [bStep, bColumn] = b.view.strides.slice(-2) as [number, number];
    for (let i = 0; i < m; i++)
      for (let j = 0; j < n; j++) {
        let [sum, total] = [0, 0];
        for (let l = 0; l < k; l++) {
          const term = a.data[aAt + i * aRow + l * aStep]! * b.data[bAt + l * bStep + j * bColumn]!;
          sum += term;
          total += Math.abs(term);
        }
        value[(e * m + i) * n + j] = sum;
        scale[(e * m + i) * n + j] = total;
      }
  }
  return { value, scale, shape };
}

function expectClose(
  got: Float32Array,
  want: ArrayLike<number>,
  scale: ArrayLike<number>,
  label: string,
): void {
  expect(got.length, label).toBe(want.length);
  for (let i = 0; i < got.length; i++)
    if (!(Math.abs(got[i]! - want[i]!) <= 3e-7 * scale[i]! + 1e-38))
      expect.fail(`${label}: element ${i} is ${got[i]}, expected ${want[i]} (scale ${scale[i]})`);
}

function checkMatmul(a: Input, b: Input, target: WasmTarget, label = ""): void {
  const { value, scale, shape } = product(a, b);
  const [got] = runChecked(matmulWasm, [a, b], [shape], {}, target);
  expectClose(
    got!,
    value,
    scale,
    `${label} ${show(a.view.shape)} @ ${show(b.view.shape)}, strides ${show(a.view.strides)} ${show(b.view.strides)}`,
  );
}

describe.each(TARGETS)("width $width relaxed $relaxed", (target) => {
  test.each([
    [1, 1, 1],
    [6, 16, 16],
    [7, 5, 17],
    [13, 64, 33],
    [1, 100, 300],
    [300, 100, 1],
    [3, 7, 130],
    [130, 9, 2],
    [200, 401, 40],
    [20, 300, 1030],
    [40, 0, 24],
  ])("[%i, %i] @ [.., %i], every order of axes", (m, k, n) => {
    for (const [ta, tb] of [
      [false, false],
      [true, false],
      [false, true],
      [true, true],
    ]) {
      const a = strided([m, k], ta ? [0, 1] : [1, 0], 0, 0);
      const b = strided([k, n], tb ? [0, 1] : [1, 0], 0, 3);
      checkMatmul(a, b, target);
    }
  });

  test("a long inner axis is cut into parts", () => {
    checkMatmul(strided([24, 5000], [1, 0], 0, 0), strided([5000, 40], [1, 0], 0, 0), target);
    checkMatmul(strided([10, 4099], [0, 1], 0, 0), strided([4099, 3], [0, 1], 0, 0), target);
  });

  test("few rows with contiguous inner axes, and single columns", () => {
    for (const [m, k, n] of [
      [1, 1000, 33],
      [4, 37, 50],
      [2, 3, 1],
      [3, 16, 4100],
      [50, 70, 1],
      [1, 0, 5],
    ] as const) {
      checkMatmul(strided([m, k], [1, 0], 0, 0), strided([k, n], [0, 1], 2, 1), target);
      checkMatmul(strided([2, m, k], [2, 1, 0], 0, 0), strided([k, n], [1, 0], 0, 0), target);
    }
  });

  test("empty outputs and batches", () => {
    for (const [m, k, n] of [
      [0, 4, 5],
      [4, 5, 0],
    ] as const)
      checkMatmul(strided([m, k], [1, 0], 0, 0), strided([k, n], [1, 0], 0, 0), target);
    checkMatmul(strided([0, 3, 4], [2, 1, 0], 0, 0), strided([4, 5], [1, 0], 0, 0), target);
  });

  test("batches: broadcast, permuted, many small", () => {
    checkMatmul(strided([2, 3, 5, 7], [3, 1, 2, 0], 1, 2), strided([3, 7, 9], [2, 1, 0], 0, 0), target);
    checkMatmul(strided([3, 1, 5, 7], [3, 2, 1, 0], 0, 0), strided([1, 2, 7, 9], [3, 2, 1, 0], 0, 0), target);
    checkMatmul(strided([20, 12, 16], [2, 1, 0], 0, 0), strided([20, 16, 33], [1, 2, 0], 0, 0), target);
    checkMatmul(strided([4, 130, 20], [2, 1, 0], 0, 0), strided([20, 24], [1, 0], 5, 0), target);
    checkMatmul(
      strided([2, 2, 400, 8], [3, 1, 2, 0], 0, 0),
      strided([2, 2, 8, 20], [2, 1, 3, 0], 0, 0),
      target,
    );
  });

  test("NaN and infinity reach the outputs they belong to", () => {
    const a = strided([7, 20], [1, 0], 0, 0);
    const b = strided([20, 18], [1, 0], 0, 0);
    a.data[3 * 20 + 4] = NaN;
    const [got] = runChecked(matmulWasm, [a, b], [[7, 18]], {}, target);
    got!.forEach((x, i) => expect(Number.isNaN(x), `element ${i}`).toBe(Math.floor(i / 18) === 3));
  });
});

test("random shapes, strides and batches", () => {
  const axis = integer({ min: 1, max: 40 });
  assert(
    property(
      record({
        target: constantFrom(...TARGETS),
        m: axis,
        k: axis,
        n: axis,
        batch: integer({ min: 1, max: 3 }),
        orders: tuple(
          shuffledSubarray([0, 1, 2], { minLength: 3 }),
          shuffledSubarray([0, 1, 2], { minLength: 3 }),
        ),
        gap: integer({ min: 0, max: 3 }),
      }),
      ({ target, m, k, n, batch, orders, gap }) =>
        checkMatmul(
          strided([batch, m, k], orders[0], gap, 1),
          strided([batch, k, n], orders[1], gap, 0),
          target,
        ),
    ),
    { numRuns: 60, seed: 3 },
  );
});

describe.each(TARGETS)("linear, width $width relaxed $relaxed", (target) => {
  test.each(ACTIVATIONS)("%s with and without bias", (activation) => {
    for (const [m, k, n] of [
      [5, 12, 19],
      [40, 33, 64],
      [3, 4096, 5],
    ] as const)
      for (const biased of [true, false]) {
        const x: Input = { view: contiguous([m, k]), data: Float32Array.from({ length: m * k }, random) };
        const w: Input = { view: contiguous([n, k]), data: Float32Array.from({ length: n * k }, random) };
        const bias: Input = { view: contiguous([n]), data: Float32Array.from({ length: n }, random) };
        const inputs = biased ? [x, w, bias] : [x, w];
        const names: LinearInput[] = biased ? ["x", "w", "bias"] : ["x", "w"];
        const params: LinearParams = { activation, inputs: names };
        const count = activation === "none" || activation === "relu" ? 1 : 2;
        const shapes = Array.from({ length: count }, () => [m, n]);
        const got = runChecked(linearWasm, inputs, shapes, params, target);
        const want = shapes.map(() => ({ shape: [m, n], data: new Float64Array(m * n) }));
        const hosts = inputs.map((i) => ({ shape: i.view.shape, data: Float64Array.from(i.data) }));
        linearReference(hosts as never, want as never, params);
        // rounding grows with the absolute terms of a sum; activations have slopes of at most 1.13
        const swapped: Input = { ...w, view: { ...w.view, shape: [k, n], strides: [1, k] } };
        const scale = product(x, swapped).scale.map((t) => 1.2 * t + 2);
        got.forEach((g, i) =>
          expectClose(g, want[i]!.data, scale, `${activation} output ${i} of ${m}x${k}x${n}`),
        );
      }
  });
});
