// The one way in which every fused op and every primitive is tested.

import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  device as openDevice,
  gradients,
  isFloat,
  slice,
  stack,
  vmap,
  withDevice,
  type Device,
  type DType,
  type HostArray,
  type Op,
  type Tensor,
} from "@everlong/core";
import { devicesUnderTest, hooksOf, strictly } from "./devices.ts";
import { gradcheck, weightedLoss } from "./gradcheck.ts";
import { SEED } from "./random.ts";
import { maxError, relativeError, valuesOf } from "./relative-error.ts";
import {
  definitionOf,
  drawInputs,
  labelOf,
  outputsOf,
  upload,
  type HostInput,
  type OpCase,
  type Subject,
} from "./subject.ts";

/** Relative L2 error of values and of gradients; single elements may be ten times worse (relative to the maximum). */
export interface Tolerance {
  readonly value: number;
  readonly gradient: number;
}

/** A few roundings of the dtype. Ops that sum long rows state their own. */
export const DEFAULT_TOLERANCES: { readonly [D in DType]?: Tolerance } = {
  f32: { value: 1e-6, gradient: 4e-6 },
  f16: { value: 6e-4, gradient: 2e-3 },
  bf16: { value: 4e-3, gradient: 1e-2 },
};

export interface CheckOptions<P> {
  readonly cases: readonly OpCase<P>[];
  /** Random cases; failures shrink to the smallest shape. */
  readonly arbitrary?: fc.Arbitrary<OpCase<P>>;
  /** Number of random cases. Default 8. */
  readonly runs?: number;
  /** An independent formula in float64; without one the reference device itself is the oracle. */
  readonly expected?: (inputs: readonly HostArray[], params: P) => readonly ArrayLike<number>[];
  /** Which inputs have a gradient. Default: all floats; for a fused op without a gradient none. */
  readonly differentiable?: boolean | readonly boolean[];
  /** Whether the gradient has a gradient. Default false. */
  readonly secondOrder?: boolean;
  /** Whether inputs may be mapped by vmap. Default true. */
  readonly batch?: boolean | readonly boolean[];
  /** Dtypes to test on devices, the reference apart. Default f32. */
  readonly dtypes?: readonly DType[];
  readonly tolerance?: { readonly [D in DType]?: Partial<Tolerance> };
  /** Tolerance of finite differences. Default 1e-7. */
  readonly gradcheck?: number;
  /** Whether a device must have a kernel of its own. Default true. */
  readonly strict?: boolean;
  /** Whether outputs may hold NaN for finite inputs. Default false. */
  readonly allowNaN?: boolean;
}

/** Float64 agreement between two ways to compute the same: a few hundred roundings. */
const EXACT = 1e-11;

/** Values and gradients of a case. */
interface Results {
  readonly values: readonly Float64Array[];
  readonly gradients: readonly Float64Array[];
}

class Check<P> {
  readonly apply: (inputs: readonly Tensor[], params: P) => readonly Tensor[];
  readonly #options: CheckOptions<P>;
  readonly #subject: Op<P> | Subject<P>;
  readonly reference: Device = openDevice("reference");

  constructor(subject: Op<P> | Subject<P>, options: CheckOptions<P>) {
    this.#subject = subject;
    this.#options = options;
    this.apply = (inputs, params) =>
      outputsOf(typeof subject === "function" ? subject(inputs, params) : subject.apply(inputs, params));
  }

  /** Inputs whose gradient is tested. */
  wanted(inputs: readonly Tensor[]): boolean[] {
    const definition = definitionOf(this.#subject as Op<never>);
    const choice = this.#options.differentiable ?? !(definition && !definition.vjp);
    return inputs.map(
      (t, i) => isFloat(t.dtype) && (typeof choice === "boolean" ? choice : (choice[i] ?? false)),
    );
  }

  async results(
    inputs: readonly Tensor[],
    params: P,
    run: (inputs: readonly Tensor[], params: P) => readonly Tensor[] = this.apply,
  ): Promise<Results> {
    const outputs = run(inputs, params);
    const wanted = this.wanted(inputs);
    const wrt = inputs.filter((_, i) => wanted[i]);
    const slopes = wrt.length > 0 ? gradients(weightedLoss(outputs, SEED), wrt) : [];
    const values: Float64Array[] = [];
    for (const t of outputs) values.push(await valuesOf(t));
    const found: Float64Array[] = [];
    for (const t of slopes) found.push(await valuesOf(t));
    return { values, gradients: found };
  }

  /** Everything that can be said in float64. */
  inFloat64(given: OpCase<P>, seed: number): Promise<void> {
    return withDevice(this.reference, () => this.#inFloat64(given, seed));
  }

  async #inFloat64(given: OpCase<P>, seed: number): Promise<void> {
    const { params } = given;
    const host = drawInputs(given.inputs, "f64", seed);
    const inputs = upload(host, this.reference, "f64");
    const got = await this.results(inputs, params);
    this.noNaN(got, host);
    const { expected } = this.#options;
    if (expected) {
      const want = expected(
        host.map((h) => ({ shape: h.shape, data: h.values })),
        params,
      );
      want.forEach((w, i) => agree(got.values[i]!, w, EXACT, `output ${i} against the formula`));
    }
    const decompose = definitionOf(this.#subject as Op<never>)?.decompose;
    if (decompose) {
      const other = await this.results(inputs, params, (x, p) => decompose(x, p as never));
      compare(got, other, { value: EXACT, gradient: EXACT }, "against the decomposition");
    }
    for (const [i, t] of inputs.entries()) {
      expect([...(await valuesOf(t))], `input ${i} is unchanged`).toEqual([...host[i]!.values]);
    }
    await this.finiteDifferences(given, seed);
    await this.batched(host, params, this.reference, "f64", { value: EXACT, gradient: EXACT }, given, seed);
  }

  async finiteDifferences(given: OpCase<P>, seed: number): Promise<void> {
    const inputs = upload(drawInputs(given.inputs, "f64", seed), this.reference, "f64");
    const wrt = this.wanted(inputs);
    if (!wrt.some(Boolean)) return;
    const fn = (...x: Tensor[]): readonly Tensor[] => this.apply(x, given.params);
    const tolerance = this.#options.gradcheck ?? 1e-7;
    await gradcheck(fn, inputs, { wrt, tolerance, seed });
    if (this.#options.secondOrder) await gradcheck(fn, inputs, { wrt, tolerance, seed, order: 2 });
  }

  /** vmap over one input at a time, and over all, against a loop. */
  async batched(
    host: readonly HostInput[],
    params: P,
    device: Device,
    dtype: DType,
    tolerance: Tolerance,
    given: OpCase<P>,
    seed: number,
  ): Promise<void> {
    const { batch = true } = this.#options;
    const may = host.map((_, i) => (typeof batch === "boolean" ? batch : (batch[i] ?? false)));
    const masks = host
      .map((_, i) => host.map((__, j) => i === j))
      .filter((mask) => mask.every((m, i) => !m || may[i]));
    if (host.length > 1 && may.filter(Boolean).length > 1) masks.push(may);
    const examples = [0, 1, 2].map((s) =>
      upload(drawInputs(given.inputs, dtype, seed + 31 * s), device, dtype),
    );
    for (const mask of masks) {
      const mapped = examples[0]!.map((t, i) => (mask[i] ? stack(examples.map((e) => e[i]!)) : t));
      const fn = (...x: Tensor[]): Tensor[] => {
        const outputs = this.apply(x, params);
        const wanted = this.wanted(x);
        const wrt = x.filter((_, i) => wanted[i]);
        return [...outputs, ...(wrt.length > 0 ? gradients(weightedLoss(outputs, SEED), wrt) : [])];
      };
      const together = vmap(fn, { inAxes: mask.map((m) => (m ? 0 : null)) })(...mapped);
      for (const [s, example] of examples.entries()) {
        const apart = fn(...example.map((t, i) => (mask[i] ? t : examples[0]![i]!)));
        for (const [k, t] of apart.entries()) {
          const got = await valuesOf(slice(together[k]!, [s]));
          agree(
            got,
            await valuesOf(t),
            tolerance.gradient,
            `vmap over ${show(mask)}, result ${k} of example ${s}`,
          );
        }
      }
    }
  }

  tolerance(dtype: DType): Tolerance {
    const base = DEFAULT_TOLERANCES[dtype] ?? { value: EXACT, gradient: EXACT };
    return { ...base, ...this.#options.tolerance?.[dtype] };
  }

  /** A device's values and gradients against the reference in float64, on the same numbers. */
  async onDevice(device: Device, given: OpCase<P>, dtype: DType, seed: number): Promise<void> {
    const host = drawInputs(given.inputs, dtype, seed);
    const want = await withDevice(this.reference, () =>
      this.results(upload(host, this.reference, "f64"), given.params),
    );
    await strictly(device, this.#options.strict ?? true, async () => {
      const got = await this.results(upload(host, device, dtype), given.params);
      compare(got, want, this.tolerance(dtype), `on ${device.name} in ${dtype}`);
    });
  }

  /** The same bits with poisoned memory, and with one and two threads. */
  async sameBits(device: Device, given: OpCase<P>, set: (on: boolean) => void, what: string): Promise<void> {
    const host = drawInputs(given.inputs, "f32", SEED);
    await strictly(device, this.#options.strict ?? true, async () => {
      const run = (): Promise<Results> => this.results(upload(host, device, "f32"), given.params);
      set(false);
      const plain = await run();
      set(true);
      try {
        const other = await run();
        other.values.forEach((x, i) => expect(x, `output ${i} ${what}`).toEqual(plain.values[i]));
        other.gradients.forEach((x, i) => expect(x, `gradient ${i} ${what}`).toEqual(plain.gradients[i]));
      } finally {
        set(false);
      }
    });
  }

  noNaN(results: Results, host: readonly HostInput[]): void {
    if (this.#options.allowNaN || host.some((h) => h.values.some((x) => !Number.isFinite(x)))) return;
    results.values.forEach((x, i) =>
      expect(x.findIndex(Number.isNaN), `index of a NaN in output ${i}`).toBe(-1),
    );
    results.gradients.forEach((x, i) =>
      expect(x.findIndex(Number.isNaN), `index of a NaN in gradient ${i}`).toBe(-1),
    );
  }
}

const show = (mask: readonly boolean[]): string =>
  `inputs ${mask.flatMap((m, i) => (m ? [i] : [])).join(", ")}`;

function agree(got: ArrayLike<number>, want: ArrayLike<number>, tolerance: number, what: string): void {
  expect(got.length, `${what}: number of elements`).toBe(want.length);
  expect(relativeError(got, want), `${what}: relative L2 error (seed ${SEED})`).toBeLessThanOrEqual(
    tolerance,
  );
  expect(
    maxError(got, want),
    `${what}: largest error relative to the maximum (seed ${SEED})`,
  ).toBeLessThanOrEqual(10 * tolerance);
}

function compare(got: Results, want: Results, tolerance: Tolerance, what: string): void {
  want.values.forEach((w, i) => agree(got.values[i]!, w, tolerance.value, `output ${i} ${what}`));
  want.gradients.forEach((w, i) => agree(got.gradients[i]!, w, tolerance.gradient, `gradient ${i} ${what}`));
}

/** The float64 part of {@link checkOp} on one case: rejects with what is wrong. */
export const checkCase = <P>(
  subject: Op<P> | Subject<P>,
  given: OpCase<P>,
  options: Omit<CheckOptions<P>, "cases"> = {},
): Promise<void> => new Check(subject, { ...options, cases: [given] }).inFloat64(given, SEED);

/**
 * Declares the tests of an op. On the float64 reference device: outputs are complete (no NaN), agree with the formula
 * and the decomposition where there are such, gradients agree with finite differences (twice with `secondOrder`), vmap
 * agrees with a loop, inputs stay as they were. On every other registered device and dtype: values, gradients and vmap
 * agree with the reference, poisoned memory and a second thread change no bit. A device that is expected but not
 * registered, or lacks a hook, shows as skipped.
 * @example checkOp(softmaxOp, { cases: [{ inputs: [[2, 7]], params: {} }] });
 */
export function checkOp<P>(subject: Op<P> | Subject<P>, options: CheckOptions<P>): void {
  const check = new Check(subject, options);
  const name = typeof subject === "function" ? subject.def.name : subject.name;
  const { cases, arbitrary, runs = 8, dtypes = ["f32"] } = options;
  describe(name, () => {
    const onReference = process.env["EVERLONG_CHECKS"] === "devices" ? [] : cases;
    for (const [i, given] of onReference.entries()) {
      test(`float64 ${labelOf(given)}`, () => check.inFloat64(given, SEED + 101 * i));
    }
    if (arbitrary && onReference.length > 0) {
      test(`float64, ${runs} random cases`, () =>
        fc.assert(
          fc.asyncProperty(arbitrary, fc.nat({ max: 1000 }), (given, seed) =>
            check.inFloat64(given, SEED + seed),
          ),
          { numRuns: runs, seed: SEED },
        ));
    }
    for (const { name: deviceName, present } of devicesUnderTest()) {
      if (!present) {
        test.skip(`${deviceName} (not registered)`, () => {});
        continue;
      }
      const device = openDevice(deviceName);
      const hooks = hooksOf(device);
      for (const dtype of dtypes) {
        if (!device.dtypes.includes(dtype)) {
          test.skip(`${deviceName} ${dtype} (no such dtype)`, () => {});
          continue;
        }
        for (const [i, given] of cases.entries()) {
          test(`${deviceName} ${dtype} ${labelOf(given)}`, async () => {
            const seed = SEED + 103 * i;
            await check.onDevice(device, given, dtype, seed);
            await strictly(device, options.strict ?? true, () =>
              check.batched(
                drawInputs(given.inputs, dtype, seed),
                given.params,
                device,
                dtype,
                check.tolerance(dtype),
                given,
                seed,
              ),
            );
          });
        }
        if (arbitrary) {
          test(`${deviceName} ${dtype}, ${runs} random cases`, () =>
            fc.assert(
              fc.asyncProperty(arbitrary, fc.nat({ max: 1000 }), (given, seed) =>
                check.onDevice(device, given, dtype, SEED + seed),
              ),
              { numRuns: runs, seed: SEED },
            ));
        }
      }
      const last = cases[cases.length - 1]!;
      test.skipIf(!hooks.setPoison)(`${deviceName}: poisoned memory changes nothing`, () =>
        check.sameBits(device, last, (on) => hooks.setPoison!(on), "with poisoned memory"),
      );
      test.skipIf(!hooks.setThreads)(`${deviceName}: two threads give the bits of one`, () =>
        check.sameBits(device, last, (on) => hooks.setThreads!(on ? 2 : 1), "with two threads"),
      );
    }
  });
}
