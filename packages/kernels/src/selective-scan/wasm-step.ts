// Single steps of the recurrence on a block of channels: lines of lanes, one line per state.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Vec } from "@everlong/wasm";
import { powerOfTwo } from "../wasm-power.ts";

// Above, the state has left float32 anyway.
const decayOf = (f: FunctionBuilder, exponent: Vec): Vec => powerOfTwo(f, f.f32x4.pmin(exponent, 126));

/** `steps(u, delta, b, c, a, h, y, states, count)`: `count` steps on the state at `h`; numbers of b and c side by side. */
export function defineSteps(module: ModuleBuilder): FunctionRef {
  return module.define(
    "steps",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, u, delta, b, c, a, h, y, states, count) => {
      const vector = 4 * f.lanes;
      const line = 2 * vector;
      const offsets = [0, vector];
      const end = f.i32.add(a, f.i32.mul(states, line));
      f.loop(0, count, 1, () => {
        const step = offsets.map((o) => f.mem.vec.load(delta, o));
        const inputs = offsets.map((o, v) => f.f32x4.mul(step[v]!, f.mem.vec.load(u, o)));
        const binary = step.map((s) => f.f32x4.mul(s, Math.LOG2E));
        const sums = offsets.map(() => f.vecVariable(0));
        const [rates, state] = [f.variable("i32", a), f.variable("i32", h)];
        const moves = [
          [rates, line],
          [state, line],
          [b, 4],
          [c, 4],
        ] as const;
        f.sweep(rates, end, moves, () => {
          const [from, read] = [f.mem.vec.load32Splat(b), f.mem.vec.load32Splat(c)];
          const next = offsets.map((offset, v) => {
            const decay = decayOf(f, f.f32x4.mul(binary[v]!, f.mem.vec.load(rates, offset)));
            return f.f32x4.madd(from, inputs[v]!, f.f32x4.mul(decay, f.mem.vec.load(state, offset)));
          });
          next.forEach((x, v) => {
            f.mem.vec.store(state, offsets[v]!, x);
            f.setVec(sums[v]!, f.f32x4.madd(read, x, sums[v]!));
          });
        });
        offsets.forEach((offset, v) => f.mem.vec.store(y, offset, sums[v]!));
        for (const pointer of [u, delta, y]) f.advance(pointer, line);
      });
    },
  );
}

/** `replay(u, delta, b, a, before, after, decays, states)`: one step, whose states and decays are kept. */
export function defineReplay(module: ModuleBuilder): FunctionRef {
  return module.define(
    "replay",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, u, delta, b, a, before, after, decays, states) => {
      const vector = 4 * f.lanes;
      const line = 2 * vector;
      const offsets = [0, vector];
      const step = offsets.map((o) => f.mem.vec.load(delta, o));
      const inputs = offsets.map((o, v) => f.f32x4.mul(step[v]!, f.mem.vec.load(u, o)));
      const binary = step.map((s) => f.f32x4.mul(s, Math.LOG2E));
      const end = f.i32.add(a, f.i32.mul(states, line));
      const moves = [
        [a, line],
        [before, line],
        [after, line],
        [decays, line],
        [b, 4],
      ] as const;
      f.sweep(a, end, moves, () => {
        const from = f.mem.vec.load32Splat(b);
        const decay = offsets.map((o, v) => decayOf(f, f.f32x4.mul(binary[v]!, f.mem.vec.load(a, o))));
        const next = offsets.map((o, v) =>
          f.f32x4.madd(from, inputs[v]!, f.f32x4.mul(decay[v]!, f.mem.vec.load(before, o))),
        );
        offsets.forEach((offset, v) => {
          f.mem.vec.store(after, offset, next[v]!);
          f.mem.vec.store(decays, offset, decay[v]!);
        });
      });
    },
  );
}

/**
 * `back(u, delta, dy, b, c, a, before, decays, g, da, db, dc, du, ddelta, states, next)`: one step backwards. `before` is the state before
 * the step, the one after it lies `next` bytes on.
 */
export function defineBack(module: ModuleBuilder): FunctionRef {
  return module.define(
    "back",
    {
      params: [
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
        "i32",
      ],
    },
    (f, u, delta, dy, b, c, a, before, decays, g, da, db, dc, du, ddelta, states, next) => {
      const vector = 4 * f.lanes;
      const line = 2 * vector;
      const offsets = [0, vector];
      const steps = offsets.map((o) => f.mem.vec.load(delta, o));
      const values = offsets.map((o) => f.mem.vec.load(u, o));
      const slopes = offsets.map((o) => f.mem.vec.load(dy, o));
      const inputs = steps.map((s, v) => f.f32x4.mul(s, values[v]!));
      const along = offsets.map(() => f.vecVariable(0));
      const exponents = offsets.map(() => f.vecVariable(0));
      const after = f.variable("i32", f.i32.add(before, next));
      const end = f.i32.add(a, f.i32.mul(states, line));
      const moves = [
        [a, line],
        [before, line],
        [after, line],
        [decays, line],
        [g, line],
        [da, line],
        [db, line],
        [dc, line],
        [b, 4],
        [c, 4],
      ] as const;
      f.sweep(a, end, moves, () => {
        const [from, read] = [f.mem.vec.load32Splat(b), f.mem.vec.load32Splat(c)];
        offsets.forEach((offset, v) => {
          const slope = f.f32x4.madd(read, slopes[v]!, f.mem.vec.load(g, offset));
          const kept = f.f32x4.mul(slope, f.mem.vec.load(decays, offset));
          const exponent = f.f32x4.mul(kept, f.mem.vec.load(before, offset));
          f.setVec(along[v]!, f.f32x4.madd(slope, from, along[v]!));
          f.setVec(exponents[v]!, f.f32x4.madd(exponent, f.mem.vec.load(a, offset), exponents[v]!));
          const dcNext = f.f32x4.madd(slopes[v]!, f.mem.vec.load(after, offset), f.mem.vec.load(dc, offset));
          const dbNext = f.f32x4.madd(slope, inputs[v]!, f.mem.vec.load(db, offset));
          const daNext = f.f32x4.madd(exponent, steps[v]!, f.mem.vec.load(da, offset));
          f.mem.vec.store(g, offset, kept);
          f.mem.vec.store(dc, offset, dcNext);
          f.mem.vec.store(db, offset, dbNext);
          f.mem.vec.store(da, offset, daNext);
        });
      });
      offsets.forEach((offset, v) => {
        f.mem.vec.store(du, offset, f.f32x4.mul(along[v]!, steps[v]!));
        f.mem.vec.store(ddelta, offset, f.f32x4.madd(along[v]!, values[v]!, exponents[v]!));
      });
    },
  );
}

/** `sumLines(from, to, count)`: `to[i]` = sum over the lanes of line i. */
export function defineSumLines(module: ModuleBuilder): FunctionRef {
  return module.define("sumLines", { params: ["i32", "i32", "i32"] }, (f, from, to, count) => {
    const parts = 2 * f.width;
    f.loop(0, count, 1, () => {
      let sum = f.mem.vec.load(from, 0, 1);
      for (let p = 1; p < parts; p++) sum = f.f32x4.add(sum, f.mem.vec.load(from, 16 * p, 1));
      sum = f.f32x4.add(sum, f.v128.shuffle(sum, sum, [2, 3, 0, 1]));
      sum = f.f32x4.add(sum, f.v128.shuffle(sum, sum, [1, 0, 3, 2]));
      f.mem.vec.store32Lane(to, 0, sum, 0);
      f.advance(from, 16 * parts);
      f.advance(to, 4);
    });
  });
}
