// The checks of every primitive, of random graphs, of compile and of every fused op once more, on a GPU where there is one.

import { existsSync, readdirSync } from "node:fs";
import { expect, test } from "vitest";
import {
  cast,
  compile,
  device,
  deviceNames,
  gradients,
  mul,
  slice,
  stack,
  sum,
  tensor,
  zeros,
  type Tensor,
} from "@everlong/core";
import { butterflyConvOp, fftConv, fftConvOp, onlineConv } from "@everlong/kernels";
import { normal, Random, relativeError, strictly } from "@everlong/testing";
import { cudaAvailable, cudaDevice } from "./index.ts";

const load = (path: string): Promise<unknown> =>
  import(/* @vite-ignore */ new URL(path, import.meta.url).href);
const available = cudaAvailable();

if (available === true) {
  process.env["EVERLONG_CHECKS"] = "devices";
  for (const name of ["elementwise", "movement", "reduction", "kernel", "fft", "structure"])
    await load(`../../core/src/rules/${name}.test.ts`);
  await load("../../core/src/schedule/random-graphs.test.ts");
  const kernels = "../../kernels/src/";
  for (const folder of readdirSync(new URL(kernels, import.meta.url))) {
    const path = `${kernels}${folder}/op.test.ts`;
    if (existsSync(new URL(path, import.meta.url))) await load(path);
  }
  test("the device is there", () => expect(deviceNames()).toContain("cuda"));
  // Sizes that small checks do not reach: one block's longest, and the passes beyond it, against the transform in float64.
  for (const [length, circular] of [
    [5000, false],
    [8192, true],
    [9001, false],
    [20_000, false],
    [16_384, true],
  ] as const) {
    test(`long convolution of ${length}${circular ? ", circular" : ""}`, async () => {
      const random = new Random(length);
      const shapes = [[3, 2, length], [2, length], [2], [3, 2, length], [3, 2, length]];
      const values = shapes.map((s) =>
        Float32Array.from({ length: s.reduce((a, b) => a * b, 1) }, () => normal(random, 0)),
      );
      const inputs = ["u", "k", "skip", "preGate", "postGate"] as const;
      const origin = circular ? 0 : 7;
      const params = { layout: "bdl", circular, origin, adjoint: false, inputs } as const;
      const results = (name: string): Promise<ArrayLike<number>[]> =>
        strictly(device(name), true, async () => {
          const dtype = name === "reference" ? "f64" : "f32";
          const given = values.map((v, i) => tensor(v, shapes[i]!, { dtype }));
          const [y] =
            name === "reference"
              ? fftConvOp.def.decompose!(given, params as never)
              : fftConvOp(given, params);
          const [du] = gradients(sum(mul(y!, y!)), [given[0]!]);
          return [await y!.data(), await du!.data()];
        });
      const [got, want] = [await results("cuda"), await results("reference")];
      want.forEach((w, i) => expect(relativeError(got[i]!, w)).toBeLessThan(3e-6));
    });
  }
  // Stages, channels and taps that the checks of single ops leave out: several blocks, matrices of many rows, sizes that are no power of two.
  for (const [radices, channels, layout] of [
    [[16, 16, 2], 11, "bld"],
    [[64, 2, 3], 37, "bdl"],
    [[17, 5], 3, "bld"],
    [[32, 32, 8], 2, "bdl"],
  ] as const) {
    test(`butterflies of ${radices.join(" x ")} points`, async () => {
      const points = radices.reduce((a, b) => a * b, 1);
      const [length, taps] = [Math.ceil(points * 0.6), Math.ceil(points / 3)];
      const random = new Random(points);
      const draw = (shape: readonly number[]): Float32Array =>
        Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => normal(random, 0));
      const bdl = layout === "bdl";
      const shapes = [
        bdl ? [3, channels, length] : [3, length, channels],
        bdl ? [channels, taps] : [taps, channels],
        ...radices.map((m) => [2, m, m]),
      ];
      const values = shapes.map(draw);
      const results = (name: string): Promise<ArrayLike<number>[]> =>
        strictly(device(name), true, async () => {
          const dtype = name === "reference" ? "f64" : "f32";
          const given = values.map((v, i) => tensor(v, shapes[i]!, { dtype }));
          const [y] = butterflyConvOp(given, { layout, radices, adjoint: false });
          const [g] = butterflyConvOp(given, { layout, radices, adjoint: true });
          const loss = sum(mul(y!, g!));
          return Promise.all([y!, ...gradients(loss, given)].map((t) => t.data()));
        });
      const [got, want] = [await results("cuda"), await results("reference")];
      want.forEach((w, i) => expect(relativeError(got[i]!, w), `result ${i}`).toBeLessThan(5e-6));
    });
  }
  test("a generated sequence is the convolution, whatever block it completes", async () => {
    const [batch, length, channels] = [2, 300, 40];
    const random = new Random(3);
    const draw = (shape: readonly number[]): Tensor =>
      tensor(
        Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => normal(random, 0)),
        shape,
      );
    await strictly(device("cuda"), true, async () => {
      const [u, taps] = [draw([batch, length, channels]), draw([length, channels])];
      const want = await fftConv(u, taps, { layout: "bld" }).data();
      const step = compile((x: Tensor, now: Tensor, held: Tensor) => {
        const next = onlineConv(x, taps, held, now);
        return [next.y, next.held] as const;
      });
      let held = zeros([batch, length, channels]);
      const ys: Tensor[] = [];
      for (let t = 0; t < length; t++) {
        const [y, next] = step(slice(u, [null, t]), tensor(t, { dtype: "i32" }), held);
        ys.push(y);
        held = next;
      }
      expect(relativeError(await stack(ys, 1).data(), want)).toBeLessThan(2e-6);
    });
  });
  for (const [batch, length, circular, gated] of [
    [5, 3001, false, true],
    [35, 4096, true, false],
    [3, 6000, false, false],
    [2, 12_000, true, true],
    [3, 16_384, true, false],
    [5, 32_768, true, false],
    [2, 40_001, false, true],
    [3, 131_072, true, false],
  ] as const) {
    const kind = `${batch} rows of ${length}${circular ? ", circular" : ""}${gated ? ", gated" : ""}`;
    test(`long convolution of halves and its gradients, ${kind}`, async () => {
      const random = new Random();
      const shapes = [[batch, 2, length], [2, length], [2], [batch, 2, length], [batch, 2, length]];
      const names = ["u", "k", "skip", "preGate", "postGate"] as const;
      const count = gated ? 5 : 3;
      // Rows of very different sizes, which must not spoil each other.
      const values = shapes.map((s, i) => {
        const n = s.reduce((a, b) => a * b, 1);
        const amplitude = (at: number): number =>
          i === 1 ? 1 / Math.sqrt(length) : i === 2 ? 1 : 2 ** (3 - (Math.floor((at / n) * batch) % 4));
        return Float32Array.from({ length: n }, (_, at) => normal(random, 0) * amplitude(at));
      });
      const weights = Float32Array.from({ length: batch * 2 * length }, () => normal(random, 0));
      const params = { layout: "bdl", circular, origin: 0, adjoint: false, inputs: names.slice(0, count) };
      const halves = (t: Tensor, i: number): Tensor => (i === 1 || i === 2 ? t : cast(t, "f16"));
      const results = (name: string): Promise<ArrayLike<number>[]> =>
        strictly(device(name), true, async () => {
          const wide = name === "reference" ? "f64" : "f32";
          const given = values
            .slice(0, count)
            .map((v, i) => halves(tensor(v, shapes[i]!, { dtype: "f32" }), i))
            .map((t) => (name === "reference" ? cast(t, wide) : t));
          const [y] =
            name === "reference"
              ? fftConvOp.def.decompose!(given, params as never)
              : fftConvOp(given, params as never);
          const dy = cast(halves(tensor(weights, shapes[0]!, { dtype: "f32" }), 0), y!.dtype);
          const found = gradients([y!], given, [dy]);
          return Promise.all([y!, ...found].map((t) => cast(t, wide).data()));
        });
      const [got, want] = [await results("cuda"), await results("reference")];
      // dskip is a sum of few numbers, and exact.
      want.forEach((w, i) => expect(relativeError(got[i]!, w), names[i - 1] ?? "y").toBeLessThan(1.5e-3));
    });
  }
  test("a device of its own refuses what does not fit", () => {
    const small = cudaDevice({ memoryLimit: 2 ** 20 });
    expect(() => small.upload(new Float32Array(2 ** 20), "f32")).toThrow(/out of memory for f32\[1048576\]/);
  });
} else {
  test.skip(`on the GPU (${available})`, () => {});
}
