// Between samples and the coarse grid: weighted sums of vectors, lanes being channels. What has the same weights comes eight at a
// time, so that reading a weight serves eight multiply-adds.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Variable, VecVariable } from "@everlong/wasm";
import type { I32Value } from "../wasm-emit.ts";
import type { WindowWidth } from "./sampling.ts";

/** Sums at once: those of eight periods, or one. */
export type Height = 1 | 8;

const pointersAt = (f: FunctionBuilder, from: I32Value, step: I32Value, height: Height): Variable<"i32">[] =>
  Array.from({ length: height }, (_, i) =>
    f.variable("i32", i === 0 ? from : f.i32.add(from, f.i32.mul(step, i))),
  );

const storeAt = (f: FunctionBuilder, to: I32Value, step: I32Value, sums: readonly VecVariable[]): void =>
  sums.forEach((sum, i) => {
    f.mem.vec.store(i === 0 ? to : f.i32.add(to, f.i32.mul(step, i)), 0, sum);
  });

/**
 * `down(x, xStep, weights, taps, to, toStep)`: `to[i] = sum over j of weights[j] x[i][j]`, the rows of x `xStep` bytes apart, `taps` a
 * multiple of 4.
 */
export function defineDown(module: ModuleBuilder, height: Height): FunctionRef {
  const vector = 16 * module.target.width;
  return module.define(
    `down${height}`,
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, x, xStep, weights, taps, to, toStep) => {
      const rows = pointersAt(f, x, xStep, height);
      // a single sum in four chains
      const chains = height === 1 ? 4 : 1;
      const sums = Array.from({ length: chains }, () => rows.map(() => f.vecVariable(0)));
      f.loop(0, taps, 4, () => {
        for (let u = 0; u < 4; u++) {
          const weight = f.mem.vec.load32Splat(weights, 4 * u);
          rows.forEach((row, i) => {
            const sum = sums[u % chains]![i]!;
            f.setVec(sum, f.f32x4.madd(f.mem.vec.load(row, u * vector), weight, sum));
          });
        }
        f.advance(weights, 16);
        for (const row of rows) f.advance(row, 4 * vector);
      });
      const [a, b, c, d] = sums as [VecVariable[], VecVariable[]?, VecVariable[]?, VecVariable[]?];
      if (b && c && d) f.setVec(a[0]!, f.f32x4.add(f.f32x4.add(a[0]!, b[0]!), f.f32x4.add(c[0]!, d[0]!)));
      storeAt(f, to, toStep, a);
    },
  );
}

/** `up(g, gStep, weights, to, toStep)`: `to[i] = sum over a < width of weights[a] g[i][a]`. */
export function defineUp(module: ModuleBuilder, width: WindowWidth, height: Height): FunctionRef {
  const vector = 16 * module.target.width;
  return module.define(
    `up${height}`,
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, g, gStep, weights, to, toStep) => {
      const rows = pointersAt(f, g, gStep, height);
      const sums = rows.map(() => f.vecVariable(0));
      for (let a = 0; a < width; a++) {
        const weight = f.mem.vec.load32Splat(weights, 4 * a);
        rows.forEach((row, i) => {
          f.setVec(sums[i]!, f.f32x4.madd(f.mem.vec.load(row, a * vector), weight, sums[i]!));
        });
      }
      storeAt(f, to, toStep, sums);
    },
  );
}
