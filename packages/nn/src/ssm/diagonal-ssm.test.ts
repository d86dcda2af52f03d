import { Complex, abs, max, random, sub, tensor, zeros, type Tensor } from "@everlong/core";
import { expect, test } from "vitest";
import { DiagonalSsm } from "./diagonal-ssm.ts";
import type { SsmOptions } from "./settings.ts";
import { SSM_STARTS } from "./start.ts";

const distance = async (a: Tensor, b: Tensor): Promise<number> =>
  (await max(abs(sub(a, b))).item()) as number;
const make = (options: Partial<SsmOptions> = {}): DiagonalSsm =>
  new DiagonalSsm({ key: random.key(1), channels: 4, stateSize: 6, outputs: 2, ...options });
const none = (): Complex => Complex.from(zeros([3, 4, 3]));

test.each([
  ["zoh", {}],
  ["bilinear", { discretization: "bilinear", copies: 2, tieSteps: false }],
  ["zoh", { bandlimit: 0.2, start: "diag-inv", maxStep: 0.5, layout: "h3" }],
] as const)("%s: kernel, carried state and steps are one system", async (_, options) => {
  const ssm = make(options);
  const length = 37;
  const u = random.normal(random.key(2), [3, 4, length]);
  const impulse = ssm.kernel(length);
  let state = none();
  const outputs: Tensor[] = [];
  for (let t = 0; t < length; t++) {
    const next = ssm.step(u.slice([null, null, t]), state);
    state = next.state;
    outputs.push(next.y);
  }
  expect(await distance(ssm.advance(u).re, state.re)).toBeLessThan(1e-12);
  expect(await distance(ssm.advance(u).im, state.im)).toBeLessThan(1e-12);
  // Direct convolution at the last position.
  const last = impulse
    .flip(2)
    .reshape([1, 2, 4, length])
    .mul(u.reshape([3, 1, 4, length]))
    .sum(3);
  expect(await distance(last, outputs[length - 1]!)).toBeLessThan(1e-12);
  // Two chunks with the state carried in between.
  const middle = ssm.advance(u.narrow(2, 0, 20));
  const rest = ssm.advance(u.narrow(2, 20, length), middle);
  expect(await distance(rest.re, state.re)).toBeLessThan(1e-12);
  const silent = ssm.step(zeros([3, 4]), middle);
  expect(await distance(ssm.kernelOfState(middle, 5).slice([null, null, null, 0]), silent.y)).toBeLessThan(
    1e-12,
  );
});

test("zero-order hold: taps at full steps are sums of taps at half steps", async () => {
  const ssm = make();
  const whole = ssm.kernel(21, 1);
  const half = ssm.kernel(42, 0.5).reshape([2, 4, 21, 2]).sum(3);
  expect(await distance(whole, half)).toBeLessThan(1e-13);
});

test("the band limit silences the same modes at every rate", async () => {
  const count = async (rate: number): Promise<number> => {
    const { c } = make({ bandlimit: 0.1, stateSize: 32, minStep: 0.05, maxStep: 0.05 }).system(rate);
    return Array.from(await c.abs().data(), Number).filter((x) => x > 0).length / 8;
  };
  // dt pi n / (2 pi) < 0.05 with dt = 0.05: n < 2.
  expect(await count(1)).toBe(2);
  expect(await count(2)).toBe(2);
});

test.each(SSM_STARTS.filter((s) => s !== "legt"))("start %s decays and is finite", async (start) => {
  const ssm = make({ start });
  const { a } = ssm.system();
  expect(await max(a.re).item()).toBeLessThan(0);
  expect(Number.isFinite(await ssm.kernel(9).sum().item())).toBe(true);
});

test("a first frequency of 0 stays 0, unless compatibility with the original is asked for", async () => {
  const first = async (compat: boolean): Promise<number> =>
    Math.abs(Number(await make({ compat }).system().a.im.slice([0, 0]).item()));
  expect(await first(false)).toBe(0);
  expect(await first(true)).toBeCloseTo(1e-4, 12);
});

test("real modes and DSS", async () => {
  const real = make({ real: true, start: "diag-real" });
  expect(real.c.shape).toEqual([2, 4, 6]);
  expect(await max(abs(real.system().a.im)).item()).toBe(0);
  const dss = make({ discretization: "dss" });
  expect(
    await distance(dss.kernel(9), make({ discretization: "dss", compat: true }).kernel(9)),
  ).toBeGreaterThan(1e-6);
  expect(() => dss.recurrence()).toThrow(/depends on the length/);
});

test("wrong options", () => {
  expect(() => make({ start: "diag-none" as "diag" })).toThrow(/unknown start/);
  expect(() => make({ copies: 3 })).toThrow(/must divide/);
  expect(() => make({ stateSize: 5 })).toThrow(/must be even/);
  expect(() => make({ realTransform: "tanh" as "exp" })).toThrow(/unknown transform/);
});

test("a mode that hardly decays keeps all its digits, and loses the original's under compat", async () => {
  const [rate, dt] = [1e-9, 0.01];
  // k[0] = 2 Re(c b (exp(dt a) - 1) / a) with a = -rate, c b = 1; the series has two terms that count.
  const expected = 2 * dt * (1 - (rate * dt) / 2);
  const gain = async (compat: boolean): Promise<number> => {
    const ssm = new DiagonalSsm({
      key: random.key(1),
      channels: 1,
      stateSize: 2,
      minStep: dt,
      maxStep: dt,
      deterministic: true,
      compat,
    });
    ssm.aReal.value = tensor([[Math.log(rate)]]);
    ssm.aImag!.value = tensor([[0]]);
    ssm.b!.value = tensor([[[[1, 0]]]]);
    return Math.abs(((await ssm.kernel(1).item()) as number) / expected - 1);
  };
  expect(await gain(false)).toBeLessThan(1e-14);
  expect(await gain(true)).toBeGreaterThan(1e-9);
});

test("steps stored as hyperbolic sines keep their digits where they are small", async () => {
  const ssm = new DiagonalSsm({
    key: random.key(1),
    channels: 1,
    stateSize: 2,
    fastSteps: true,
    stepTransform: "none",
  });
  const stored = 1e-6;
  ssm.dt.value = tensor([[stored]]);
  const dt = (await ssm.system().dt.item()) as number;
  expect(Math.abs(dt / (stored * (1 + stored ** 2 / 6)) - 1)).toBeLessThan(1e-15);
});
