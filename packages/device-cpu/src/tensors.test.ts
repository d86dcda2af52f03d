import {
  compile,
  concat,
  cumsum,
  flip,
  greater,
  matmul,
  max,
  mean,
  mul,
  narrow,
  pad,
  permute,
  random,
  reshape,
  roll,
  sigmoid,
  sin,
  softmax,
  sort,
  sum,
  take,
  tanh,
  tensor,
  transpose,
  unsqueeze,
  valueAndGrad,
  vmap,
  where,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { assert, asyncProperty, integer } from "fast-check";
import { expect, test } from "vitest";
import "./register.ts";
import { randomSource, randomStorage, runs } from "./step-harness.ts";

/** Rows and columns; every rule maps a matrix to a matrix. */
type Rule = (x: Tensor, random: () => number) => Tensor;
// Keeps values small: a sine of 500, say, magnifies the rounding of its argument by 500.
const clip = (x: Tensor): Tensor => tanh(x.mul(0.5));
const rules: readonly Rule[] = [
  (x) => tanh(x),
  (x) => sigmoid(x).mul(x),
  (x) => sin(clip(x)).add(0.5),
  (x) => x.sub(mean(x, 0, { keepDims: true })),
  (x) => x.div(x.abs().sum(1, { keepDims: true }).add(1)),
  (x) => clip(x.mul(max(x, 1, { keepDims: true }))),
  (x) => transpose(x),
  (x) => reshape(x, [x.shape[1]!, x.shape[0]!]),
  (x) => flip(x, 1).add(x),
  (x) => roll(x, 2, 0),
  (x) =>
    pad(
      x,
      [
        [1, 0],
        [0, 2],
      ],
      0.25,
    ),
  (x) => narrow(x, 0, 0, Math.max(1, x.shape[0]! - 1)),
  (x) => concat([x, x.mul(-1)], 1),
  (x) => clip(matmul(x, transpose(x))),
  (x) => clip(matmul(transpose(x), x)),
  (x) => softmax(x, 0),
  (x) => softmax(x),
  (x) => cumsum(x, 0).mul(0.2),
  (x) => cumsum(x, 1).mul(0.2),
  (x) => where(greater(x, 0.1), x.mul(2), x.mul(0.3)),
  (x, r) => take(x, tensor(Int32Array.from({ length: 5 }, () => Math.floor(r() * x.shape[0]!))), 0),
  (x) => clip(sum(mul(unsqueeze(x, 2), unsqueeze(narrow(x, 0, 0, 1), 1)), 0)),
  (x) => reshape(permute(reshape(x, [x.shape[0]!, x.shape[1]!, 1]), [2, 1, 0]), [x.shape[1]!, x.shape[0]!]),
  (x) => sort(x, { axis: 0 }).values,
];

/** The composition of a few rules drawn by `seed`, weighted to a scalar. */
function expression(seed: number): (x: Tensor) => Tensor {
  return (x) => {
    const draw = randomSource(seed);
    let y = x;
    for (let i = 0; i < 6; i++) {
      const next = rules[Math.floor(draw() * rules.length)]!(y, draw);
      if (next.shape[0]! * next.shape[1]! <= 4000) y = next;
    }
    const weight = tensor(randomStorage("f32", y.size, draw), y.shape);
    return sum(y.mul(weight));
  };
}

const shapeOf = (seed: number): [number, number] => [2 + (seed % 7), 3 + (seed % 11)];

test("random expressions and their gradients agree with the reference, eager and compiled", async () => {
  await assert(
    asyncProperty(integer({ min: 1, max: 1e9 }), async (seed) => {
      const shape = shapeOf(seed);
      const data = randomStorage("f32", shape[0] * shape[1], randomSource(seed));
      const f = valueAndGrad(expression(seed));
      const run = (name: string, compiled: boolean): Promise<number[]> =>
        withDevice(name, async () => {
          const call = compiled ? compile((x: Tensor) => f(x)) : f;
          const [value, gradient] = call(tensor(data, shape)) as [Tensor, Tensor];
          return [...(await value.data()), ...(await gradient.data())];
        });
      const want = await run("reference", false);
      for (const got of [await run("cpu", false), await run("cpu", true)]) {
        const scale = Math.max(1, ...want.map(Math.abs));
        got.forEach((g, i) => expect(Math.abs(g - want[i]!) / scale, `element ${i}`).toBeLessThan(2e-5));
      }
    }),
    runs(25),
  );
});

test("a mapped expression equals its runs one by one", async () => {
  await withDevice("cpu", async () => {
    for (const seed of [3, 14, 159]) {
      const [rows, columns] = shapeOf(seed);
      const f = expression(seed);
      const x = tensor(randomStorage("f32", 3 * rows * columns, randomSource(seed)), [3, rows, columns]);
      const mapped = await (vmap(f)(x) as Tensor).data();
      for (let i = 0; i < 3; i++) {
        const [one] = await f(reshape(narrow(x, 0, i, i + 1), [rows, columns])).data();
        expect(Math.abs(mapped[i]! - one!)).toBeLessThan(1e-4 * Math.max(1, Math.abs(one!)));
      }
    }
  });
});

test("uniforms are those of the reference bit for bit, normals to a few ulp", async () => {
  const draw = (name: string, normal: boolean): Promise<number[]> =>
    withDevice(name, async () => {
      const key = random.key(42);
      return [...(await (normal ? random.normal(key, [1001]) : random.uniform(key, [1001])).data())];
    });
  expect(await draw("cpu", false)).toEqual((await draw("reference", false)).map(Math.fround));
  const [got, want] = [await draw("cpu", true), await draw("reference", true)];
  got.forEach((g, i) => expect(Math.abs(g - want[i]!)).toBeLessThan(4e-6));
});
