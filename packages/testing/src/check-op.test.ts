import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defineOp, mul, sum, type OpSpec, type Tensor } from "@everlong/core";
import { checkCase, checkOp } from "./check-op.ts";
import { integers } from "./random.ts";
import type { OpCase } from "./subject.ts";

const scaledSquare = {
  name: "scaled square (a function)",
  apply: ([x]: readonly Tensor[], { scale }: { scale: number }): Tensor => mul(mul(x!, x!), scale),
};

checkOp(scaledSquare, {
  cases: [
    { inputs: [[3]], params: { scale: 2 } },
    { inputs: [[2, 5]], params: { scale: -1 } },
  ],
  arbitrary: fc.record({
    inputs: fc.tuple(fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 3 })),
    params: fc.record({ scale: fc.constant(3) }),
  }),
  secondOrder: true,
  expected: ([x], { scale }) => [x!.data.map((v) => v * v * scale)],
});

type Params = { readonly power: number };
/** Row sums of x^power, times the row number given as an integer input. */
const spec: OpSpec<Params> = {
  name: "testing-row-powers",
  shape: ([x]) => [{ shape: [x!.shape[0]!], dtype: x!.dtype }],
  reference: ([x, weight], [out], { power }) => {
    const [rows, n] = x!.shape as [number, number];
    for (let i = 0; i < rows; i++) {
      out!.data[i] = 0;
      for (let j = 0; j < n; j++) out!.data[i]! += x!.data[i * n + j]! ** power * weight!.data[i]!;
    }
  },
  vjp: ({ inputs: [x, weight], params, cotangents: [g] }) => {
    const scaled = g!.mul(weight!.cast(g!.dtype)).unsqueeze(-1);
    return [scaled.mul(params.power).mul(x!.pow(params.power - 1))];
  },
  decompose: ([x, weight], { power }) => [sum(x!.pow(power), -1).mul(weight!.cast(x!.dtype))],
  batch: { fold: [true, true] },
  cost: ([x]) => ({ flops: 3 * x!.shape[0]! * x!.shape[1]!, bytes: 0 }),
};
const given: OpCase<Params> = {
  inputs: [[3, 4], { shape: [3], dtype: "i32", sample: integers(-2, 5) }],
  params: { power: 3 },
};

checkOp(defineOp(spec), { cases: [given, { ...given, params: { power: 2 } }], secondOrder: true });

describe("a broken op is found out", () => {
  let count = 0;
  const broken = (change: Partial<OpSpec<Params>>): Promise<void> =>
    checkCase(defineOp({ ...spec, ...change, name: `testing-broken-${count++}` }), given, {
      secondOrder: true,
    });

  test("the whole one passes", () => expect(broken({})).resolves.toBeUndefined());
  test("wrong gradient", async () => {
    const vjp: NonNullable<typeof spec.vjp> = (c) => spec.vjp!(c).map((g) => g && g.mul(1 + 1e-5));
    await expect(broken({ vjp, decompose: undefined } as Partial<OpSpec<Params>>)).rejects.toThrow(
      /gradient of input 0/,
    );
    await expect(broken({ vjp })).rejects.toThrow(/gradient 0 against the decomposition/);
  });
  test("wrong decomposition", async () => {
    await expect(
      broken({ decompose: (x, p) => spec.decompose!(x, p).map((t) => t.add(1e-6)) }),
    ).rejects.toThrow(/output 0 against the decomposition/);
  });
  test("an output element that nobody writes", async () => {
    const reference: typeof spec.reference = (x, y, p) => {
      spec.reference(x, y, p);
      y[0]!.data[2] = NaN;
    };
    await expect(broken({ reference })).rejects.toThrow(/NaN in output 0/);
  });
  test("an input that is written to", async () => {
    const reference: typeof spec.reference = (x, y, p) => {
      spec.reference(x, y, p);
      x[0]!.data[5] = 0;
    };
    await expect(broken({ reference, decompose: undefined } as Partial<OpSpec<Params>>)).rejects.toThrow(
      /input 0 is unchanged/,
    );
  });
  test("wrong batching rule", async () => {
    const batch: OpSpec<Params>["batch"] = ({ inputs, mapped, size, apply }) =>
      mapped.every(Boolean)
        ? apply([inputs[0]!.reshape([3 * size, 4]), inputs[1]!.transpose(0, 1).reshape([3 * size])]).map(
            (t) => t.reshape([size, 3]),
          )
        : undefined;
    await expect(broken({ batch })).rejects.toThrow(/vmap over inputs 0, 1/);
  });
  test("a gradient that does not differentiate", async () => {
    const frozen = defineOp({
      ...spec,
      name: "testing-frozen",
      vjp: undefined,
      decompose: undefined,
    } as unknown as OpSpec<Params>);
    const vjp: NonNullable<typeof spec.vjp> = (c) => {
      const g = spec.vjp!(c)[0]!;
      const one = frozen([g.mul(0).add(1), c.inputs[1]!.mul(0).add(1)], { power: 1 })[0]!;
      return [g.mul(one.unsqueeze(-1)).div(4)];
    };
    await expect(broken({ vjp })).rejects.toThrow(/has no gradient/);
  });
});
