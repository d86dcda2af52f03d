// Gradients of transfer functions on the CPU, in float64 throughout. First, with lanes as points, what the low rank reads of both
// sides at every point; then for every mode the sums over all points.

import type { FunctionBuilder, ModuleBuilder, Value, Vec } from "@everlong/wasm";
import type { ResolventParams } from "../resolvent/points.ts";
import { argReader, argWords, smaller, targetKey, type I32Value } from "../wasm-emit.ts";
import type { ArgWord, WasmSource } from "../wasm-step.ts";
import { TRANSFER_INPUTS, type TransferInput } from "./names.ts";
import { complexOps, type Pair } from "./wasm-complex.ts";
import {
  BLOCK,
  DOUBLES,
  GRAD_ARGS,
  POINT_BYTES,
  blocksOf,
  corrections,
  parts,
  pointAt,
  pointTable,
  productsOf,
  readMode,
  readSystem,
  responses,
  storeCoefficients,
  type SharedArg,
} from "./wasm-parts.ts";

const VECTOR = BLOCK * DOUBLES;
/** Vectors that straddle cache lines cost twice. */
const aligned = (bytes: number): number => 64 * Math.ceil(bytes / 64);
/** Space for the lanes of a sum, before everything else. */
const laneBytes = (rank: number): number => aligned(VECTOR * sumsOf(rank) + 3 * DOUBLES * (3 + rank));

/** Sums of a mode over points: of b, c, a and each p as re and im, and of dt. */
const sumsOf = (rank: number): number => 7 + 2 * rank;
/** A block's conjugate cotangents, and plus times what the low rank reads of x and drives in y. */
const stateBytes = (rank: number): number => VECTOR * (2 + 4 * rank);

/** Where the float64 totals of a system lie: rows of `[modes]`, re before im. */
interface Totals {
  readonly b: (set: I32Value) => I32Value;
  readonly c: (read: I32Value) => I32Value;
  readonly a: I32Value;
  readonly p: (rank: I32Value) => I32Value;
  readonly dt: I32Value;
  readonly end: I32Value;
}

type Arg = (name: SharedArg) => I32Value;

function totalsAt(f: FunctionBuilder, arg: Arg, rank: number, base: I32Value): Totals {
  const modes = arg("modes");
  const row = (index: I32Value): I32Value => f.i32.add(base, f.i32.shl(f.i32.mul(index, modes), 4));
  const ofP = f.i32.add(arg("sets"), arg("reads"));
  const ofA = f.i32.add(ofP, rank);
  const dt = row(f.i32.add(ofA, 1));
  return {
    b: (set) => row(set),
    c: (read) => row(f.i32.add(arg("sets"), read)),
    p: (r) => row(f.i32.add(ofP, r)),
    a: row(ofA),
    dt,
    end: f.i32.add(dt, f.i32.shl(modes, 3)),
  };
}

function build(rank: number) {
  const products = productsOf(rank, false);
  const ranks = Array.from({ length: rank }, (_, r) => r);
  return (module: ModuleBuilder): void => {
    // Every point's cotangent and scalars, one block behind the other.
    const scalars = module.define(
      "scalars",
      { params: Array.from({ length: 6 }, () => "i32" as const) },
      (f, args, system, set, read, coefficients, states) => {
        const arg = argReader(f, args, GRAD_ARGS);
        const z = complexOps(f);
        storeCoefficients(f, arg, products, { system, set, read, to: coefficients });
        const points = arg("points");
        const row = f.i32.add(
          f.i32.mul(f.i32.add(f.i32.mul(set, arg("reads")), read), arg("systems")),
          system,
        );
        const at = f.variable("i32", arg("table"));
        const to = f.variable("i32", f.i32.add(states, 0));
        f.loop(0, points, BLOCK, (p) => {
          for (let i = 0; i < 2 * BLOCK; i++) f.mem.f64.store(to, DOUBLES * i, 0);
          const first = f.i32.add(f.i32.mul(row, points), p);
          f.loop(0, smaller(f, f.i32.sub(points, p), BLOCK), 1, (i) => {
            const from = f.i32.shl(f.i32.add(first, i), 2);
            const place = f.i32.muladd(i, DOUBLES, to);
            const value = (name: "gRe" | "gIm"): ReturnType<typeof f.f64.neg> =>
              f.f64.promoteF32(f.mem.f32.load(f.i32.add(arg(name), from)));
            f.mem.f64.store(place, 0, value("gRe"));
            f.mem.f64.store(place, VECTOR, f.f64.neg(value("gIm")));
          });
          for (const part of parts(f)) {
            const point = pointAt(f, at, part);
            const response = responses(f, point, products, coefficients, arg("modes"));
            const { drive, read: back } = corrections(f, point.plus, products, response);
            [...drive(), ...back()].forEach((value, r) => {
              const turned = z.mul(point.plus, value);
              const slot = VECTOR * (2 + 2 * r) + part;
              f.mem.vec.store(to, slot, turned.re);
              f.mem.vec.store(to, slot + VECTOR, turned.im);
            });
          }
          f.advance(at, POINT_BYTES);
          f.advance(to, stateBytes(rank));
        });
      },
    );

    // All sums of one mode, for one drive and one read-out.
    const mode = module.define(
      "mode",
      { params: Array.from({ length: 8 }, () => "i32" as const) },
      (f, args, system, set, read, n, states, totals, lanes) => {
        const arg = argReader(f, args, GRAD_ARGS);
        const [x, z] = [f.f64x2, complexOps(f)];
        const given = readMode(f, arg, products, { system, set, read, mode: n });
        // Constants of the mode and of its conjugate lie behind the lanes, to be read where they are used: there are more than
        // registers, and a vector operation on lanes that are all alike would not pair.
        const turned = { re: f.f64.mul(given.a.re, given.dt), im: f.f64.mul(given.a.im, given.dt) };
        const numbers = [turned, given.b, given.c, ...given.p].flatMap(({ re, im }) => [
          re,
          im,
          f.f64.neg(im),
        ]);
        const place = (i: number): number => VECTOR * sumsOf(rank) + DOUBLES * i;
        numbers.forEach((value, i) => f.mem.f64.store(lanes, place(i), value));
        const constant = (i: number): readonly [z: Pair, conjugate: Pair] => {
          const [re, im, negated] = [0, 1, 2].map((k) => f.mem.vec.load64Splat(lanes, place(3 * i + k)));
          return [
            { re: re!, im: im! },
            { re: re!, im: negated! },
          ];
        };
        for (let i = 0; i < BLOCK * sumsOf(rank); i++) f.mem.f64.store(lanes, DOUBLES * i, 0);
        const at = f.variable("i32", arg("table"));
        const from = f.variable("i32", f.i32.add(states, 0));
        f.loop(0, arg("points"), BLOCK, () => {
          for (const part of parts(f)) {
            const { minus, plus } = pointAt(f, at, part);
            const load = (i: number): Pair => ({
              re: f.mem.vec.load(from, VECTOR * 2 * i + part),
              im: f.mem.vec.load(from, VECTOR * (2 * i + 1) + part),
            });
            const [[pole], [b, bFlipped], [c, cFlipped]] = [constant(0), constant(1), constant(2)];
            const lowRank = ranks.map((r) => constant(3 + r));
            const [p, pFlipped] = [lowRank.map(([row]) => row), lowRank.map(([, row]) => row)];
            const g = load(0);
            const [qx, py] = [ranks.map((r) => load(1 + r)), ranks.map((r) => load(1 + rank + r))];
            // 1 / (minus - plus z) and 1 / (minus - plus conj z) with one division.
            const middle = {
              re: x.nmadd(plus.re, pole.re, minus.re),
              im: x.nmadd(plus.im, pole.re, minus.im),
            };
            const [d1, d2] = [
              { re: x.madd(plus.im, pole.im, middle.re), im: x.nmadd(plus.re, pole.im, middle.im) },
              { re: x.nmadd(plus.im, pole.im, middle.re), im: x.madd(plus.re, pole.im, middle.im) },
            ];
            const both = z.inverse(z.mul(d1, d2));
            const [r1, r2] = [z.mul(d2, both), z.mul(d1, both)];
            // The states of both modes of the pair, without their factor dt.
            const state = (v: Pair, low: readonly Pair[], scalar: readonly Pair[], r: Pair): Pair =>
              z.mul(
                low.reduce((left, row, i) => z.nmadd(row, scalar[i]!, left), v),
                r,
              );
            const [x1, x2] = [state(b, p, qx, r1), state(bFlipped, pFlipped, qx, r2)];
            const [y1, y2] = [state(c, pFlipped, py, r1), state(cFlipped, p, py, r2)];
            const [gx1, gx2] = [z.mul(g, x1), z.mul(g, x2)];
            const [gy1, gy2] = [z.mul(g, y1), z.mul(g, y2)];
            // conj(first) + second has the re of the sum and the im of the difference.
            const [ySum, yDown] = [z.add(gy1, gy2), z.sub(gy2, gy1)];
            const [xSum, xDown] = [z.add(gx1, gx2), z.sub(gx2, gx1)];
            const [w1, w2] = [z.mul(gy1, x1), z.mul(gy2, x2)];
            const [sum, down] = [z.add(w1, w2), z.sub(w2, w1)];
            // Sums live in memory: there are too many for registers.
            const accumulate = (i: number, next: (before: Vec) => Vec): void =>
              f.mem.vec.store(lanes, VECTOR * i + part, next(f.mem.vec.load(lanes, VECTOR * i + part)));
            accumulate(0, (v) => x.add(v, ySum.re));
            accumulate(1, (v) => x.add(v, yDown.im));
            accumulate(2, (v) => x.add(v, xSum.re));
            accumulate(3, (v) => x.add(v, xDown.im));
            accumulate(4, (v) => x.nmadd(sum.im, plus.im, x.madd(sum.re, plus.re, v)));
            accumulate(5, (v) => x.madd(down.im, plus.re, x.madd(down.re, plus.im, v)));
            accumulate(6, (v) => x.nmadd(sum.im, minus.im, x.madd(sum.re, minus.re, v)));
            for (const r of ranks) {
              const [q, y] = [qx[r]!, py[r]!];
              accumulate(7 + 2 * r, (v) => {
                const ofP = x.madd(ySum.im, q.im, x.nmadd(ySum.re, q.re, v));
                return x.madd(xSum.im, y.im, x.nmadd(xSum.re, y.re, ofP));
              });
              accumulate(8 + 2 * r, (v) => {
                const ofP = x.nmadd(yDown.im, q.re, x.nmadd(yDown.re, q.im, v));
                return x.madd(xDown.im, y.re, x.madd(xDown.re, y.im, ofP));
              });
            }
          }
          f.advance(at, POINT_BYTES);
          f.advance(from, stateBytes(rank));
        });
        const rows = totalsAt(f, arg, rank, totals);
        const rowBytes = f.i32.shl(arg("modes"), 3);
        const into = (i: number, row: I32Value, scale?: Value<"f64">): void => {
          const lane = (k: number): Value<"f64"> => f.mem.f64.load(lanes, VECTOR * i + DOUBLES * k);
          let total = lane(0);
          for (let k = 1; k < BLOCK; k++) total = f.f64.add(total, lane(k));
          const place = f.i32.muladd(n, DOUBLES, row);
          const part = scale ? f.f64.mul(total, scale) : total;
          f.mem.f64.store(place, 0, f.f64.add(f.mem.f64.load(place, 0), part));
        };
        const intoPair = (i: number, row: I32Value, scale: Value<"f64">): void => {
          into(i, row, scale);
          into(i + 1, f.i32.add(row, rowBytes), scale);
        };
        // What states lack: one factor dt each, which that of dt itself is divided by.
        intoPair(0, rows.b(set), given.dt);
        intoPair(2, rows.c(read), given.dt);
        intoPair(4, rows.a, f.f64.mul(given.dt, given.dt));
        into(6, rows.dt);
        for (const r of ranks) intoPair(7 + 2 * r, rows.p(f.i32.constant(r)), given.dt);
      },
    );

    module.define(
      "transferGrad",
      { params: ["i32", "i32", "i32", "i32"], exported: true },
      (f, args, begin, end, scratch) => {
        const arg = argReader(f, args, GRAD_ARGS);
        const [modes, systems] = [arg("modes"), arg("systems")];
        const coefficients = f.i32.add(scratch, laneBytes(rank));
        const states = f.i32.and(
          f.i32.add(f.i32.mul(modes, products.bytes), f.i32.add(coefficients, 63)),
          -64,
        );
        const blocks = f.i32.divU(f.i32.add(arg("points"), BLOCK - 1), BLOCK);
        const totals = f.i32.muladd(blocks, stateBytes(rank), states);
        const rows = totalsAt(f, arg, rank, totals);
        f.loop(begin, end, 1, (system) => {
          f.loop(totals, rows.end, DOUBLES, (at) => f.mem.f64.store(at, 0, 0));
          f.loop(0, arg("sets"), 1, (set) => {
            f.loop(0, arg("reads"), 1, (read) => {
              f.call(scalars, args, system, set, read, coefficients, states);
              f.loop(0, modes, 1, (n) => {
                f.call(mode, args, system, set, read, n, states, totals, scratch);
              });
            });
          });
          const rounded = (from: I32Value, to: I32Value): void =>
            f.mem.f32.store(to, 0, f.f32.demoteF64(f.mem.f64.load(from, 0)));
          const write = (name: "a" | "b" | "c" | "p", index: I32Value, row: I32Value): void => {
            const first = f.i32.mul(f.i32.add(f.i32.mul(index, systems), system), modes);
            (["Re", "Im"] as const).forEach((part, k) => {
              const from = f.i32.add(row, k === 0 ? 0 : f.i32.shl(modes, 3));
              const to = f.i32.muladd(first, 4, arg(`${name}${part}Grad`));
              f.loop(0, modes, 1, (n) => rounded(f.i32.muladd(n, 8, from), f.i32.muladd(n, 4, to)));
            });
          };
          f.loop(0, arg("sets"), 1, (set) => write("b", set, rows.b(set)));
          f.loop(0, arg("reads"), 1, (read) => write("c", read, rows.c(read)));
          f.loop(0, rank, 1, (r) => write("p", r, rows.p(r)));
          write("a", f.i32.constant(0), rows.a);
          f.if(
            f.i32.eq(arg("steps"), 1),
            () => {
              const total = f.variable("f64", 0);
              f.loop(0, modes, 1, (n) =>
                f.set(total, f.f64.add(total, f.mem.f64.load(f.i32.muladd(n, 8, rows.dt)))),
              );
              f.mem.f32.store(f.i32.muladd(system, 4, arg("dtGrad")), 0, f.f32.demoteF64(total));
            },
            () => {
              const to = f.i32.muladd(f.i32.mul(system, modes), 4, arg("dtGrad"));
              f.loop(0, modes, 1, (n) => rounded(f.i32.muladd(n, 8, rows.dt), f.i32.muladd(n, 4, to)));
            },
          );
        });
      },
    );
  };
}

/** `(g re, g im, b, c, p, a as re and im, dt) -> gradients of all but g`. */
export const transferGradWasm: WasmSource<ResolventParams> = {
  lower: ({ inputs, params }, target) => {
    const call = readSystem(inputs, 2, inputs[0]!.shape);
    if (typeof call === "string") return call;
    const { rank, sets, reads, systems, modes, points, words } = call;
    const results = Object.fromEntries(
      TRANSFER_INPUTS.map((name, i) => [`${name}Grad`, { output: i }]),
    ) as Record<`${TransferInput}Grad`, ArgWord>;
    const totals = DOUBLES * modes * (2 * (sets + reads + rank + 1) + 1);
    const scratchBytes =
      laneBytes(rank) +
      aligned(modes * productsOf(rank, false).bytes) +
      blocksOf(points) * stateBytes(rank) +
      totals;
    return {
      steps: [
        {
          kernel: { key: `dplr-transfer-grad/${rank}/${targetKey(target)}`, build: build(rank) },
          entry: "transferGrad",
          args: argWords(GRAD_ARGS, { ...words, ...results, gRe: { input: 0 }, gIm: { input: 1 } }),
          units: systems,
          grain: 1,
          scratchBytes,
          tables: [pointTable(params.nodes)],
        },
      ],
    };
  },
};
