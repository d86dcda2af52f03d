// The two-operand float functions that need more than a line: atan2 and the remainder with the divisor's sign.

import type { FunctionBuilder, ModuleBuilder, Value, Vec } from "@everlong/wasm";

/** Angle of the point (x, y), 3 ulp; the reduction and polynomial are those of Cephes' atanf (S. L. Moshier). */
export function emitAtan2(f: FunctionBuilder, y: Vec, x: Vec): Vec {
  const parts = x.parts.length;
  const constant = (value: number): Vec => f.constant(value, "f32x4", parts);
  const ax = f.f32x4.abs(x);
  const ay = f.f32x4.abs(y);
  const high = f.f32x4.max(ax, ay);
  const low = f.f32x4.min(ax, ay);
  // 0 / 0 counts as 0, inf / inf as 1.
  const ratio = f.f32x4.div(low, high);
  const safe = f.v128.select(f.f32x4.eq(high, 0), 0, f.v128.select(f.f32x4.eq(low, Infinity), 1, ratio));
  const large = f.f32x4.gt(safe, 0.414213562373095);
  const t = f.v128.select(large, f.f32x4.div(f.f32x4.sub(safe, 1), f.f32x4.add(safe, 1)), safe);
  const z = f.f32x4.mul(t, t);
  let p = constant(8.05374449538e-2);
  for (const c of [-1.38776856032e-1, 1.99777106478e-1, -3.33329491539e-1])
    p = f.f32x4.madd(p, z, constant(c));
  const near = f.f32x4.madd(f.f32x4.mul(p, z), t, t);
  let angle = f.f32x4.add(near, f.v128.and(large, constant(Math.PI / 4)));
  angle = f.v128.select(f.f32x4.gt(ay, ax), f.f32x4.sub(constant(Math.PI / 2), angle), angle);
  // The sign bit counts, also of -0.
  angle = f.v128.select(f.i32x4.shrS(x, 31), f.f32x4.sub(constant(Math.PI), angle), angle);
  const signed = f.v128.or(angle, f.v128.and(y, -0x80000000));
  return f.v128.select(f.v128.or(f.f32x4.ne(x, x), f.f32x4.ne(y, y)), f.f32x4.add(x, y), signed);
}

/** x mod y, exact before the one rounding, with the sign of y. Lane by lane: the quotient may be as large as 2^277. */
export function emitFloatMod(f: FunctionBuilder, module: ModuleBuilder, x: Vec, y: Vec): Vec {
  const helper = module.once("modF32", () =>
    module.define("modF32", { params: ["f32", "f32"], result: "f32" }, (g, a, b) => {
      const rest = g.variable("f64", g.f64.abs(g.f64.promoteF32(a)));
      const divisor = g.f64.promoteF32(b);
      const size = g.f64.abs(divisor);
      const undefinedHere = g.i32.or(g.i32.eqz(g.f64.gt(size, 0)), g.i32.eqz(g.f64.lt(rest, Infinity)));
      g.if(undefinedHere, () => g.return(Number.NaN));
      g.block((done) => {
        g.doWhile(() => {
          g.brIf(done, g.f64.lt(rest, size));
          // The divisor times a power of two, so that the quotient has at most 29 bits and its product is exact.
          const step = g.variable("f64", size);
          g.block((found) => {
            g.doWhile(() => {
              const next = g.f64.mul(step, 2 ** 28);
              g.brIf(found, g.f64.gt(next, rest));
              g.set(step, next);
              return g.i32.constant(1);
            });
          });
          const quotient = g.f64.trunc(g.f64.div(rest, step));
          g.set(rest, g.f64.sub(rest, g.f64.mul(quotient, step)));
          g.if(g.f64.lt(rest, 0), () => g.set(rest, g.f64.add(rest, step)));
          return g.i32.constant(1);
        });
      });
      const signed = g.f64.copysign(rest, g.f64.promoteF32(a));
      const opposite = g.i32.ne(g.f64.lt(signed, 0), g.f64.lt(divisor, 0));
      g.if(g.i32.and(opposite, g.f64.ne(signed, 0)), () =>
        g.return(g.f32.demoteF64(g.f64.add(signed, divisor))),
      );
      return g.f32.demoteF64(signed);
    }),
  );
  let out = x;
  for (let lane = 0; lane < 4 * x.parts.length; lane++) {
    const r = f.call(helper, f.f32x4.extractLane(x, lane), f.f32x4.extractLane(y, lane)) as Value<"f32">;
    out = f.f32x4.replaceLane(out, lane, r);
  }
  return out;
}
