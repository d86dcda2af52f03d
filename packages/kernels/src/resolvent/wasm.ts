// Resolvents on the CPU. Lanes are points; the inverse of a pole and a vector of points is made once for a handful of sets.

import type { FunctionBuilder, ModuleBuilder, Value, Vec, VecVariable } from "@everlong/wasm";
import { argReader, argWords, targetKey } from "../wasm-emit.ts";
import type { ArgWord, WasmSource, WasmTable, WasmTarget } from "../wasm-step.ts";
import { resolventPoint, resolventPoints, type ResolventParams } from "./points.ts";

type I32Value = Value<"i32">;

/** Sets of weights that share an inverse. */
const GROUP = 4;
const LANES = 8;

const ARGS = [
  "aRe",
  "aIm",
  // weights of the product, cotangents of the sums: [X, H, ..]
  "inRe",
  "inIm",
  // y of the product, s of the sums
  "outRe",
  "outIm",
  "tRe",
  "tIm",
  "sets",
  "systems",
  "modes",
  "points",
  "table",
] as const;
type Words = { readonly [K in (typeof ARGS)[number]]: ArgWord };

/** Points in blocks of 8: their `1 - w` re and im, `(1 + w) / 2` re and im, then 1 for points that exist. */
const BLOCK_BYTES = 5 * 4 * LANES;
function pointTable(nodes: number): WasmTable {
  const points = resolventPoints(nodes);
  return {
    key: `resolvent/${nodes}`,
    bytes: Math.ceil(points / LANES) * BLOCK_BYTES,
    fill: (memory, at) => {
      for (let j = 0; j < Math.ceil(points / LANES) * LANES; j++) {
        const there = j < points;
        // Places behind the end repeat a point that no pole of a stable system meets.
        const values = [...resolventPoint(there ? j : 0, nodes), there ? 1 : 0];
        const to = at + Math.floor(j / LANES) * BLOCK_BYTES + 4 * (j % LANES);
        values.forEach((v, i) => memory.setFloat32(to + 4 * LANES * i, v, true));
      }
    },
  };
}

/** Vectors of a block of 8 points: one pair, or two single ones. */
const parts = (f: FunctionBuilder): readonly number[] => (f.width === 2 ? [0] : [0, 16]);

/** `r = 1 / (minus - plus a)` for one vector of points. */
function inverse(
  f: FunctionBuilder,
  point: { readonly minus: readonly [Vec, Vec]; readonly plus: readonly [Vec, Vec] },
  a: readonly [Vec, Vec],
): readonly [Vec, Vec] {
  const { minus, plus } = point;
  const x = f.f32x4;
  // Large terms first: near a pole on the circle they cancel, and what the small ones add must survive.
  const dRe = x.nmadd(a[0], plus[0], x.madd(a[1], plus[1], minus[0]));
  const dIm = x.nmadd(a[0], plus[1], x.nmadd(a[1], plus[0], minus[1]));
  const size = x.div(1, x.madd(dRe, dRe, x.mul(dIm, dIm)));
  return [x.mul(dRe, size), x.mul(x.neg(dIm), size)];
}

function pointAt(
  f: FunctionBuilder,
  at: I32Value,
  part: number,
): {
  readonly minus: readonly [Vec, Vec];
  readonly plus: readonly [Vec, Vec];
  readonly there: () => Vec;
} {
  const load = (i: number): Vec => f.mem.vec.load(at, 4 * LANES * i + part);
  return { minus: [load(0), load(1)], plus: [load(2), load(3)], there: () => load(4) };
}

const splat = (f: FunctionBuilder, at: I32Value): Vec => f.mem.vec.load32Splat(at);

function build(module: ModuleBuilder): void {
  const entry = { params: ["i32", "i32", "i32", "i32"], exported: true } as const;
  // A unit is a system; results go through scratch, so that the last block writes only points that exist.
  for (const group of [1, GROUP]) {
    module.define(
      `product${group}`,
      { params: ["i32", "i32", "i32", "i32"] },
      (f, args, system, set, scratch) => {
        const arg = argReader(f, args, ARGS);
        const [modes, points, systems] = [arg("modes"), arg("points"), arg("systems")];
        const row = (x: number): I32Value => f.i32.add(f.i32.mul(f.i32.add(set, x), systems), system);
        const at = f.variable("i32", arg("table"));
        const aBase = f.i32.mul(f.i32.mul(system, modes), 4);
        const bytes = f.i32.shl(modes, 2);
        f.loop(0, points, LANES, (p) => {
          for (const part of parts(f)) {
            const point = pointAt(f, at, part);
            const sums = Array.from({ length: group }, () => [f.vecVariable(0), f.vecVariable(0)] as const);
            const aRe = f.variable("i32", f.i32.add(arg("aRe"), aBase));
            const apart = f.i32.sub(arg("aIm"), arg("aRe"));
            const weights = sums.map((_, x) =>
              f.variable("i32", f.i32.add(arg("inRe"), f.i32.mul(row(x), bytes))),
            );
            const weightsApart = f.i32.sub(arg("inIm"), arg("inRe"));
            f.loop(0, modes, 1, () => {
              const [rRe, rIm] = inverse(f, point, [splat(f, aRe), splat(f, f.i32.add(aRe, apart))]);
              sums.forEach(([re, im], x) => {
                const vRe = splat(f, weights[x]!);
                const vIm = splat(f, f.i32.add(weights[x]!, weightsApart));
                f.setVec(re, f.f32x4.nmadd(vIm, rIm, f.f32x4.madd(vRe, rRe, re)));
                f.setVec(im, f.f32x4.madd(vIm, rRe, f.f32x4.madd(vRe, rIm, im)));
                f.advance(weights[x]!, 4);
              });
              f.advance(aRe, 4);
            });
            sums.forEach(([re, im], x) => {
              f.mem.vec.store(scratch, 64 * x + part, re);
              f.mem.vec.store(scratch, 64 * x + 32 + part, im);
            });
          }
          const count = f.select<"i32">(
            f.i32.ltS(f.i32.sub(points, p), LANES),
            f.i32.sub(points, p),
            f.i32.constant(LANES),
            "i32",
          );
          for (let x = 0; x < group; x++) {
            const to = f.i32.muladd(f.i32.add(f.i32.mul(row(x), points), p), 4, f.i32.constant(0));
            for (const [name, from] of [
              ["outRe", 64 * x],
              ["outIm", 64 * x + 32],
            ] as const) {
              const base = f.i32.add(arg(name), to);
              f.loop(0, count, 1, (i) => {
                const offset = f.i32.shl(i, 2);
                f.mem.f32.store(f.i32.add(base, offset), 0, f.mem.f32.load(f.i32.add(scratch, offset), from));
              });
            }
          }
          f.advance(at, BLOCK_BYTES);
        });
      },
    );
  }
  module.define("resolvent", entry, (f, args, begin, end, scratch) => {
    const arg = argReader(f, args, ARGS);
    const grouped = f.i32.sub(arg("sets"), f.i32.remU(arg("sets"), GROUP));
    f.loop(begin, end, 1, (system) => {
      f.loop(
        0,
        grouped,
        GROUP,
        (set) => void f.call(module.find(`product${GROUP}`)!, args, system, set, scratch),
      );
      f.loop(
        grouped,
        arg("sets"),
        1,
        (set) => void f.call(module.find("product1")!, args, system, set, scratch),
      );
    });
  });
  module.define("resolventSums", entry, (f, args, begin, end, scratch) => {
    const arg = argReader(f, args, ARGS);
    const [modes, points, systems] = [arg("modes"), arg("points"), arg("systems")];
    const whole = f.i32.and(points, -LANES);
    const rowBytes = f.i32.shl(points, 2);
    f.loop(begin, end, 1, (system) => {
      f.loop(0, arg("sets"), 1, (set) => {
        const row = f.i32.add(f.i32.mul(set, systems), system);
        const from = f.i32.mul(row, rowBytes);
        // The last block, zeros behind the end.
        const [lastRe, lastIm] = [f.i32.add(scratch, 256), f.i32.add(scratch, 288)];
        for (const [name, last] of [
          ["inRe", lastRe],
          ["inIm", lastIm],
        ] as const) {
          for (let i = 0; i < LANES; i++) f.mem.f32.store(last, 4 * i, f.f32.constant(0));
          const base = f.i32.add(arg(name), from);
          f.loop(whole, points, 1, (p) => {
            const to = f.i32.muladd(f.i32.sub(p, whole), 4, last);
            f.mem.f32.store(to, 0, f.mem.f32.load(f.i32.muladd(p, 4, base)));
          });
        }
        f.loop(0, modes, 1, (n) => {
          const pole = f.i32.muladd(f.i32.add(f.i32.mul(system, modes), n), 4, f.i32.constant(0));
          const a = [splat(f, f.i32.add(arg("aRe"), pole)), splat(f, f.i32.add(arg("aIm"), pole))] as const;
          const kept = a.map((v) => f.vecVariable(v)) as [VecVariable, VecVariable];
          const sums = Array.from({ length: 4 }, () => f.vecVariable(0));
          const block = (at: I32Value, gRe: I32Value, gIm: I32Value): void => {
            for (const part of parts(f)) {
              const point = pointAt(f, at, part);
              const [rRe, rIm] = inverse(f, point, kept);
              const x = f.f32x4;
              const [re, im] = [f.mem.vec.load(gRe, part), f.mem.vec.load(gIm, part)];
              const sRe = x.madd(im, rIm, x.mul(re, rRe));
              const sIm = x.nmadd(re, rIm, x.mul(im, rRe));
              f.setVec(sums[0]!, x.add(sums[0]!, sRe));
              f.setVec(sums[1]!, x.add(sums[1]!, sIm));
              // One factor for all sets, rounded once: where they cancel, its error cancels too.
              const [qRe, qIm] = [x.nmadd(rIm, rIm, x.mul(rRe, rRe)), x.mul(2, x.mul(rRe, rIm))];
              const [uRe, uIm] = [
                x.nmadd(qIm, point.plus[1], x.mul(qRe, point.plus[0])),
                x.madd(qIm, point.plus[0], x.mul(qRe, point.plus[1])),
              ];
              f.setVec(sums[2]!, x.madd(im, uIm, x.madd(re, uRe, sums[2]!)));
              f.setVec(sums[3]!, x.nmadd(re, uIm, x.madd(im, uRe, sums[3]!)));
            }
          };
          const at = f.variable("i32", arg("table"));
          const gRe = f.variable("i32", f.i32.add(arg("inRe"), from));
          const gIm = f.variable("i32", f.i32.add(arg("inIm"), from));
          f.loop(0, whole, LANES, () => {
            block(at, gRe, gIm);
            f.advance(at, BLOCK_BYTES);
            f.advance(gRe, 4 * LANES);
            f.advance(gIm, 4 * LANES);
          });
          f.if(f.i32.ltS(whole, points), () => block(at, lastRe, lastIm));
          const to = f.i32.muladd(f.i32.add(f.i32.mul(row, modes), n), 4, f.i32.constant(0));
          (["outRe", "outIm", "tRe", "tIm"] as const).forEach((name, i) => {
            const slot = f.i32.add(scratch, 32 * i);
            f.mem.vec.store(slot, 0, sums[i]!);
            let total = f.mem.f32.load(slot, 0);
            for (let lane = 1; lane < f.lanes; lane++)
              total = f.f32.add(total, f.mem.f32.load(slot, 4 * lane));
            f.mem.f32.store(f.i32.add(arg(name), to), 0, total);
          });
        });
      });
    });
  });
}

function lower(
  entry: string,
  words: Words,
  systems: number,
  nodes: number,
  target: WasmTarget,
): ReturnType<WasmSource<ResolventParams>["lower"]> {
  return {
    steps: [
      {
        kernel: { key: `resolvent/${targetKey(target)}`, build },
        entry,
        args: argWords(ARGS, words),
        units: systems,
        grain: 1,
        scratchBytes: 320,
        tables: [pointTable(nodes)],
      },
    ],
  };
}

/** `(v re, v im, a re, a im) -> (y re, y im)`. */
export const resolventWasm: WasmSource<ResolventParams> = {
  lower: ({ inputs, outputs, params }, target) => {
    if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const [sets, systems, modes] = inputs[0]!.shape as [number, number, number];
    if (sets * systems * modes === 0) return "an empty axis";
    const words: Words = {
      aRe: { input: 2 },
      aIm: { input: 3 },
      inRe: { input: 0 },
      inIm: { input: 1 },
      outRe: { output: 0 },
      outIm: { output: 1 },
      tRe: 0,
      tIm: 0,
      sets,
      systems,
      modes,
      points: outputs[0]!.shape[2]!,
      table: { table: 0 },
    };
    return lower("resolvent", words, systems, params.nodes, target);
  },
};

/** `(g re, g im, a re, a im) -> (s re, s im, t re, t im)`. */
export const resolventSumsWasm: WasmSource<ResolventParams> = {
  lower: ({ inputs, outputs, params }, target) => {
    if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const [sets, systems, points] = inputs[0]!.shape as [number, number, number];
    const modes = outputs[0]!.shape[2]!;
    if (sets * systems * modes === 0) return "an empty axis";
    const words: Words = {
      aRe: { input: 2 },
      aIm: { input: 3 },
      inRe: { input: 0 },
      inIm: { input: 1 },
      outRe: { output: 0 },
      outIm: { output: 1 },
      tRe: { output: 2 },
      tIm: { output: 3 },
      sets,
      systems,
      modes,
      points,
      table: { table: 0 },
    };
    return lower("resolventSums", words, systems, params.nodes, target);
  },
};
