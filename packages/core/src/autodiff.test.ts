import { describe, expect, test } from "vitest";
import { gradcheck, Random, valuesOf } from "@everlong/testing";
import { grad, gradients, valueAndGrad } from "./autodiff.ts";
import { after, recompute, scan, stopGradient } from "./ops/control.ts";
import { tensor } from "./ops/creation.ts";
import {
  add,
  cast,
  clamp,
  exp,
  gelu,
  maximum,
  mul,
  pow,
  relu,
  silu,
  sin,
  softplus,
  sqrt,
  square,
  sub,
  tanh,
  where,
} from "./ops/elementwise.ts";
import { einsum, matmul } from "./ops/linalg.ts";
import { concat, narrow, permute, reshape, roll, slice, tile } from "./ops/movement.ts";
import {
  cumprod,
  cumsum,
  logSoftmax,
  logSumExp,
  max,
  mean,
  norm,
  prod,
  softmax,
  sum,
  topK,
  variance,
} from "./ops/reduction.ts";
import { depthwiseConv1d, fft, ifft, irfft, rfft } from "./ops/signal.ts";
import { Complex } from "./ops/complex.ts";
import { take } from "./ops/indexing.ts";
import { device, setDefaultDevice } from "./settings.ts";
import type { Tensor } from "./tensor.ts";

setDefaultDevice(device("reference"));
const noise = (shape: readonly number[], seed = 1): Tensor =>
  tensor(new Random(seed).normals(shape.reduce((a, b) => a * b, 1)), shape);

describe("gradients", () => {
  test("a clamp passes cotangents at its bounds, where a maximum shares them", async () => {
    const x = tensor([-3, -1, 0.5, 2, 4, -Infinity, Infinity]);
    const slopes = (f: (x: Tensor) => Tensor): Promise<unknown> => gradients(sum(f(x)), [x])[0]!.toArray();
    expect(await slopes((t) => clamp(t, -1, 2))).toEqual([0, 1, 1, 1, 0, 0, 0]);
    expect(await slopes((t) => clamp(t, 2, -1))).toEqual([0, 0, 0, 0, 0, 0, 0]);
    expect(await slopes((t) => maximum(t, -1))).toEqual([0, 0.5, 1, 1, 1, 0, 1]);
    expect(await clamp(x, -1, Infinity).toArray()).toEqual([-1, -1, 0.5, 2, 4, -1, Infinity]);
    expect(await clamp(x, 2, -1).toArray()).toEqual([-1, -1, -1, -1, -1, -1, -1]);
  });

  test("of what does not depend on a tensor are zeros", async () => {
    const [x, y] = [tensor([1, 2]), tensor([3])];
    const [gx, gy] = gradients(sum(square(x)), [x, y]);
    expect([await gx!.toArray(), await gy!.toArray()]).toEqual([[2, 4], [0]]);
  });
  test("of several outputs with cotangents", async () => {
    const x = tensor([1, 2]);
    const [g] = gradients([mul(x, 3), sum(square(x))], [x], [tensor([1, 10]), tensor(100)]);
    expect(await g!.toArray()).toEqual([203, 430]);
  });
  test("with respect to a value in the middle, and to an input and a function of it", async () => {
    const x = tensor([1, 2]);
    const y = square(x);
    const loss = sum(mul(y, x));
    const [gy, gx] = gradients(loss, [y, x]);
    expect(await gy!.toArray()).toEqual([1, 2]);
    // y is a target: its own dependence on x is cut off, as for any input.
    expect(await gx!.toArray()).toEqual([1, 4]);
  });
  test("a tensor used many times collects from every use", async () => {
    const x = tensor([3]);
    const [g] = gradients(sum(add(add(mul(x, x), x), concat([x, x], 0))), [x]);
    expect(await g!.toArray()).toEqual([2 * (2 * 3 + 1) + 2]);
  });
  test("through integers there are none; casts between floats pass", async () => {
    const x = tensor([1.5, 2.5]);
    expect(await gradients(sum(cast(cast(x, "i32"), "f64")), [x])[0]!.toArray()).toEqual([0, 0]);
    const [g] = gradients(sum(cast(mul(cast(x, "f32"), 3), "f64")), [x]);
    expect([g!.dtype, await g!.toArray()]).toEqual(["f64", [3, 3]]);
  });
  test("of integers or of a vector without cotangents are refused", () => {
    const x = tensor([1, 2]);
    expect(() => gradients(mul(x, 2), [x])).toThrow(/needs a scalar or cotangents.*sum\(\) or mean\(\)/);
    expect(() => gradients(sum(cast(x, "i32")), [x])).toThrow(/needs a float output/);
    expect(() => gradients(sum(x), [cast(x, "i32")])).toThrow(/can only differentiate floats/);
  });
  test("ties share: max of equal elements, maximum of equal operands", async () => {
    const x = tensor([2, 1, 2]);
    expect(await gradients(max(x), [x])[0]!.toArray()).toEqual([0.5, 0, 0.5]);
    const [a, b] = [tensor([1, 2]), tensor([1, 0])];
    expect(await gradients(sum(maximum(a, b)), [a])[0]!.toArray()).toEqual([0.5, 1]);
  });
  test("products with zeros are exact", async () => {
    const x = tensor([
      [2, 0, 5],
      [0, 0, 3],
      [2, 3, 4],
    ]);
    const [g] = gradients(sum(prod(x, 1)), [x]);
    expect(await g!.toArray()).toEqual([
      [0, 10, 0],
      [0, 0, 0],
      [12, 8, 6],
    ]);
    const y = tensor([2, 0, 5]);
    expect(await gradients(sum(cumprod(y, 0)), [y])[0]!.toArray()).toEqual([1, 2 + 10, 0]);
  });
  test("x^n at zero: finite slopes where mathematics has them", async () => {
    const x = tensor([0, -2, 3]);
    expect(await gradients(sum(pow(x, 3)), [x])[0]!.toArray()).toEqual([0, 12, 27]);
    expect(await gradients(sum(pow(x, 0)), [x])[0]!.toArray()).toEqual([0, 0, 0]);
  });
  test("where does not let the branch not taken spoil the slope in a guarded form", async () => {
    const x = tensor([0, 4]);
    const safe = where(x.equal(0), 1, x);
    const [g] = gradients(sum(where(x.equal(0), 0, sqrt(safe))), [x]);
    expect(await g!.toArray()).toEqual([0, 0.25]);
  });
});

describe("grad and valueAndGrad", () => {
  test("of trees, with more arguments", async () => {
    const loss = (p: { w: Tensor; b: readonly Tensor[] }, x: Tensor): Tensor =>
      sum(add(mul(p.w, x), p.b[0]!));
    const [value, slope] = valueAndGrad(loss)({ w: tensor([2, 3]), b: [tensor([1, 1])] }, tensor([5, 7]));
    expect(await value.item()).toBe(33);
    expect(await slope.w.toArray()).toEqual([5, 7]);
    expect(await slope.b[0]!.toArray()).toEqual([1, 1]);
  });
  test("nested three deep", async () => {
    const third = grad((a: Tensor) =>
      sum(grad((b: Tensor) => sum(grad((c: Tensor) => sum(pow(c, 4)))(b)))(a)),
    );
    expect(await third(tensor([1, 2])).toArray()).toEqual([24, 48]);
  });
  test("closing over outer values", async () => {
    const outer = tensor([2, 3]);
    const both = grad((x: Tensor) => sum(mul(x, grad((y: Tensor) => sum(mul(square(y), x)))(outer))));
    // d/dx sum(x * 2 y x) = 4 x y
    expect(await both(tensor([5, 7])).toArray()).toEqual([4 * 5 * 2, 4 * 7 * 3]);
  });
  test("refuse functions that do not return a scalar", () => {
    expect(() => grad((x: Tensor) => mul(x, 2))(tensor([1, 2]))).toThrow(
      /must return a scalar tensor.*got \[2\]/,
    );
  });
});

describe("stopGradient, after and recompute", () => {
  test("a stopped value is a constant", async () => {
    const x = tensor([3]);
    expect(await gradients(sum(mul(x, stopGradient(x))), [x])[0]!.toArray()).toEqual([3]);
    expect(await stopGradient(x).toArray()).toEqual([3]);
  });
  test("after is the identity", async () => {
    const x = tensor([3]);
    const y = square(after(x, [sin(x)]));
    expect(await gradients(sum(y), [x])[0]!.toArray()).toEqual([6]);
  });
  test("recompute: the same values and gradients, captures and several arguments included", async () => {
    const [x, w, k] = [noise([4, 3]), noise([3, 3], 2), noise([3], 3)];
    const layer = (a: Tensor, m: Tensor): Tensor => tanh(add(matmul(tanh(matmul(a, m)), m), k));
    const run = async (f: typeof layer): Promise<Float64Array[]> => {
      const loss = sum(square(f(f(x, w), w)));
      const found = [];
      for (const t of [loss, ...gradients(loss, [x, w, k])]) found.push(await valuesOf(t));
      return found;
    };
    const [plain, again] = [await run(layer), await run(recompute(layer))];
    again.forEach((v, i) => expect(v).toBeCloseToArray(plain[i]!, 1e-14));
    await gradcheck((a, m, c) => recompute((b: Tensor) => sin(mul(b, c)))(matmul(a, m)), [x, w, k], {
      order: 2,
    });
  });
});

describe("scan", () => {
  const body = (w: Tensor) => (c: readonly [Tensor, Tensor], x: Tensor) => {
    const next = tanh(add(matmul(c[0], w), x));
    return [[next, add(c[1], sum(square(next)))] as const, mul(next, c[1])] as const;
  };
  function unrolled(w: Tensor, h: Tensor, xs: Tensor, reverse: boolean): [Tensor, Tensor, Tensor] {
    let carry = [h, tensor(0)] as readonly [Tensor, Tensor];
    const ys: Tensor[] = [];
    const length = xs.shape[0]!;
    for (let i = 0; i < length; i++) {
      const t = reverse ? length - 1 - i : i;
      const [next, y] = body(w)(carry, slice(xs, [t]));
      carry = next;
      ys[t] = reshape(y, [1, ...y.shape]);
    }
    return [carry[0], carry[1], concat(ys, 0)];
  }
  test.each([false, true])("gradients equal those of the unrolled loop (reverse: %s)", async (reverse) => {
    const [w, h, xs] = [mul(noise([3, 3]), 0.5), noise([2, 3], 2), noise([5, 2, 3], 3)];
    const scanned = (m: Tensor, s: Tensor, x: Tensor): [Tensor, Tensor, Tensor] => {
      const [[a, b], ys] = scan(body(m), [s, tensor(0)] as const, x, { reverse });
      return [a, b, ys];
    };
    const loss = ([a, b, ys]: [Tensor, Tensor, Tensor]): Tensor =>
      add(add(sum(mul(a, 0.3)), b), sum(sin(ys)));
    const [one, other] = [loss(scanned(w, h, xs)), loss(unrolled(w, h, xs, reverse))];
    expect(await valuesOf(one)).toBeCloseToArray(await valuesOf(other), 1e-14);
    const found = gradients(one, [w, h, xs]);
    for (const [i, g] of gradients(other, [w, h, xs]).entries()) {
      expect(await valuesOf(found[i]!)).toBeCloseToArray(await valuesOf(g), 1e-13);
    }
    await gradcheck((m, s, x) => scanned(m, s, x), [w, h, xs], { order: 2, directions: 1 });
  });
  test("carries of mixed dtype, sequences of integers, outputs that are null", async () => {
    const ids = tensor(new Int32Array([2, 0, 1, 2]));
    const table = noise([3, 2]);
    const run = (e: Tensor): Tensor => {
      const [[count, state]] = scan(
        (c: readonly [Tensor, Tensor], id: Tensor) =>
          [[add(c[0], id), tanh(add(c[1], reshape(take(e, reshape(id, [1])), [2])))], null] as const,
        [tensor(0, { dtype: "i32" }), tensor([0, 0])] as const,
        ids,
      );
      return mul(state, cast(count, "f64"));
    };
    await gradcheck(run, [table], { order: 2 });
  });
  test("a number of steps instead of sequences; a scan in a scan", async () => {
    const x = tensor([0.5]);
    const power = (v: Tensor, n: number): Tensor => scan((c: Tensor) => [mul(c, v), null] as const, v, n)[0];
    expect(await power(x, 3).toArray()).toEqual([0.0625]);
    await gradcheck(
      (v) => scan((c: Tensor) => [add(power(sin(c), 2), v), c] as const, v, 3)[1],
      [noise([2])],
      { order: 2 },
    );
  });
  test("a carry that changes its type is refused", () => {
    const xs = noise([3, 2]);
    expect(() =>
      scan((c: Tensor, x: Tensor) => [concat([c, x], 0), null] as const, tensor([0, 0]), xs),
    ).toThrow(/the carry changes its type: expected f64\[2\], got f64\[4\]/);
    expect(() => scan((c: Tensor) => [c, null] as const, tensor(0), [noise([2]), noise([3])])).toThrow(
      /differ in length.*\[2\], \[3\]/,
    );
  });
});

describe("built functions have the gradients that finite differences see", () => {
  const cases: {
    readonly [name: string]: readonly [
      (...x: Tensor[]) => Tensor | readonly Tensor[],
      ...(readonly number[])[],
    ];
  } = {
    relu: [(x) => relu(add(x, 5)), [3]],
    silu: [silu, [3, 2]],
    softplus: [softplus, [5]],
    gelu: [(x) => gelu(x), [5]],
    "tanh gelu": [(x) => gelu(x, { approximate: true }), [5]],
    softmax: [(x) => softmax(x), [3, 4]],
    "softmax over the first axis": [(x) => softmax(x, 0), [3, 4]],
    logSoftmax: [(x) => logSoftmax(x), [2, 5]],
    logSumExp: [(x) => logSumExp(x, [0, 2]), [2, 3, 2]],
    variance: [(x) => variance(x, 1, { correction: 1 }), [3, 4]],
    mean: [(x) => mean(x, [0]), [3, 4]],
    norm: [(x) => norm(x, 1), [3, 4]],
    cumsum: [(x) => cumsum(x, 0, { reverse: true }), [4, 2]],
    topK: [(x) => topK(x, 2).values, [3, 5]],
    broadcasting: [(x, y) => mul(sin(add(x, y)), y), [3, 1, 2], [4, 1]],
    "views of views": [
      (x) => reshape(permute(slice(x, [{ step: -2 }, null, { start: 1 }]), [2, 0, 1]), [2, -1]),
      [4, 3, 2],
    ],
    roll: [(x) => mul(roll(x, 3, 0), x), [5, 2]],
    tile: [(x) => sin(tile(x, 3, 1)), [2, 2]],
    "shared factor product": [(x, w) => matmul(x, w), [2, 3, 4], [4, 2]],
    "a vector times a vector": [(a, b) => matmul(a, b), [3], [3]],
    "vector products": [(a, m, b) => matmul(matmul(a, m), b), [3], [3, 4], [4]],
    "broadcast batch product": [(a, b) => matmul(a, b), [2, 1, 3, 2], [4, 2, 3]],
    einsum: [(a, b, c) => einsum("b i j, j k, b k -> i", a, b, c), [2, 3, 4], [4, 2], [2, 2]],
    "einsum with a diagonal": [(a) => einsum("b i i -> b", a), [2, 3, 3]],
    "fft of odd length": [
      (x) => {
        const z = fft(x);
        return [z.re, z.im];
      },
      [2, 7],
    ],
    "fft over the first axis, padded": [
      (x, y) => fft(new Complex(x, y), { axis: 0, n: 6 }).abs(),
      [5, 2],
      [5, 2],
    ],
    "ifft of a product": [(x, y) => ifft(fft(x).mul(fft(y))).re, [9], [9]],
    rfft: [(x) => rfft(x, { n: 10 }).squaredAbs(), [7]],
    "irfft, odd": [(x, y) => irfft(new Complex(x, y), { n: 7 }), [2, 4], [2, 4]],
    "irfft, even": [(x, y) => irfft(new Complex(x, y)), [5], [5]],
    depthwiseConv1d: [(x, w) => depthwiseConv1d(x, w), [2, 5, 3], [3, 4]],
    "complex division": [
      (a, b, c, d) => {
        const z = new Complex(a, b).div(new Complex(c, d)).exp();
        return [z.re, z.im];
      },
      [3],
      [3],
      [3],
      [3],
    ],
    narrowing: [(x) => sub(narrow(x, 1, 1, 4), exp(narrow(x, 1, 0, 3))), [2, 4]],
  };
  test.each(Object.keys(cases))("%s", async (name) => {
    const [fn, ...shapes] = cases[name]!;
    const inputs = shapes.map((shape, i) => noise(shape, 5 + i));
    await gradcheck(fn, inputs, { order: 1 });
    await gradcheck(fn, inputs, { order: 2, tolerance: 1e-6 });
  });
});

test("relu has slope 0 at 0 and keeps NaN", async () => {
  const x = tensor([0, -0, 1e-300, -2, 3, Number.NEGATIVE_INFINITY, Number.NaN]);
  const [g] = gradients(sum(relu(x)), [x]);
  expect(Array.from(await g!.data(), Number).slice(0, 6)).toEqual([0, 0, 1, 0, 1, 0]);
  expect(Array.from(await relu(x).data(), Number)).toEqual([0, 0, 1e-300, 0, 3, 0, Number.NaN]);
});
