// Resolvents on the CPU. Lanes are points; the inverse of a pole and a vector of points is made once for a handful of sets.

import type { FunctionBuilder, ModuleBuilder, Value, Vec } from "@everlong/wasm";
import { argReader, argWords, targetKey } from "../wasm-emit.ts";
import type { ArgWord, WasmSource, WasmTable, WasmTarget } from "../wasm-step.ts";
import { resolventPoint, resolventPoints, type ResolventParams } from "./points.ts";

type I32Value = Value<"i32">;

/** Sets of weights, and of cotangents, that share an inverse. */
const GROUP = 4;
const SUMS_GROUP = 2;
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

/** Points in blocks of 8: their `1 - w` re and im, then `(1 + w) / 2` re and im. */
const BLOCK_BYTES = 4 * 4 * LANES;
function pointTable(nodes: number): WasmTable {
  const points = resolventPoints(nodes);
  return {
    key: `resolvent/${nodes}`,
    bytes: Math.ceil(points / LANES) * BLOCK_BYTES,
    fill: (memory, at) => {
      for (let j = 0; j < Math.ceil(points / LANES) * LANES; j++) {
        // Places behind the end repeat the last point; what is read there does not count.
        const values = resolventPoint(Math.min(j, points - 1), nodes);
        const to = at + Math.floor(j / LANES) * BLOCK_BYTES + 4 * (j % LANES);
        values.forEach((v, i) => memory.setFloat32(to + 4 * LANES * i, v, true));
      }
    },
  };
}

/** Vectors of a block of 8 points: one pair, or two single ones. */
const parts = (f: FunctionBuilder): readonly number[] => (f.width === 2 ? [0] : [0, 16]);

/** `r = 1 / (minus - plus a)` for one vector of points. */
function inverse(f: FunctionBuilder, point: Point, a: readonly [Vec, Vec]): readonly [Vec, Vec] {
  const { minus, plus } = point;
  const x = f.f32x4;
  // Large terms first: near a pole on the circle they cancel, and what the small ones add must survive.
  const dRe = x.nmadd(a[0], plus[0], x.madd(a[1], plus[1], minus[0]));
  const dIm = x.nmadd(a[0], plus[1], x.nmadd(a[1], plus[0], minus[1]));
  const size = x.div(1, x.madd(dRe, dRe, x.mul(dIm, dIm)));
  return [x.mul(dRe, size), x.mul(x.neg(dIm), size)];
}

interface Point {
  readonly minus: readonly [Vec, Vec];
  readonly plus: readonly [Vec, Vec];
}

function pointAt(f: FunctionBuilder, at: I32Value, part: number): Point {
  const load = (i: number): Vec => f.mem.vec.load(at, 4 * LANES * i + part);
  return { minus: [load(0), load(1)], plus: [load(2), load(3)] };
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
  for (const group of [1, SUMS_GROUP]) defineSums(module, group);
  module.define("resolventSums", entry, (f, args, begin, end, scratch) => {
    const arg = argReader(f, args, ARGS);
    const grouped = f.i32.sub(arg("sets"), f.i32.remU(arg("sets"), SUMS_GROUP));
    f.loop(begin, end, 1, (system) => {
      f.loop(0, grouped, SUMS_GROUP, (set) => {
        f.call(module.find(`sums${SUMS_GROUP}`)!, args, system, set, scratch);
      });
      f.loop(
        grouped,
        arg("sets"),
        1,
        (set) => void f.call(module.find("sums1")!, args, system, set, scratch),
      );
    });
  });
}

/** Both sums of a system over all points, for `group` sets from `set` on. */
function defineSums(module: ModuleBuilder, group: number): void {
  const signature = { params: ["i32", "i32", "i32", "i32"] } as const;
  module.define(`sums${group}`, signature, (f, args, system, set, scratch) => {
    const arg = argReader(f, args, ARGS);
    const [modes, points, systems] = [arg("modes"), arg("points"), arg("systems")];
    const whole = f.i32.and(points, -LANES);
    const sets = Array.from({ length: group }, (_, x) => {
      const row = f.i32.add(f.i32.mul(f.i32.add(set, x), systems), system);
      const from = f.i32.mul(row, f.i32.shl(points, 2));
      // The last block, zeros behind the end.
      const last = [0, 1].map((i) => f.i32.add(scratch, 128 + 64 * x + 32 * i));
      const values = [f.i32.add(arg("inRe"), from), f.i32.add(arg("inIm"), from)];
      values.forEach((base, i) => {
        for (let lane = 0; lane < LANES; lane++) f.mem.f32.store(last[i]!, 4 * lane, f.f32.constant(0));
        f.loop(whole, points, 1, (p) => {
          const to = f.i32.muladd(f.i32.sub(p, whole), 4, last[i]!);
          f.mem.f32.store(to, 0, f.mem.f32.load(f.i32.muladd(p, 4, base)));
        });
      });
      return { row, last, values };
    });
    f.loop(0, modes, 1, (n) => {
      const pole = f.i32.shl(f.i32.add(f.i32.mul(system, modes), n), 2);
      const kept = [
        f.vecVariable(splat(f, f.i32.add(arg("aRe"), pole))),
        f.vecVariable(splat(f, f.i32.add(arg("aIm"), pole))),
      ] as const;
      const sums = sets.map(() => Array.from({ length: 4 }, () => f.vecVariable(0)));
      const block = (at: I32Value, values: readonly (readonly I32Value[])[]): void => {
        const x = f.f32x4;
        for (const part of parts(f)) {
          const point = pointAt(f, at, part);
          const [rRe, rIm] = inverse(f, point, kept);
          // One factor for all sets, rounded once: where they cancel, its error cancels too.
          const [qRe, qIm] = [x.nmadd(rIm, rIm, x.mul(rRe, rRe)), x.mul(2, x.mul(rRe, rIm))];
          const uRe = x.nmadd(qIm, point.plus[1], x.mul(qRe, point.plus[0]));
          const uIm = x.madd(qIm, point.plus[0], x.mul(qRe, point.plus[1]));
          values.forEach((g, k) => {
            const [re, im] = [f.mem.vec.load(g[0]!, part), f.mem.vec.load(g[1]!, part)];
            const own = sums[k]!;
            f.setVec(own[0]!, x.madd(im, rIm, x.madd(re, rRe, own[0]!)));
            f.setVec(own[1]!, x.nmadd(re, rIm, x.madd(im, rRe, own[1]!)));
            f.setVec(own[2]!, x.madd(im, uIm, x.madd(re, uRe, own[2]!)));
            f.setVec(own[3]!, x.nmadd(re, uIm, x.madd(im, uRe, own[3]!)));
          });
        }
      };
      const at = f.variable("i32", arg("table"));
      const walking = sets.map(({ values }) => values.map((v) => f.variable("i32", v)));
      f.loop(0, whole, LANES, () => {
        block(at, walking);
        f.advance(at, BLOCK_BYTES);
        for (const g of walking.flat()) f.advance(g, 4 * LANES);
      });
      f.if(f.i32.ltS(whole, points), () => {
        block(
          at,
          sets.map(({ last }) => last),
        );
      });
      sets.forEach(({ row }, k) => {
        const to = f.i32.shl(f.i32.add(f.i32.mul(row, modes), n), 2);
        (["outRe", "outIm", "tRe", "tIm"] as const).forEach((name, i) => {
          const slot = f.i32.add(scratch, 32 * i);
          f.mem.vec.store(slot, 0, sums[k]![i]!);
          let total = f.mem.f32.load(slot, 0);
          for (let lane = 1; lane < f.lanes; lane++) total = f.f32.add(total, f.mem.f32.load(slot, 4 * lane));
          f.mem.f32.store(f.i32.add(arg(name), to), 0, total);
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
