// The functions that users call, against plain formulas: promotion, broadcasting, defaults, edges.

import { describe, expect, test } from "vitest";
import { Random, valuesOf } from "@everlong/testing";
import { device, setDefaultDevice } from "../settings.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { Complex } from "./complex.ts";
import { arange, convertArray, eye, full, linspace, ones, tensor, zeros, zerosLike } from "./creation.ts";
import * as e from "./elementwise.ts";
import { oneHot, scatterAdd, scatterSet, segmentSum, take, takeAlong } from "./indexing.ts";
import { einsum, matmul, outer } from "./linalg.ts";
import * as m from "./movement.ts";
import * as r from "./reduction.ts";
import { depthwiseConv1d, fft, ifft, irfft, rfft } from "./signal.ts";
import "../methods.ts";

setDefaultDevice(device("reference"));
const noise = (shape: readonly number[], seed = 1): Tensor =>
  tensor(new Random(seed).normals(sizeOf(shape)), shape);
const list = (t: Tensor): Promise<unknown> => t.toArray();

describe("creation", () => {
  test("nested numbers, booleans, typed arrays, and their dtypes", async () => {
    expect([
      tensor([
        [1, 2],
        [3, 4],
      ]).shape,
      tensor(5).shape,
      tensor([]).shape,
      tensor([[], []]).shape,
    ]).toEqual([[2, 2], [], [0], [2, 0]]);
    expect([
      tensor([1]).dtype,
      tensor([true]).dtype,
      tensor(new Int32Array(1)).dtype,
      tensor(new Uint8Array(1)).dtype,
    ]).toEqual(["f64", "bool", "i32", "u8"]);
    expect(tensor(new Float32Array(1)).dtype).toBe("f64");
    expect(tensor(new Float16Array(1)).dtype).toBe("f16");
    expect(await list(tensor([0.1], { dtype: "bf16" }))).toEqual([0.10009765625]);
    expect(await list(tensor(new Int32Array([1, 2, 3, 4]), [2, 2]))).toEqual([
      [1, 2],
      [3, 4],
    ]);
    const source = new Float64Array([1, 2]);
    const copy = tensor(source);
    source[0] = 9;
    expect(await list(copy)).toEqual([1, 2]);
  });
  test("arange, linspace, eye, full", async () => {
    expect(await list(arange(3))).toEqual([0, 1, 2]);
    expect([arange(3).dtype, arange(0, 1, 0.25).dtype]).toEqual(["i32", "f64"]);
    expect(await list(arange(0, 1, 0.25))).toEqual([0, 0.25, 0.5, 0.75]);
    expect(await list(arange(5, -2, -3))).toEqual([5, 2, -1]);
    expect(await list(arange(2, 2))).toEqual([]);
    expect(await list(linspace(1, 2, 5))).toEqual([1, 1.25, 1.5, 1.75, 2]);
    expect(await list(linspace(3, 9, 1))).toEqual([3]);
    expect(await list(eye(2, 3))).toEqual([
      [1, 0, 0],
      [0, 1, 0],
    ]);
    expect(await list(full([2], 7, { dtype: "i32" }))).toEqual([7, 7]);
    expect(await list(zerosLike(ones([2], { dtype: "u8" })))).toEqual([0, 0]);
    expect([...convertArray(Float64Array.of(1.5, 300), "f64", "u8")]).toEqual([1, 255]);
  });
});

describe("elementwise", () => {
  test("numbers take the tensor's dtype, unless they do not fit it", () => {
    const i = tensor([1], { dtype: "i32" });
    const f = tensor([1], { dtype: "f32" });
    expect([e.add(i, 1).dtype, e.add(i, 0.5).dtype, e.add(f, 0.5).dtype, e.mul(2, f).dtype]).toEqual([
      "i32",
      "f64",
      "f32",
      "f32",
    ]);
    expect([e.add(i, f).dtype, e.div(i, i).dtype, e.quotient(i, i).dtype, e.exp(i).dtype]).toEqual([
      "f32",
      "f64",
      "i32",
      "f64",
    ]);
    expect([e.less(i, f).dtype, e.equal(i, 1).dtype, e.where(e.less(i, 2), i, 0.5).dtype]).toEqual([
      "bool",
      "bool",
      "f64",
    ]);
    expect([e.add(tensor([true]), 1).dtype, e.and(tensor([true]), false).dtype]).toEqual(["i32", "bool"]);
  });
  test("broadcasting of every pair of ranks", async () => {
    for (const [a, b] of [
      [[3, 1], [4]],
      [[], [2, 3]],
      [
        [2, 1, 3],
        [5, 1],
      ],
      [[1], [0]],
      [
        [2, 0],
        [1, 1],
      ],
    ] as const) {
      const [x, y] = [noise(a), noise(b, 2)];
      const sumShape = e.add(x, y).shape;
      const [wide, other] = [m.broadcastTo(x, sumShape), m.broadcastTo(y, sumShape)];
      const [v, w] = [await valuesOf(wide), await valuesOf(other)];
      expect(await valuesOf(e.add(x, y))).toEqual(v.map((p, i) => p + w[i]!));
    }
  });
  test("integer and special values", async () => {
    const i = tensor([7, -7], { dtype: "i32" });
    expect([await list(e.quotient(i, 2)), await list(e.mod(i, 3)), await list(e.div(i, 2))]).toEqual([
      [3, -3],
      [1, 2],
      [3.5, -3.5],
    ]);
    expect(await list(e.pow(tensor([2, 3]), 0.5))).toBeCloseToArray([Math.SQRT2, Math.sqrt(3)], 1e-15);
    expect(await list(e.pow(tensor([2, -3]), -1))).toEqual([0.5, -1 / 3]);
    expect(await list(e.isNaN(tensor([NaN, 1])))).toEqual([1, 0]);
    expect(await list(e.clamp(tensor([-2, 0.5, 9, NaN]), -1, 1))).toEqual([-1, 0.5, 1, NaN]);
    expect(await list(e.softplus(tensor([-800, 0, 800])))).toEqual([0, Math.LN2, 800]);
    expect(await list(e.sigmoid(tensor([-800, 0, 800])))).toEqual([0, 0.5, 1]);
    expect(await list(e.gelu(tensor([-40, 0, 40])))).toEqual([-0, 0, 40].map((x) => expect.closeTo(x, 15)));
    expect(await list(e.where(tensor([true, false]), 1, 0))).toEqual([1, 0]);
    expect(await list(e.not(tensor([true, false])))).toEqual([0, 1]);
    expect(await list(e.round(tensor([0.5, 1.5, -2.5])))).toEqual([0, 2, -2]);
  });
});

describe("movement", () => {
  const x = arange(24).reshape([2, 3, 4]);
  test("slice: indices, ranges, steps, from the end", async () => {
    expect(await list(m.slice(x, [1, { start: 1 }, -1]))).toEqual([19, 23]);
    expect(await list(m.slice(x, [null, 0, { start: 2, stop: 0, step: -1 }]))).toEqual([
      [2, 1],
      [14, 13],
    ]);
    expect(await list(m.slice(x, [0, { step: -2 }, { start: -2 }]))).toEqual([
      [10, 11],
      [2, 3],
    ]);
    expect(m.slice(x, [null, { start: 5 }]).shape).toEqual([2, 0, 4]);
    expect(m.slice(x, [null, { start: 2, stop: 1 }]).shape).toEqual([2, 0, 4]);
    expect(await list(m.slice(arange(5), [{ start: 3, step: -1 }]))).toEqual([3, 2, 1, 0]);
  });
  test("narrow is strict where slice is lenient", () => {
    expect(m.narrow(x, 1, 1, 3).shape).toEqual([2, 2, 4]);
    expect(m.narrow(x, -1, 2, 2).shape).toEqual([2, 3, 0]);
    expect(() => m.narrow(x, 1, 1, 4)).toThrow(
      /\[narrow\] leaves axis 1: expected 0 <= start <= stop <= 3, got 1..4/,
    );
    expect(() => m.narrow(x, 1, 2, 1)).toThrow(/leaves axis 1/);
    expect(() => m.narrow(x, 1, -1, 1)).toThrow(/leaves axis 1/);
  });
  test("slices of slices of transposes, flips of reshapes", async () => {
    const y = m.flip(m.slice(m.permute(m.flip(x, [0, 2]), [2, 0, 1]), [{ start: 1 }, null, { step: 2 }]), 1);
    const plain = (await list(x)) as number[][][];
    const want = [1, 2, 3].map((c) => [1, 0].map((a) => [0, 2].map((b) => plain[1 - a]![b]![3 - c]!)));
    expect(await list(y)).toEqual(want);
    expect(await list(m.reshape(m.transpose(arange(6).reshape([2, 3])), [6]))).toEqual([0, 3, 1, 4, 2, 5]);
  });
  test("concat, stack, split, roll, tile, repeat, pad, squeeze, flattenAxes", async () => {
    const v = arange(4);
    expect(await list(m.stack([v, v], 1))).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
    expect(await list(m.stack([v, v], -1))).toEqual([
      [0, 0],
      [1, 1],
      [2, 2],
      [3, 3],
    ]);
    expect(await Promise.all(m.split(v, [1, 3]).map(list))).toEqual([[0], [1, 2, 3]]);
    expect(await Promise.all(m.split(v, 2).map(list))).toEqual([
      [0, 1],
      [2, 3],
    ]);
    expect(await Promise.all([1, -1, 4, 6, -9].map((s) => list(m.roll(v, s))))).toEqual([
      [3, 0, 1, 2],
      [1, 2, 3, 0],
      [0, 1, 2, 3],
      [2, 3, 0, 1],
      [1, 2, 3, 0],
    ]);
    expect(await list(m.tile(arange(2), 3, 0))).toEqual([0, 1, 0, 1, 0, 1]);
    expect(await list(m.repeat(arange(2), 3, 0))).toEqual([0, 0, 0, 1, 1, 1]);
    expect(await list(m.pad(arange(2), [[1, 2]], 9))).toEqual([9, 0, 1, 9, 9]);
    expect(await list(m.pad(ones([1, 1], { dtype: "i32" }), [[0, 1]]))).toEqual([[1, 0]]);
    expect(m.squeeze(ones([1, 3, 1])).shape).toEqual([3]);
    expect(m.squeeze(ones([1, 3, 1]), -1).shape).toEqual([1, 3]);
    expect(m.unsqueeze(v, -1).shape).toEqual([4, 1]);
    expect(m.flattenAxes(x, 1).shape).toEqual([2, 12]);
    expect(m.reshape(x, [-1, 6]).shape).toEqual([4, 6]);
    expect(m.reshape(zeros([0, 3]), [-1, 3]).shape).toEqual([0, 3]);
  });
});

describe("reductions", () => {
  test("axes, keepDims, dtypes", async () => {
    const x = noise([2, 3, 4]);
    expect([
      r.sum(x).shape,
      r.sum(x, -1).shape,
      r.sum(x, [0, 2]).shape,
      r.sum(x, [0, 2], { keepDims: true }).shape,
    ]).toEqual([[], [2, 3], [3], [1, 3, 1]]);
    expect([r.sum(tensor([true, true])).dtype, r.mean(arange(3)).dtype, r.argmax(x).dtype]).toEqual([
      "i32",
      "f64",
      "i32",
    ]);
    expect(await r.sum(tensor([true, true, false])).item()).toBe(2);
    expect(await r.mean(arange(4)).item()).toBe(1.5);
    expect(
      await list(
        r.any(
          tensor([
            [0, 0],
            [0, 2],
          ]),
          1,
        ),
      ),
    ).toEqual([0, 1]);
    expect(
      await list(
        r.all(
          tensor([
            [1, 0],
            [3, 2],
          ]),
          1,
        ),
      ),
    ).toEqual([0, 1]);
    expect(await r.sum(zeros([0])).item()).toBe(0);
    expect(await r.mean(zeros([0])).item()).toBeNaN();
    expect(r.sum(x, []).shape).toEqual([2, 3, 4]);
  });
  test("variance, norm, logSumExp and softmax do not overflow", async () => {
    const x = tensor([1, 2, 4, 9]);
    expect(await r.variance(x).item()).toBe(9.5);
    expect(await r.variance(x, 0, { correction: 1 }).item()).toBeCloseTo(38 / 3, 14);
    expect(await r.norm(tensor([3, 4])).item()).toBe(5);
    expect(await r.logSumExp(tensor([1000, 1000])).item()).toBeCloseTo(1000 + Math.LN2, 12);
    expect(await r.logSumExp(tensor([-Infinity, -Infinity])).item()).toBe(-Infinity);
    expect(await r.logSumExp(tensor([Infinity, 0])).item()).toBe(Infinity);
    expect(
      await list(
        r.logSumExp(
          tensor([
            [0, 0],
            [-Infinity, 3],
          ]),
          -1,
        ),
      ),
    ).toBeCloseToArray([Math.LN2, 3], 1e-15);
    expect(await list(r.softmax(tensor([1000, 1000, -1000])))).toEqual([0.5, 0.5, 0]);
    expect(await list(r.logSoftmax(tensor([0, 0])))).toBeCloseToArray([-Math.LN2, -Math.LN2], 1e-15);
  });
  test("topK, sort, argsort, running reductions", async () => {
    const x = tensor([3, 1, 2, 3]);
    const top = r.topK(x, 2);
    expect([await list(top.values), await list(top.indices)]).toEqual([
      [3, 3],
      [0, 3],
    ]);
    expect(await list(r.topK(x, 1, { largest: false }).indices)).toEqual([1]);
    expect(await list(r.argsort(x))).toEqual([1, 2, 0, 3]);
    expect(() => r.topK(x, 5)).toThrow(/leaves axis/);
    expect(
      await list(
        r.cumsum(
          tensor([
            [1, 2],
            [3, 4],
          ]),
          0,
        ),
      ),
    ).toEqual([
      [1, 2],
      [4, 6],
    ]);
    expect(await list(r.cummax(x))).toEqual([3, 3, 3, 3]);
    expect(await list(r.cummin(x, 0, { reverse: true }))).toEqual([1, 1, 2, 3]);
  });
});

describe("indexing", () => {
  test("take, takeAlong, scatter, oneHot, segmentSum", async () => {
    const x = tensor([
      [1, 2],
      [3, 4],
      [5, 6],
    ]);
    const at = tensor(new Int32Array([2, 0]));
    expect(await list(take(x, at))).toEqual([
      [5, 6],
      [1, 2],
    ]);
    expect(take(x, at.reshape([1, 2]), 1).shape).toEqual([3, 1, 2]);
    expect(await list(takeAlong(x, tensor(new Int32Array([1, 0, 1]), [3, 1])))).toEqual([[2], [3], [6]]);
    expect(await list(scatterAdd(zeros([3]), tensor(new Int32Array([1, 1, 5])), tensor([1, 2, 4])))).toEqual([
      0, 3, 0,
    ]);
    expect(await list(scatterSet(zeros([3]), tensor(new Int32Array([1, 1, -1])), tensor([1, 2, 4])))).toEqual(
      [0, 2, 0],
    );
    expect(await list(oneHot(tensor(new Int32Array([1, 7])), 3))).toEqual([
      [0, 1, 0],
      [0, 0, 0],
    ]);
    expect(await list(segmentSum(x, tensor(new Int32Array([1, 0, 1])), 3))).toEqual([
      [3, 4],
      [6, 8],
      [0, 0],
    ]);
    expect(await list(take(x, tensor(new Uint8Array([1]))))).toEqual([[3, 4]]);
  });
});

describe("products", () => {
  test("matmul of vectors, matrices and batches", async () => {
    const [a, b] = [
      tensor([
        [1, 2],
        [3, 4],
      ]),
      tensor([5, 6]),
    ];
    expect(await list(matmul(a, b))).toEqual([17, 39]);
    expect(await list(matmul(b, a))).toEqual([23, 34]);
    expect(await matmul(b, b).item()).toBe(61);
    expect(matmul(zeros([7, 1, 2, 3]), zeros([5, 3, 4])).shape).toEqual([7, 5, 2, 4]);
    expect(matmul(zeros([0, 2, 3]), zeros([3, 4])).shape).toEqual([0, 2, 4]);
    expect(matmul(ones([2, 2], { dtype: "f32" }), ones([2, 2])).dtype).toBe("f64");
    expect(await list(outer(b, b))).toEqual([
      [25, 30],
      [30, 36],
    ]);
  });
  const sizes: Readonly<Record<string, number>> = { a: 2, b: 3, c: 4, d: 2, e: 1 };
  test.each([
    "ab,bc->ac",
    "ab,bc->ca",
    "ab->ba",
    "ab->",
    "ab->b",
    "ab,ab->",
    "a,b->ab",
    "abc,cd->abd",
    "abc,abd->acd",
    "aab,b->a",
    "ab,b,bc->ac",
    "ab,cd->abcd",
    "abc,bce,ed->ad",
    "ab,bc",
    "e,ae->a",
    "aa",
    "aa->a",
    "abc->cba",
  ])("einsum %s", async (equation) => {
    const [left, right] = equation.split("->") as [string, string | undefined];
    const terms = left.split(",");
    const inputs = terms.map((t, i) =>
      noise(
        [...t].map((c) => sizes[c]!),
        i,
      ),
    );
    const letters = [...new Set(terms.join(""))];
    const output =
      right ??
      letters
        .filter((c) => terms.join("").split(c).length === 2)
        .sort()
        .join("");
    const data = await Promise.all(inputs.map(valuesOf));
    const strides = (labels: string): Map<string, number> => {
      const out = new Map<string, number>();
      let step = 1;
      for (const c of [...labels].reverse()) {
        out.set(c, (out.get(c) ?? 0) + step);
        step *= sizes[c]!;
      }
      return out;
    };
    const all = terms.map(strides);
    const outStrides = strides(output);
    const want = new Float64Array([...output].reduce((n, c) => n * sizes[c]!, 1));
    const total = letters.reduce((n, c) => n * sizes[c]!, 1);
    for (let at = 0; at < total; at++) {
      let rest = at;
      const index = new Map<string, number>();
      for (const c of letters) {
        index.set(c, rest % sizes[c]!);
        rest = Math.floor(rest / sizes[c]!);
      }
      const place = (s: Map<string, number>): number =>
        [...s].reduce((sum, [c, step]) => sum + index.get(c)! * step, 0);
      want[place(outStrides)]! += data.reduce((product, d, i) => product * d[place(all[i]!)]!, 1);
    }
    const got = einsum(equation, ...inputs);
    expect(got.shape).toEqual([...output].map((c) => sizes[c]!));
    expect(await valuesOf(got)).toBeCloseToArray(want, 1e-14);
  });
});

describe("signals", () => {
  const dft = (re: number[], im: number[], sign: number): [number[], number[]] => {
    const n = re.length;
    const part = (f: (a: number, b: number, c: number, s: number) => number): number[] =>
      re.map((_, k) =>
        re.reduce((sum, __, t) => {
          const angle = (sign * 2 * Math.PI * ((k * t) % n)) / n;
          return sum + f(re[t]!, im[t]!, Math.cos(angle), Math.sin(angle));
        }, 0),
      );
    return [part((a, b, c, s) => a * c - b * s), part((a, b, c, s) => a * s + b * c)];
  };
  test.each([1, 2, 3, 5, 8, 12, 15])("fft, ifft, rfft, irfft of length %i", async (n) => {
    const [re, im] = [noise([n]), noise([n], 2)];
    const [a, b] = [[...(await valuesOf(re))], [...(await valuesOf(im))]];
    const z = fft(new Complex(re, im));
    const [wantRe, wantIm] = dft(a, b, -1);
    expect([await list(z.re), await list(z.im)]).toBeCloseToArray([wantRe, wantIm] as never, 1e-13);
    const back = ifft(z);
    expect([await list(back.re), await list(back.im)]).toBeCloseToArray([a, b] as never, 1e-14);
    const half = rfft(re);
    expect(half.shape).toEqual([Math.floor(n / 2) + 1]);
    expect(await list(half.re)).toBeCloseToArray(
      dft(
        a,
        a.map(() => 0),
        -1,
      )[0].slice(0, half.shape[0]),
      1e-13,
    );
    expect(await list(irfft(half, { n }))).toBeCloseToArray(a, 1e-14);
  });
  test("irfft ignores the imaginary parts of bins that are their own mirror image", async () => {
    const z = new Complex(tensor([1, 2, 3]), tensor([7, 5, 9]));
    const clean = new Complex(tensor([1, 2, 3]), tensor([0, 5, 0]));
    expect(await list(irfft(z))).toBeCloseToArray((await list(irfft(clean))) as number[], 1e-15);
  });
  test("n cuts and pads; axis transforms another axis", async () => {
    const x = noise([5, 2]);
    const cut = fft(x, { axis: 0, n: 3 });
    const padded = fft(x, { axis: 0, n: 8 });
    expect([cut.shape, padded.shape]).toEqual([
      [3, 2],
      [8, 2],
    ]);
    const column = [...(await valuesOf(m.slice(x, [null, 1])))];
    expect(await list(m.slice(cut.re, [null, 1]))).toBeCloseToArray(
      dft(column.slice(0, 3), [0, 0, 0], -1)[0],
      1e-13,
    );
    const wide = [...column, 0, 0, 0];
    expect(await list(m.slice(padded.im, [null, 1]))).toBeCloseToArray(
      dft(
        wide,
        wide.map(() => 0),
        -1,
      )[1],
      1e-13,
    );
  });
  test("depthwiseConv1d is a causal correlation", async () => {
    const [x, w] = [noise([2, 6, 3]), noise([3, 4], 2)];
    const [a, b] = [await valuesOf(x), await valuesOf(w)];
    for (const left of [3, 0, 2]) {
      const want = Float64Array.from({ length: 36 }, (_, at) => {
        const [batch, t, d] = [Math.floor(at / 18), Math.floor(at / 3) % 6, at % 3];
        return [0, 1, 2, 3].reduce((sum, j) => {
          const s = t + j - left;
          return s < 0 || s >= 6 ? sum : sum + b[d * 4 + j]! * a[(batch * 6 + s) * 3 + d]!;
        }, 0);
      });
      expect(await valuesOf(depthwiseConv1d(x, w, { left }))).toBeCloseToArray(want, 1e-14);
    }
  });
});

test("complex algebra", async () => {
  const [z, w] = [
    new Complex(tensor([1, -2]), tensor([2, 0.5])),
    new Complex(tensor([0.5, 3]), tensor([-1, 4])),
  ];
  const pairs = async (c: Complex): Promise<[number, number][]> => {
    const [re, im] = [await valuesOf(c.re), await valuesOf(c.im)];
    return [...re].map((x, i) => [x, im[i]!]);
  };
  expect(await pairs(z.mul(w))).toEqual([
    [2.5, 0],
    [-8, -6.5],
  ]);
  expect(await pairs(z.div(w).mul(w))).toBeCloseToArray(await pairs(z), 1e-15);
  expect(await pairs(z.conj())).toEqual([
    [1, -2],
    [-2, -0.5],
  ]);
  expect(await list(z.abs())).toBeCloseToArray([Math.sqrt(5), Math.sqrt(4.25)], 1e-15);
  expect(await list(z.angle())).toBeCloseToArray([Math.atan2(2, 1), Math.atan2(0.5, -2)], 1e-15);
  expect(await pairs(Complex.polar(z.abs(), z.angle()))).toBeCloseToArray(await pairs(z), 1e-15);
  expect(await pairs(z.exp())).toBeCloseToArray(
    [
      [Math.E * Math.cos(2), Math.E * Math.sin(2)],
      [Math.exp(-2) * Math.cos(0.5), Math.exp(-2) * Math.sin(0.5)],
    ],
    1e-15,
  );
  expect(await pairs(z.add(w).sub(w).neg().scale(2))).toBeCloseToArray(
    [
      [-2, -4],
      [4, -1],
    ],
    1e-15,
  );
});
