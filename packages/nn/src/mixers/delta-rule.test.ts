import {
  abs,
  broadcastTo,
  einsum,
  eye,
  gradients,
  iota,
  less,
  matmul,
  max,
  mul,
  neg,
  random,
  rsqrt,
  sigmoid,
  softplus,
  square,
  sub,
  sum,
  tensor,
  where,
  type Tensor,
} from "@everlong/core";
import { describe, expect, test } from "vitest";
import { deltaRule, unitLowerInverse } from "./delta-rule.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const sample = (seed: number, ...shape: number[]): Tensor => random.normal(random.key(seed), shape);
const unit = (t: Tensor): Tensor => mul(t, rsqrt(sum(square(t), -1, { keepDims: true })));

const inputs = (time: number): readonly [Tensor, Tensor, Tensor, Tensor, Tensor] => [
  sample(1, 2, time, 2, 3),
  unit(sample(2, 2, time, 2, 3)),
  sample(3, 2, time, 2, 5),
  sigmoid(sample(4, 2, time, 2)),
  neg(softplus(sample(5, 2, time, 2))),
];

describe.each([1, 2, 7, 32, 33, 65])("time %i", (time) => {
  test.each([true, false])("chunks equal positions one by one, decay %s", async (decay) => {
    const [q, k, v, beta, g] = inputs(time);
    const initial = sample(6, 2, 2, 3, 5);
    const run = (form: "chunked" | "recurrent", chunk: number): { y: Tensor; state: Tensor } =>
      deltaRule(q, k, v, beta, decay ? g : undefined, { form, chunk, initial });
    const one = run("recurrent", 32);
    for (const chunk of [1, 5, 32]) {
      const many = run("chunked", chunk);
      expect(await distance(one.y, many.y)).toBeLessThan(1e-12);
      expect(await distance(one.state, many.state)).toBeLessThan(1e-12);
    }
  });
});

test("both forms have the same gradients", async () => {
  const all = inputs(37);
  const probe = sample(7, 2, 37, 2, 5);
  const [a, b] = (["chunked", "recurrent"] as const).map((form) => {
    const { y, state } = deltaRule(all[0], all[1], all[2], all[3], all[4], { form, chunk: 8 });
    return gradients(sum(mul(y, probe)).add(sum(state)), all);
  });
  for (const [i, g] of a!.entries()) expect(await distance(g, b![i]!)).toBeLessThan(1e-11);
});

test("a write replaces what the key held", async () => {
  // The same key three times with full strength: the last value alone remains.
  const k = broadcastTo(unit(sample(8, 1, 1, 1, 4)), [1, 3, 1, 4]);
  const v = sample(9, 1, 3, 1, 2);
  const { y } = deltaRule(k, k, v, tensor([[[1], [1], [1]]]), undefined);
  expect(await distance(y, v)).toBeLessThan(1e-14);
});

test("the state by its definition", async () => {
  const [q, k, v, beta, g] = inputs(6);
  let s = tensor(new Float64Array(2 * 2 * 3 * 5), [2, 2, 3, 5]);
  for (let t = 0; t < 6; t++) {
    const [kt, vt, bt] = [k.slice([null, t]), v.slice([null, t]), beta.slice([null, t])];
    const erase = sub(eye(3), mul(einsum("bhk,bhl->bhkl", kt, kt), bt.reshape([2, 2, 1, 1])));
    const decay = g.slice([null, t]).exp().reshape([2, 2, 1, 1]);
    const write = mul(einsum("bhk,bhv->bhkv", kt, vt), bt.reshape([2, 2, 1, 1]));
    s = mul(matmul(erase, s), decay).add(write);
  }
  expect(await distance(s, deltaRule(q, k, v, beta, g, { chunk: 4 }).state)).toBeLessThan(1e-13);
});

describe("inverse of a unit lower triangle", () => {
  test.each([1, 2, 3, 16, 33])("of size %i", async (n) => {
    const on = [iota([n, n], 0), iota([n, n], 1)] as const;
    const lower = where(less(on[1], on[0]), sample(10, 3, n, n).mul(0.3), 0);
    const product = matmul(unitLowerInverse(lower), eye(n).add(lower));
    expect(await distance(product, broadcastTo(eye(n), [3, n, n]))).toBeLessThan(1e-10);
  });

  test("stays accurate where powers of the triangle explode: equal keys", async () => {
    const n = 64;
    const ones = where(less(iota([n, n], 1), iota([n, n], 0)), tensor(1), 0).cast("f64");
    // The exact inverse has 1 on the diagonal and -1 below it.
    const [row, column] = [iota([n, n], 0), iota([n, n], 1)];
    const exact = sub(eye(n), row.sub(column).equal(1).cast("f64"));
    expect(await distance(unitLowerInverse(ones), exact)).toBe(0);
  });
});

test("wrong options", () => {
  const [q, k, v, beta] = inputs(3);
  expect(() => deltaRule(q, k, v, beta, undefined, { chunk: 0 })).toThrow(/positive integer/);
  expect(() => deltaRule(q, k, v, beta, undefined, { form: "fast" as never })).toThrow(/unknown form/);
});
