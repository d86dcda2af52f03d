import { Complex, abs, max, random, stack, sub, zeros, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { DplrSsm, type DplrOptions } from "./dplr-ssm.ts";
import { hippoTransition } from "./hippo.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const make = (options: Partial<DplrOptions> = {}): DplrSsm =>
  new DplrSsm({ key: random.key(1), channels: 2, stateSize: 6, outputs: 2, ...options });

test.each([
  ["legs", 1],
  ["fourier", 1],
  ["legt", 2],
  ["legs", 3],
] as const)("%s, rank %i: kernel, steps and carried state are one system", async (start, rank) => {
  const ssm = make({ start, rank });
  const [length, cut] = [13, 5];
  let state = Complex.from(zeros([1, 2, 3]));
  const impulse: Tensor[] = [];
  let carried = state;
  for (let t = 0; t < length; t++) {
    const next = ssm.step(zeros([1, 2]).add(t === 0 ? 1 : 0), state);
    state = next.state;
    if (t === cut - 1) carried = state;
    impulse.push(next.y.reshape([2, 2]));
  }
  const response = stack(impulse, 2);
  for (const n of [1, 8, length])
    expect(await distance(ssm.kernel(n), response.narrow(2, 0, n))).toBeLessThan(1e-11);
  const rest = ssm.kernelOfState(carried, length - cut).reshape([2, 2, length - cut]);
  expect(await distance(rest, response.narrow(2, cut, length))).toBeLessThan(1e-11);
  const u = random.normal(random.key(3), [1, 2, 7]);
  let stepped = Complex.from(zeros([1, 2, 3]));
  for (let t = 0; t < 7; t++) stepped = ssm.step(u.slice([null, null, t]), stepped).state;
  expect(await distance(ssm.advance(u).re, stepped.re)).toBeLessThan(1e-12);
});

test("the first tap is that of HiPPO's dense matrix, sampled bilinearly", async () => {
  const size = 6;
  const dt = 0.05;
  const ssm = make({ minStep: dt, maxStep: dt, channels: 1, outputs: 1 });
  const { a, b } = hippoTransition("legs", size);
  // x = (I - dt A / 2)^-1 dt b by forward substitution: A is lower triangular.
  const x: number[] = [];
  for (let n = 0; n < size; n++) {
    let s = dt * b[n]!;
    for (let k = 0; k < n; k++) s += (dt / 2) * a[n * size + k]! * x[k]!;
    x.push(s / (1 - (dt / 2) * a[n * size + n]!));
  }
  // The norm of the state does not depend on the basis.
  const { state } = ssm.step(zeros([1, 1]).add(1), Complex.from(zeros([1, 1, 3])));
  const norm = 2 * Number(await state.squaredAbs().sum().item());
  expect(norm).toBeCloseTo(
    x.reduce((s, v) => s + v * v, 0),
    12,
  );
});

test("a truncated read-out is the same system, at its length, doubled, and untruncated", async () => {
  const plain = make();
  const length = 9;
  const truncated = make({ truncatedLength: length });
  // C~ = C - C Ad^L, read off the kernel that starts L taps later.
  const original = truncated.diagonal.c.value;
  truncated.untruncate();
  const expected = truncated.kernel(4 * length);
  truncated.diagonal.c.value = original;
  truncated.truncatedLength = length;
  for (const n of [5, length, 4 * length - 3])
    expect(await distance(truncated.kernel(n), expected.narrow(2, 0, n))).toBeLessThan(1e-10);
  expect(await distance(truncated.kernel(length), plain.kernel(length))).toBeGreaterThan(1e-4);
});

test("truncating, doubling and untruncating change the parameter, not the system", async () => {
  const ssm = make();
  const c = ssm.diagonal.c.value;
  const kernel = ssm.kernel(20);
  ssm.truncate(7);
  expect(ssm.truncatedLength).toBe(7);
  expect(await distance(ssm.diagonal.c.value, c)).toBeGreaterThan(1e-3);
  expect(await distance(ssm.kernel(20), kernel)).toBeLessThan(1e-10);
  ssm.truncate(20);
  expect(ssm.truncatedLength).toBe(28);
  expect(await distance(ssm.kernel(20), kernel)).toBeLessThan(1e-10);
  ssm.untruncate();
  expect(await distance(ssm.diagonal.c.value, c)).toBeLessThan(1e-9);
});

test("wrong options", () => {
  expect(() => make({ start: "legt" })).toThrow(/higher rank/);
  expect(() => make({ truncatedLength: 0 })).toThrow(/positive integer/);
});

test("steps obey a band limit as the kernel does, the original's do not", async () => {
  const settings = { start: "fourier", minStep: 0.05 } as const;
  const limited = (compat: boolean): DplrSsm => make({ ...settings, compat, bandlimit: 0.02 });
  const impulse = (ssm: DplrSsm): Tensor =>
    ssm.step(zeros([1, 2]).add(1), Complex.from(zeros([1, 2, 3]))).y.reshape([2, 2, 1]);
  expect(await distance(impulse(limited(false)), limited(false).kernel(1))).toBeLessThan(1e-12);
  const whole = make({ ...settings, compat: true }).kernel(1);
  expect(await distance(impulse(limited(true)), whole)).toBeLessThan(1e-12);
  expect(await distance(limited(true).kernel(1), whole)).toBeGreaterThan(1e-4);
});
