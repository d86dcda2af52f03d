import { describe, expect, test } from "vitest";
import { Variable, compile, cumsum, device, mul, sin, tensor, withDevice, type Tensor } from "@everlong/core";
import { causality, gradcheck, leaks, maxError, Random, relativeError } from "./index.ts";

const reference = device("reference");
const noise = (...shape: number[]): Tensor =>
  tensor(new Random(3).normals(shape.reduce((a, b) => a * b, 1)), shape, { dtype: "f64", device: reference });

describe("relativeError", () => {
  test("is the Euclidean norm of the difference over that of the wanted", () => {
    expect(relativeError([3, 5], [3, 4])).toBeCloseTo(1 / 5, 15);
    expect(relativeError([0, 2], [0, 0])).toBe(2);
    expect(relativeError([], [])).toBe(0);
  });
  test("NaN and infinities must stand at the same places", () => {
    expect(relativeError([NaN, Infinity, 1], [NaN, Infinity, 1])).toBe(0);
    expect(relativeError([NaN], [1])).toBe(Infinity);
    expect(relativeError([1], [NaN])).toBe(Infinity);
    expect(relativeError([Infinity], [-Infinity])).toBe(Infinity);
    expect(relativeError([1], [1, 2])).toBe(Infinity);
    expect(maxError([1, 2.5, NaN], [1, 2, NaN])).toBe(0.25);
    expect(maxError([1], [Infinity])).toBe(Infinity);
  });
});

test("toBeCloseToArray", () => {
  expect([1, [2, 3.0000001]]).toBeCloseToArray(Float32Array.of(1, 2, 3), 1e-7);
  expect([1, 2]).not.toBeCloseToArray([1, 2.1]);
  expect(() => expect([1, 2]).toBeCloseToArray([1, 2.1])).toThrow(/at 1: 2 instead of 2.1/);
  expect(() => expect([1, 2]).toBeCloseToArray([1])).toThrow("2 elements instead of 1");
});

describe("gradcheck", () => {
  test("accepts what is right, to many digits, twice", async () => {
    expect(await gradcheck((x) => sin(x).mul(x), [noise(3, 5)])).toBeLessThan(1e-10);
    expect(await gradcheck((x) => sin(x).mul(x), [noise(3, 5)], { order: 2 })).toBeLessThan(1e-9);
  });
  test("needs float64", async () => {
    const x = withDevice(reference, () => tensor([1], { dtype: "f32" }));
    await expect(gradcheck(sin, [x])).rejects.toThrow("not float64");
  });
});

describe("causality", () => {
  test("accepts a running sum", () => causality((x) => cumsum(x, 1), noise(2, 9, 3)));
  test("accepts a delay and sees a missing one", async () => {
    const late = (x: Tensor): Tensor =>
      cumsum(x, 1)
        .pad([
          [0, 0],
          [2, 0],
          [0, 0],
        ])
        .narrow(1, 0, 9);
    await causality(late, noise(2, 9, 3), { delay: 2 });
    await expect(causality((x) => cumsum(x, 1), noise(2, 9, 3), { delay: 1 })).rejects.toThrow(
      "depends on the input",
    );
    await expect(causality(late, noise(2, 9, 3))).rejects.toThrow("ignores the input");
  });
  test("sees a leak from the future, however small", async () => {
    const leaky = (x: Tensor): Tensor => cumsum(x, 1).add(mul(x.flip(1), 1e-9));
    await expect(causality(leaky, noise(2, 9, 3))).rejects.toThrow(
      /the output at 0 depends on the input at 8/,
    );
  });
});

describe("leaks", () => {
  test("accepts a compiled step, and one whose values the collector frees", async () => {
    const total = new Variable(tensor([0], { device: reference }));
    const step = compile((x: Tensor) => {
      total.value = total.value.add(x);
    });
    const x = tensor([1], { device: reference });
    await leaks(() => step(x), { device: reference, steps: 50 });
    await leaks(() => x.add(1).data(), { device: reference, steps: 50 });
  });
  test("sees values that are kept", async () => {
    const kept: Tensor[] = [];
    const x = tensor([1, 2], { device: reference });
    await expect(
      leaks(
        async () => {
          const y = x.add(kept.length);
          await y.data();
          kept.push(y);
        },
        { device: reference, steps: 20 },
      ),
    ).rejects.toThrow(/live bytes change over 20 steps/);
  });
});
