// What the kernels of transfer functions and of their gradients share: arguments, points, and the responses of the diagonal system.

import type { FunctionBuilder, I32, Value, Vec } from "@everlong/wasm";
import { resolventPoint, resolventPoints } from "../resolvent/points.ts";
import type { I32Value } from "../wasm-emit.ts";
import type { ArgWord, WasmTable, WasmView } from "../wasm-step.ts";
import { MOST_RANK, TRANSFER_INPUTS, type TransferInput } from "./names.ts";
import { complexOps, inverseOf, type Pair } from "./wasm-complex.ts";

const SIZES = ["sets", "reads", "systems", "modes", "steps", "points", "table"] as const;
type Size = (typeof SIZES)[number];
/** Words that both kernels take. */
export type SharedArg = TransferInput | Size;
type GradArg = SharedArg | "gRe" | "gIm" | `${TransferInput}Grad`;

export const TRANSFER_ARGS: readonly (SharedArg | "outRe" | "outIm")[] = [
  ...TRANSFER_INPUTS,
  ...SIZES,
  "outRe",
  "outIm",
];
export const GRAD_ARGS: readonly GradArg[] = [
  ...TRANSFER_INPUTS,
  ...SIZES,
  "gRe",
  "gIm",
  ...TRANSFER_INPUTS.map((name): GradArg => `${name}Grad`),
];

/** Points of a block: four doubles, one pair of vectors. */
export const BLOCK = 4;
export const DOUBLES = 8;
/** `1 - w` and `(1 + w) / 2`, re and im, of a block. */
export const POINT_BYTES: number = 4 * BLOCK * DOUBLES;

export const blocksOf = (points: number): number => Math.ceil(points / BLOCK);

export function pointTable(nodes: number): WasmTable {
  const points = resolventPoints(nodes);
  const blocks = blocksOf(points);
  return {
    key: `dplr-transfer/${nodes}`,
    bytes: blocks * POINT_BYTES,
    fill: (memory, at) => {
      for (let j = 0; j < blocks * BLOCK; j++) {
        // Places behind the end repeat the last point; what is read there does not count.
        const values = resolventPoint(Math.min(j, points - 1), nodes);
        const to = at + Math.floor(j / BLOCK) * POINT_BYTES + DOUBLES * (j % BLOCK);
        values.forEach((v, i) => memory.setFloat64(to + DOUBLES * BLOCK * i, v, true));
      }
    },
  };
}

/** Vectors of a block: one pair, or two single ones. */
export const parts = (f: FunctionBuilder): readonly number[] => (f.width === 2 ? [0] : [0, 16]);

export interface PointVectors {
  readonly minus: Pair;
  readonly plus: Pair;
}

export function pointAt(f: FunctionBuilder, at: I32, part: number): PointVectors {
  const load = (i: number): Vec => f.mem.vec.load(at, DOUBLES * BLOCK * i + part);
  return { minus: { re: load(0), im: load(1) }, plus: { re: load(2), im: load(3) } };
}

/** Which products of a drive and a read are needed, and where their coefficients lie. */
export interface Products {
  readonly rank: number;
  /** Pairs (drive, read): drive 0 is b, 1 + r is p_r; read 0 is c, 1 + r the conjugate of p_r. */
  readonly list: readonly (readonly [drive: number, read: number])[];
  /** Bytes of the coefficients of a mode. */
  readonly bytes: number;
}

export function productsOf(rank: number, withDirect: boolean): Products {
  const ends = Array.from({ length: rank + 1 }, (_, i) => i);
  const all = ends.flatMap((drive) => ends.map((read) => [drive, read] as const));
  const list = withDirect ? all : all.slice(1);
  return { rank, list, bytes: DOUBLES * (2 + 2 * list.length) };
}

type F64Value = Value<"f64">;
interface Scalar {
  readonly re: F64Value;
  readonly im: F64Value;
}

/** Numbers of one mode, in float64. */
export interface ModeReader {
  readonly dt: F64Value;
  readonly a: Scalar;
  readonly b: Scalar;
  readonly c: Scalar;
  readonly p: readonly Scalar[];
}

/** Reads mode `n` of a system for one drive and one read-out. */
export function readMode(
  f: FunctionBuilder,
  arg: (name: SharedArg) => I32Value,
  { rank }: Products,
  place: { readonly system: I32; readonly set: I32; readonly read: I32; readonly mode: I32 },
): ModeReader {
  const { system, set, read, mode } = place;
  const number = (name: TransferInput, index: I32): F64Value =>
    f.f64.promoteF32(f.mem.f32.load(f.i32.muladd(index, 4, arg(name))));
  const at = (row: I32): I32Value => {
    const systems = f.i32.add(f.i32.mul(row, arg("systems")), system);
    return f.i32.add(f.i32.mul(systems, arg("modes")), mode);
  };
  const complex = (name: "a" | "b" | "c" | "p", row: I32): Scalar => {
    const index = at(row);
    return { re: number(`${name}Re`, index), im: number(`${name}Im`, index) };
  };
  const tied = f.i32.eq(arg("steps"), 1);
  const step = f.select<"i32">(tied, system, f.i32.add(f.i32.mul(system, arg("modes")), mode), "i32");
  return {
    dt: number("dt", step),
    a: complex("a", f.i32.constant(0)),
    b: complex("b", set),
    c: complex("c", read),
    p: Array.from({ length: rank }, (_, r) => complex("p", f.i32.constant(r))),
  };
}

/**
 * Coefficients of all modes: of `(m - q z)(m - q conj z)` = m^2 - s m q + t q^2 with z = a dt, and of v (m - q conj z) + conj(v) (m - q z)
 * for each product v.
 */
export function storeCoefficients(
  f: FunctionBuilder,
  arg: (name: SharedArg) => I32Value,
  products: Products,
  place: { readonly system: I32; readonly set: I32; readonly read: I32; readonly to: I32 },
): void {
  const x = f.f64;
  const to = f.variable("i32", f.i32.add(place.to, 0));
  f.loop(0, arg("modes"), 1, (mode) => {
    const { dt, a, b, c, p } = readMode(f, arg, products, { ...place, mode });
    const z = { re: x.mul(a.re, dt), im: x.mul(a.im, dt) };
    const twice = (re: F64Value): F64Value => x.add(re, re);
    f.mem.f64.store(to, 0, twice(z.re));
    f.mem.f64.store(to, DOUBLES, x.add(x.mul(z.re, z.re), x.mul(z.im, z.im)));
    const drives = [b, ...p];
    const reads = [c, ...p.map((r) => ({ re: r.re, im: x.neg(r.im) }))];
    products.list.forEach(([drive, read], i) => {
      const [l, r] = [drives[drive]!, reads[read]!];
      const v = {
        re: x.mul(dt, x.sub(x.mul(l.re, r.re), x.mul(l.im, r.im))),
        im: x.mul(dt, x.add(x.mul(l.re, r.im), x.mul(l.im, r.re))),
      };
      f.mem.f64.store(to, DOUBLES * (2 + 2 * i), twice(v.re));
      const turned = x.add(x.mul(v.re, z.re), x.mul(v.im, z.im));
      f.mem.f64.store(to, DOUBLES * (3 + 2 * i), twice(turned));
    });
    f.advance(to, products.bytes);
  });
}

/** What drives the diagonal system against what reads it, at one vector of points. */
export function responses(
  f: FunctionBuilder,
  point: PointVectors,
  products: Products,
  coefficients: I32Value,
  modes: I32Value,
): (drive: number, read: number) => Pair {
  const [x, z] = [f.f64x2, complexOps(f)];
  const { minus, plus } = point;
  const [mm, mq, qq] = [z.mul(minus, minus), z.mul(minus, plus), z.mul(plus, plus)];
  const sums = products.list.map(() => ({ re: f.vecVariable(0), im: f.vecVariable(0) }));
  const at = f.variable("i32", f.i32.add(coefficients, 0));
  f.loop(0, modes, 1, () => {
    const splat = (i: number): Vec => f.mem.vec.load64Splat(at, DOUBLES * i);
    const [s, t] = [splat(0), splat(1)];
    const inverse = z.inverse({
      re: x.madd(t, qq.re, x.nmadd(s, mq.re, mm.re)),
      im: x.madd(t, qq.im, x.nmadd(s, mq.im, mm.im)),
    });
    const [u, w] = [z.mul(minus, inverse), z.mul(plus, inverse)];
    sums.forEach(({ re, im }, i) => {
      const [alpha, beta] = [splat(2 + 2 * i), splat(3 + 2 * i)];
      f.setVec(re, x.nmadd(beta, w.re, x.madd(alpha, u.re, re)));
      f.setVec(im, x.nmadd(beta, w.im, x.madd(alpha, u.im, im)));
    });
    f.advance(at, products.bytes);
  });
  return (drive, read) => sums[products.list.findIndex(([d, r]) => d === drive && r === read)]!;
}

/**
 * `s = (1 + plus R)^-1 r` with r what the low rank reads of b; and, where asked for, the transposed inverse applied to what it
 * drives in c. Both come from one inverse: V8 (13.6) miscompiles pairs that two eliminations of one matrix share.
 */
export function corrections(
  f: FunctionBuilder,
  plus: Pair,
  { rank }: Products,
  response: (drive: number, read: number) => Pair,
): { readonly drive: () => readonly Pair[]; readonly read: () => readonly Pair[] } {
  const z = complexOps(f);
  const one = f.f64x2.splat(1, plus.re.parts.length);
  const ranks = Array.from({ length: rank }, (_, r) => r);
  const inverse = inverseOf(
    z,
    ranks.map((i) =>
      ranks.map((j) => {
        const t = z.mul(plus, response(1 + j, 1 + i));
        return i === j ? { re: f.f64x2.add(t.re, one), im: t.im } : t;
      }),
    ),
  );
  const applied = (element: (i: number, j: number) => Pair, right: (j: number) => Pair): readonly Pair[] =>
    ranks.map((i) =>
      ranks.slice(1).reduce((sum, j) => z.madd(element(i, j), right(j), sum), z.mul(element(i, 0), right(0))),
    );
  return {
    drive: () =>
      applied(
        (i, j) => inverse[i]![j]!,
        (j) => response(0, 1 + j),
      ),
    read: () =>
      applied(
        (i, j) => inverse[j]![i]!,
        (j) => response(1 + j, 0),
      ),
  };
}

/** What both kernels find in a call. */
export interface SystemCall {
  readonly rank: number;
  readonly sets: number;
  readonly reads: number;
  readonly systems: number;
  readonly modes: number;
  readonly points: number;
  readonly words: { readonly [K in SharedArg]: ArgWord };
}

/**
 * Reads a call, or says why there is no kernel for it.
 * @param first where b begins among the inputs
 * @param shape of a transfer function, `[sets, reads, systems, points]`
 */
export function readSystem(
  inputs: readonly WasmView[],
  first: number,
  shape: readonly number[],
): SystemCall | string {
  if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
  const [sets, reads, systems, points] = shape as [number, number, number, number];
  const sizeOf = (name: TransferInput, axis: number): number =>
    inputs[first + TRANSFER_INPUTS.indexOf(name)]!.shape[axis]!;
  const rank = sizeOf("pRe", 0);
  const modes = sizeOf("aRe", 1);
  if (rank > MOST_RANK) return `a rank of ${rank} is more than ${MOST_RANK}`;
  if (sets * reads * systems * modes === 0) return "an empty axis";
  const places = Object.fromEntries(TRANSFER_INPUTS.map((name, i) => [name, { input: first + i }]));
  const words = {
    ...(places as Record<TransferInput, ArgWord>),
    sets,
    reads,
    systems,
    modes,
    steps: sizeOf("dt", 1),
    points,
    table: { table: 0 },
  };
  return { rank, sets, reads, systems, modes, points, words };
}
