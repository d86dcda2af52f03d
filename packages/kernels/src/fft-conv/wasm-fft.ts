// The complex transform of rows of any length, in natural order. Lengths of 1, 3 or 5 times a power of two are transformed directly;
// others by the chirp transform (L. Bluestein, 1970): a convolution of at least twice the length with a fixed filter.

import type { FunctionBuilder, FunctionRef, ModuleBuilder, Value, Vec } from "@everlong/wasm";
import type { ArgWord, WasmSource, WasmStep, WasmTable, WasmTarget } from "../wasm-step.ts";
import { elementBytes, leafOf, niceLength, type Leaf } from "./wasm-lengths.ts";
import { defineTransforms, MODE } from "./wasm-transform.ts";

const FFT_ARGS = [
  "re",
  "im",
  "outRe",
  "outIm",
  "rows",
  "length",
  // transform length, its twiddles and the byte offsets of its results in natural order
  "size",
  "twiddles",
  "order",
  // chirp factors and the filter's spectrum, or 0
  "chirp",
  "filter",
  "groupsPerUnit",
] as const;
type FftArg = (typeof FFT_ARGS)[number];
type I32Value = Value<"i32">;

/** Where frequency `f` of a transform of length `n` ends up. */
export function positionOf(f: number, n: number, leaf: number): number {
  return n === leaf ? f : (f % 4) * (n / 4) + positionOf(Math.floor(f / 4), n / 4, leaf);
}

/** Twiddles of all levels n = size, size / 4, ... */
function levelTable(size: number): WasmTable {
  const leaf = leafOf(size)!;
  let count = 0;
  for (let n = size; n > leaf; n /= 4) count += n / 4;
  return {
    key: `fft-levels/${size}`,
    bytes: 24 * count,
    fill: (memory, at) => {
      let to = at;
      for (let n = size; n > leaf; n /= 4)
        for (let j = 0; j < n / 4; j++)
          for (let k = 1; k <= 3; k++, to += 8) {
            const angle = (-2 * Math.PI * j * k) / n;
            memory.setFloat32(to, Math.cos(angle), true);
            memory.setFloat32(to + 4, Math.sin(angle), true);
          }
    },
  };
}

const orderTable = (size: number, width: number): WasmTable => ({
  key: `fft-order/${size}/${width}`,
  bytes: 4 * size,
  fill: (memory, at) => {
    const leaf = leafOf(size)!;
    for (let f = 0; f < size; f++)
      memory.setInt32(at + 4 * f, positionOf(f, size, leaf) * elementBytes(width), true);
  },
});

/** exp(-i pi n^2 / length), with n^2 reduced first. */
function chirpAngle(n: number, length: number): number {
  const square = Number((BigInt(n) * BigInt(n)) % BigInt(2 * length));
  return (-Math.PI * square) / length;
}

const chirpTable = (length: number): WasmTable => ({
  key: `fft-chirp/${length}`,
  bytes: 8 * length,
  fill: (memory, at) => {
    for (let n = 0; n < length; n++) {
      memory.setFloat32(at + 8 * n, Math.cos(chirpAngle(n, length)), true);
      memory.setFloat32(at + 8 * n + 4, Math.sin(chirpAngle(n, length)), true);
    }
  },
});

/** Transform in float64, for tables: splits off the factors 2, 3 and 5. */
function transform64(re: Float64Array, im: Float64Array): [Float64Array, Float64Array] {
  const n = re.length;
  if (n === 1) return [re, im];
  const radix = n % 2 === 0 ? 2 : n % 3 === 0 ? 3 : 5;
  const m = n / radix;
  const parts = Array.from({ length: radix }, (_, r) =>
    transform64(
      Float64Array.from({ length: m }, (_, i) => re[i * radix + r]!),
      Float64Array.from({ length: m }, (_, i) => im[i * radix + r]!),
    ),
  );
  const out: [Float64Array, Float64Array] = [new Float64Array(n), new Float64Array(n)];
  for (let k = 0; k < n; k++)
    parts.forEach(([pr, pi], r) => {
      const [c, s] = [Math.cos((-2 * Math.PI * k * r) / n), Math.sin((-2 * Math.PI * k * r) / n)];
      out[0][k]! += pr[k % m]! * c - pi[k % m]! * s;
      out[1][k]! += pr[k % m]! * s + pi[k % m]! * c;
    });
  return out;
}

/** Spectrum of the chirp filter over `size`, by `size`, in the order of the passes. */
const filterTable = (length: number, size: number): WasmTable => ({
  key: `fft-chirp-filter/${length}`,
  bytes: 8 * size,
  fill: (memory, at) => {
    const leaf = leafOf(size)!;
    const re = new Float64Array(size);
    const im = new Float64Array(size);
    for (let n = 0; n < length; n++)
      for (const at of n === 0 ? [0] : [n, size - n]) {
        re[at] = Math.cos(chirpAngle(n, length)) / size;
        im[at] = -Math.sin(chirpAngle(n, length)) / size;
      }
    const [sr, si] = transform64(re, im);
    for (let f = 0; f < size; f++) {
      const to = at + 8 * positionOf(f, size, leaf);
      memory.setFloat32(to, sr[f]!, true);
      memory.setFloat32(to + 4, si[f]!, true);
    }
  },
});

type Quad = readonly [Vec, Vec, Vec, Vec];

function transpose(f: FunctionBuilder, [a, b, c, d]: Quad): Quad {
  const { shuffle } = f.v128;
  const [t0, t1] = [shuffle(a, b, [0, 4, 1, 5]), shuffle(a, b, [2, 6, 3, 7])];
  const [t2, t3] = [shuffle(c, d, [0, 4, 1, 5]), shuffle(c, d, [2, 6, 3, 7])];
  return [
    shuffle(t0, t2, [0, 1, 4, 5]),
    shuffle(t0, t2, [2, 3, 6, 7]),
    shuffle(t1, t3, [0, 1, 4, 5]),
    shuffle(t1, t3, [2, 3, 6, 7]),
  ];
}

/** `(rows, pitch, last, count, elements)`: four rows, row i being min(i, last), become four lanes of elements `es` apart. */
function defineRead(module: ModuleBuilder): FunctionRef {
  const es = elementBytes(module.target.width);
  return module.define(
    "readRows",
    { params: ["i32", "i32", "i32", "i32", "i32"] },
    (f, rows, pitch, last, count, to) => {
      const at = [0, 1, 2, 3].map((i) => {
        const row = i === 0 ? f.i32.constant(0) : f.select(f.i32.ltU(i, last), i, last);
        return f.variable("i32", f.i32.add(rows, f.i32.mul(row, pitch)));
      });
      const quads = f.i32.and(count, -4);
      f.loop(0, quads, 4, () => {
        const x = at.map((p) => f.mem.vec.load(p, 0, 1)) as unknown as Quad;
        transpose(f, x).forEach((v, t) => f.mem.vec.store(to, t * es, v));
        for (const p of at) f.advance(p, 16);
        f.advance(to, 4 * es);
      });
      f.loop(quads, count, 1, () => {
        at.forEach((p, i) => {
          f.mem.f32.store(to, 4 * i, f.mem.f32.load(p));
          f.advance(p, 4);
        });
        f.advance(to, es);
      });
    },
  );
}

/**
 * `(elements, order, rows, pitch, present, count)`: four lanes of elements, found through byte offsets `order`, become rows; lanes
 * from `present` on are dropped.
 */
function defineWrite(module: ModuleBuilder): FunctionRef {
  return module.define(
    "writeRows",
    { params: ["i32", "i32", "i32", "i32", "i32", "i32"] },
    (f, from, order, rows, pitch, present, count) => {
      const at = [0, 1, 2, 3].map((i) => f.variable("i32", f.i32.add(rows, f.i32.mul(pitch, i))));
      const element = (i: number): I32Value => f.i32.add(from, f.mem.i32.load(order, 4 * i));
      const quads = f.variable("i32", f.i32.and(count, -4));
      f.if(f.i32.ltU(present, 4), () => f.set(quads, 0));
      f.loop(0, quads, 4, () => {
        const x = [0, 1, 2, 3].map((i) => f.mem.vec.load(element(i), 0, 1)) as unknown as Quad;
        transpose(f, x).forEach((v, i) => f.mem.vec.store(at[i]!, 0, v));
        for (const p of at) f.advance(p, 16);
        f.advance(order, 16);
      });
      f.loop(quads, count, 1, () => {
        const x = element(0);
        at.forEach((p, i) => {
          f.if(f.i32.gtU(present, i), () => f.mem.f32.store(p, 0, f.mem.f32.load(x, 4 * i)));
          f.advance(p, 4);
        });
        f.advance(order, 4);
      });
    },
  );
}

function buildFft(module: ModuleBuilder, leaf: Leaf): void {
  const es = elementBytes(module.target.width);
  const half = es / 2;
  const { walk } = defineTransforms(module, leaf);
  const read = defineRead(module);
  const write = defineWrite(module);
  // elements times the factors of a table, the same for all lanes
  const twist = module.define("twist", { params: ["i32", "i32", "i32"] }, (f, at, end, factors) => {
    f.sweep(
      at,
      end,
      [
        [at, es],
        [factors, 8],
      ],
      () => {
        const { mul, madd, nmadd } = f.f32x4;
        const [re, im] = [f.mem.vec.load(at), f.mem.vec.load(at, half)];
        const [c, s] = [f.mem.vec.load32Splat(factors), f.mem.vec.load32Splat(factors, 4)];
        const turned = { re: nmadd(im, s, mul(re, c)), im: madd(im, c, mul(re, s)) };
        f.mem.vec.store(at, 0, turned.re);
        f.mem.vec.store(at, half, turned.im);
      },
    );
  });
  const clear = module.define("clearElements", { params: ["i32", "i32"] }, (f, from, to) => {
    f.loop(from, to, half, (at) => f.mem.vec.store(at, 0, 0));
  });
  // a table of complex numbers as elements with equal lanes
  const spread = module.define("spread", { params: ["i32", "i32", "i32"] }, (f, at, end, factors) => {
    f.loop(at, end, half, (to) => {
      f.mem.vec.store(to, 0, f.mem.vec.load32Splat(factors));
      f.advance(factors, 4);
    });
  });

  module.define(
    "transformRows",
    { params: ["i32", "i32", "i32", "i32"], exported: true },
    (f, args, begin, end, scratch) => {
      const arg = (name: FftArg): I32Value => f.mem.i32.load(args, 4 * FFT_ARGS.indexOf(name));
      const bytes = f.i32.mul(arg("size"), es);
      const filter = f.i32.add(f.i32.add(scratch, bytes), 64);
      const [length, chirp] = [arg("length"), arg("chirp")];
      const pitch = f.i32.shl(length, 2);
      const used = f.i32.muladd(length, es, scratch);
      f.if(chirp, () => f.call(spread, filter, f.i32.add(filter, bytes), arg("filter")));
      const firstGroup = f.i32.mul(begin, arg("groupsPerUnit"));
      const all = f.i32.divU(f.i32.add(arg("rows"), f.lanes - 1), f.lanes);
      const until = f.i32.mul(end, arg("groupsPerUnit"));
      f.loop(firstGroup, f.select(f.i32.ltU(until, all), until, all), 1, (group) => {
        const row = f.i32.mul(group, f.lanes);
        const left = f.i32.sub(arg("rows"), row);
        const offset = f.i32.mul(row, pitch);
        for (let part = 0; part < f.width; part++) {
          // lanes without rows of their own read the last row
          const first = part === 0 ? f.i32.constant(0) : f.select(f.i32.gtU(left, 4), 4, 0, "i32");
          const last = f.i32.sub(f.i32.sub(left, first), 1);
          const from = f.i32.add(offset, f.i32.mul(first, pitch));
          f.call(read, f.i32.add(arg("re"), from), pitch, last, length, f.i32.add(scratch, 16 * part));
          f.call(read, f.i32.add(arg("im"), from), pitch, last, length, f.i32.add(scratch, half + 16 * part));
        }
        const whole = f.i32.add(scratch, bytes);
        f.if(
          chirp,
          () => {
            f.call(twist, scratch, used, chirp);
            f.call(clear, used, whole);
            f.call(walk, scratch, filter, filter, bytes, arg("twiddles"), MODE.multiply);
            f.call(twist, scratch, used, chirp);
          },
          () => f.call(walk, scratch, scratch, scratch, bytes, arg("twiddles"), MODE.spectrum),
        );
        for (let part = 0; part < f.width; part++)
          f.if(f.i32.gtU(left, 4 * part), () => {
            const present = f.i32.sub(left, 4 * part);
            const to = f.i32.add(offset, f.i32.mul(pitch, 4 * part));
            const [re, im] = [f.i32.add(scratch, 16 * part), f.i32.add(scratch, half + 16 * part)];
            f.call(write, re, arg("order"), f.i32.add(arg("outRe"), to), pitch, present, length);
            f.call(write, im, arg("order"), f.i32.add(arg("outIm"), to), pitch, present, length);
          });
      });
    },
  );
}

const naturalTable = (length: number, width: number): WasmTable => ({
  key: `fft-natural/${length}/${width}`,
  bytes: 4 * length,
  fill: (memory, at) => {
    for (let n = 0; n < length; n++) memory.setInt32(at + 4 * n, n * elementBytes(width), true);
  },
});

/** Steps of the unscaled transform of `rows` contiguous rows; the parts are exchanged for the inverse. */
export function fftSteps(
  request: {
    readonly rows: number;
    readonly length: number;
    readonly inverse: boolean;
    readonly re: ArgWord;
    readonly im: ArgWord;
    readonly outRe: ArgWord;
    readonly outIm: ArgWord;
  },
  target: WasmTarget,
): readonly WasmStep[] | string {
  const { rows, length, inverse } = request;
  if (rows * length === 0) return [];
  const direct = leafOf(length) !== undefined;
  const size = direct ? length : niceLength(2 * length - 1);
  if (size > 2 ** 22) return `a transform of length ${length} needs one longer than ${2 ** 22}`;
  const tables = [
    levelTable(size),
    direct ? orderTable(size, target.width) : naturalTable(length, target.width),
    ...(direct ? [] : [chirpTable(length), filterTable(length, size)]),
  ];
  const words: { readonly [K in FftArg]: ArgWord } = {
    re: inverse ? request.im : request.re,
    im: inverse ? request.re : request.im,
    outRe: inverse ? request.outIm : request.outRe,
    outIm: inverse ? request.outRe : request.outIm,
    rows,
    length,
    size,
    twiddles: { table: 0 },
    order: { table: 1 },
    chirp: direct ? 0 : { table: 2 },
    filter: direct ? 0 : { table: 3 },
    groupsPerUnit: direct ? 1 : 4,
  };
  const leaf = leafOf(size)!;
  return [
    {
      kernel: {
        key: `fft/${target.width}${target.relaxed ? "r" : "s"}/${leaf}`,
        build: (module) => buildFft(module, leaf),
      },
      entry: "transformRows",
      args: FFT_ARGS.map((name) => words[name]),
      units: Math.ceil(Math.ceil(rows / (4 * target.width)) / (direct ? 1 : 4)),
      grain: Math.max(1, Math.floor(1024 / size)),
      scratchBytes: (direct ? 1 : 2) * (size * elementBytes(target.width) + 64),
      tables,
    },
  ];
}

/** `(re [..., N], im [..., N]) -> (re, im)`: the unscaled complex transform over the last axis, any N. */
export const fftWasm: WasmSource<{ readonly inverse: boolean }> = {
  lower: ({ inputs, params }, target) => {
    const [re] = inputs;
    if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const length = re!.shape.at(-1)!;
    const rows = re!.shape.slice(0, -1).reduce((a, b) => a * b, 1);
    const steps = fftSteps(
      {
        rows,
        length,
        inverse: params.inverse,
        re: { input: 0, byteOffset: 4 * re!.offset },
        im: { input: 1, byteOffset: 4 * inputs[1]!.offset },
        outRe: { output: 0 },
        outIm: { output: 1 },
      },
      target,
    );
    return typeof steps === "string" ? steps : { steps };
  },
};
