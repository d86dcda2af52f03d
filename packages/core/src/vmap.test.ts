import { describe, expect, test } from "vitest";
import { Random, valuesOf } from "@everlong/testing";
import { grad, valueAndGrad } from "./autodiff.ts";
import { compile } from "./compile.ts";
import { recompute, scan } from "./ops/control.ts";
import { tensor } from "./ops/creation.ts";
import { add, mul, sin, square, sub, tanh } from "./ops/elementwise.ts";
import { take } from "./ops/indexing.ts";
import { matmul } from "./ops/linalg.ts";
import { slice, stack } from "./ops/movement.ts";
import { argmax, mean, sum } from "./ops/reduction.ts";
import { fft } from "./ops/signal.ts";
import * as random from "./random.ts";
import { device, setDefaultDevice } from "./settings.ts";
import type { Tensor } from "./tensor.ts";
import { vmap } from "./vmap.ts";

setDefaultDevice(device("reference"));
const noise = (shape: readonly number[], seed = 1): Tensor =>
  tensor(new Random(seed).normals(shape.reduce((a, b) => a * b, 1)), shape);

test("a sweep over six learning rates is one compiled step equal to six runs", async () => {
  const [x, y] = [noise([8, 3], 1), noise([8, 2], 2)];
  const start = noise([3, 2], 3);
  const train = (w: Tensor, rate: Tensor): { w: Tensor; loss: Tensor } => {
    const [loss, g] = valueAndGrad((v: Tensor) => mean(square(sub(tanh(matmul(x, v)), y))))(w);
    return { w: sub(w, mul(g, rate)), loss };
  };
  const rates = [0.01, 0.03, 0.1, 0.3, 1, 3];
  const sweep = compile((ws: Tensor, lr: Tensor) => vmap(train)(ws, lr));
  let together = stack(rates.map(() => start));
  const apart = rates.map(() => start);
  for (let step = 0; step < 4; step++) {
    const out = sweep(together, tensor(rates));
    together = out.w;
    for (const [i, rate] of rates.entries()) {
      const one = train(apart[i]!, tensor(rate));
      apart[i] = one.w;
      expect(await slice(out.loss, [i]).item()).toBeCloseTo(await one.loss.item(), 13);
      expect(await valuesOf(slice(together, [i]))).toBeCloseToArray(await valuesOf(one.w), 1e-13);
    }
  }
  expect(sweep.traces).toBe(1);
});

describe("axes and trees", () => {
  test("inAxes: any axis, negative ones, null to share", async () => {
    const [a, b] = [noise([2, 5, 3]), noise([3], 2)];
    const out = vmap((x: Tensor, y: Tensor) => sum(mul(x, y)), { inAxes: [1, null] })(a, b);
    expect(out.shape).toEqual([5]);
    const want = [];
    for (let i = 0; i < 5; i++) want.push(await sum(mul(slice(a, [null, i]), b)).item());
    expect(await out.toArray()).toBeCloseToArray(want, 1e-14);
    const last = vmap((x: Tensor) => sum(x), { inAxes: [-1] })(a);
    expect(last.shape).toEqual([3]);
  });
  test("trees in and out; a result that does not depend on the mapped input is repeated", async () => {
    const out = vmap((p: { w: Tensor; b: readonly Tensor[] }) => ({
      y: add(p.w, p.b[0]!),
      one: tensor([7]),
    }))({
      w: tensor([[1], [2]]),
      b: [tensor([10, 20])],
    });
    expect(await out.y.toArray()).toEqual([[11], [22]]);
    expect(await out.one.toArray()).toEqual([[7], [7]]);
  });
  test("nested", async () => {
    const [a, b] = [noise([3]), noise([4], 2)];
    const outer = vmap((x: Tensor) => vmap((y: Tensor) => mul(sin(x), y))(b))(a);
    const [va, vb] = [await valuesOf(a), await valuesOf(b)];
    expect(await outer.toArray()).toBeCloseToArray(
      [...va].flatMap((x) => [...vb].map((y) => Math.sin(x) * y)),
      1e-15,
    );
  });
  test("closes over outer tensors", async () => {
    const w = tensor([2, 3]);
    expect(
      await vmap((x: Tensor) => mul(x, w))(
        tensor([
          [1, 1],
          [5, 7],
        ]),
      ).toArray(),
    ).toEqual([
      [2, 3],
      [10, 21],
    ]);
  });
  test("an axis of one and an axis of none", async () => {
    const f = vmap((x: Tensor) => sum(square(x)));
    expect(await f(tensor([[1, 2]])).toArray()).toEqual([5]);
    expect(await f(noise([0, 2])).toArray()).toEqual([]);
  });
});

describe("with everything else", () => {
  const example = async (fn: (...x: Tensor[]) => Tensor, ...inputs: Tensor[]): Promise<void> => {
    const together = await valuesOf(vmap(fn)(...inputs));
    const apart: number[] = [];
    for (let i = 0; i < inputs[0]!.shape[0]!; i++) {
      apart.push(...(await valuesOf(fn(...inputs.map((t) => slice(t, [i]))))));
    }
    expect(together).toBeCloseToArray(apart, 1e-13);
  };
  test("per-example gradients", () =>
    example((x, y) => grad((v: Tensor) => sum(square(sub(tanh(v), y))))(x), noise([4, 3]), noise([4, 3], 2)));
  test("the gradient of a mapped function", async () => {
    const w = noise([3]);
    const xs = noise([5, 3], 2);
    const g = grad((v: Tensor) => sum(vmap((x: Tensor) => square(sum(mul(x, v))))(xs)))(w);
    const want = grad((v: Tensor) => sum(square(sum(mul(xs, v), 1))))(w);
    expect(await valuesOf(g)).toBeCloseToArray(await valuesOf(want), 1e-14);
  });
  test("scan: carry, sequence and captured constant mapped", () =>
    example(
      (h, xs, k) =>
        scan((c: Tensor, x: Tensor) => [tanh(add(mul(c, k), x)), mul(c, x)] as const, h, xs, {
          reverse: true,
        })[1],
      noise([3, 2]),
      noise([3, 4, 2], 2),
      noise([3, 2], 3),
    ));
  test("scan: only the captured constant mapped", async () => {
    const [h, xs, ks] = [noise([2]), noise([4, 2], 2), noise([3, 2], 3)];
    const run = (k: Tensor): Tensor =>
      scan((c: Tensor, x: Tensor) => [tanh(add(mul(c, k), x)), c] as const, h, xs)[0];
    const together = await valuesOf(vmap(run)(ks));
    const apart = [];
    for (let i = 0; i < 3; i++) apart.push(...(await valuesOf(run(slice(ks, [i])))));
    expect(together).toBeCloseToArray(apart, 1e-14);
  });
  test("gradient of a scan under vmap", () =>
    example(
      (h, xs) =>
        grad((v: Tensor) => sum(scan((c: Tensor, x: Tensor) => [tanh(mul(c, x)), c] as const, v, xs)[1]))(h),
      noise([3, 2]),
      noise([3, 4, 2], 2),
    ));
  test("recompute", () =>
    example((x) => grad((v: Tensor) => sum(recompute((u: Tensor) => sin(square(u)))(v)))(x), noise([3, 2])));
  test("fft, argmax and take", () =>
    example((x, y) => mul(fft(x).abs(), take(y, argmax(x, -1), 0)), noise([3, 7]), noise([3, 7], 2)));
  test("random keys: every example its own stream", async () => {
    const keys = stack(random.splitKey(random.key(5), 4));
    const together = await valuesOf(vmap((k: Tensor) => random.normal(k, [3]))(keys));
    const apart = [];
    for (let i = 0; i < 4; i++) apart.push(...(await valuesOf(random.normal(slice(keys, [i]), [3]))));
    expect([...together]).toEqual(apart);
  });
});

test("errors say what does not fit", () => {
  const f = (x: Tensor, y: Tensor): Tensor => add(x, y);
  expect(() => vmap(f)(noise([2]), noise([3]))).toThrow(
    "[vmap] mapped axes differ in size: expected 2, got 3 in [3].",
  );
  expect(() => vmap(f, { inAxes: [0] })(noise([2]), noise([2]))).toThrow(
    /inAxes and arguments differ in number: expected 2, got 1/,
  );
  expect(() => vmap(f, { inAxes: [null, null] })(noise([2]), noise([2]))).toThrow(/nothing is mapped/);
  expect(() => vmap(f, { inAxes: [1, 0] })(noise([2]), noise([2]))).toThrow(/\[vmap\] axis out of range/);
});
