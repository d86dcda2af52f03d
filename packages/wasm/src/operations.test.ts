import { describe, expect, test } from "vitest";
import type { FunctionBuilder } from "./function-builder.ts";
import { ModuleBuilder } from "./module-builder.ts";
import * as opcodes from "./opcodes.ts";
import type { Value, Vec } from "./values.ts";

const memory = new WebAssembly.Memory({ initial: 2, maximum: 65536, shared: true });
const f32 = new Float32Array(memory.buffer);
const i32 = new Int32Array(memory.buffer);
const u32 = new Uint32Array(memory.buffer);
const i16 = new Int16Array(memory.buffer);
const u16 = new Uint16Array(memory.buffer);
const i8 = new Int8Array(memory.buffer);
const u8 = new Uint8Array(memory.buffer);
const f64 = new Float64Array(memory.buffer);
const u64 = new BigUint64Array(memory.buffer);
const i64 = new BigInt64Array(memory.buffer);

const A = 1024;
const B = 2048;
const C = 3072;
const OUT = 4096;

type Body = (f: FunctionBuilder) => void;

function run(body: Body, width: 1 | 2, relaxed = true): void {
  const module = new ModuleBuilder({ width, relaxed });
  module.define("main", { params: [], exported: true }, (f) => body(f));
  const bytes = module.bytes();
  expect(WebAssembly.validate(bytes)).toBe(true);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
  (instance.exports["main"] as () => void)();
}

const edge = [0, -0, 1, -1, 0.5, -0.5, 1.5, 2.5, -2.5, NaN, Infinity, -Infinity, 1e-42, 3e38, -3e9, 5e9];
const ints = [
  0,
  1,
  -1,
  2,
  -2,
  2147483647,
  -2147483648,
  65535,
  -65536,
  12345678,
  -87654321,
  7,
  31,
  32,
  33,
  1 << 30,
];
const at = <T>(list: readonly T[], i: number): T => list[((i % list.length) + list.length) % list.length]!;

function fill(values: readonly number[], view: Float32Array | Int32Array, shift: number): void {
  for (let i = 0; i < 64; i++) {
    view[A / 4 + i] = at(values, i);
    view[B / 4 + i] = at(values, i * 5 + shift);
    view[C / 4 + i] = at(values, i * 3 + 7 * shift);
  }
}

const mask = (b: boolean): number => (b ? -1 : 0);
const fr = Math.fround;
const nearest = (x: number): number => {
  if (!Number.isFinite(x)) return x;
  const down = Math.floor(x);
  const r = x - down < 0.5 ? down : x - down > 0.5 ? down + 1 : down % 2 === 0 ? down : down + 1;
  return r === 0 ? (Object.is(x, -0) || x < 0 ? -0 : 0) : r;
};
const wasmMin = (a: number, b: number): number => Math.min(a, b);
const clamp = (x: number, lo: number, hi: number): number => Math.min(hi, Math.max(lo, x));
const truncSat = (x: number, lo: number, hi: number): number =>
  Number.isNaN(x) ? 0 : clamp(Math.trunc(x), lo, hi);

const f32Unary: Record<string, (a: number) => number> = {
  abs: Math.abs,
  neg: (a) => -a,
  sqrt: (a) => fr(Math.sqrt(a)),
  ceil: Math.ceil,
  floor: Math.floor,
  trunc: Math.trunc,
  nearest,
};
const f32Binary: Record<string, (a: number, b: number) => number> = {
  add: (a, b) => fr(a + b),
  sub: (a, b) => fr(a - b),
  mul: (a, b) => fr(a * b),
  div: (a, b) => fr(a / b),
  min: wasmMin,
  max: (a, b) => Math.max(a, b),
  pmin: (a, b) => (b < a ? b : a),
  pmax: (a, b) => (a < b ? b : a),
};
const compare: Record<string, (a: number, b: number) => number> = {
  eq: (a, b) => mask(a === b),
  ne: (a, b) => mask(a !== b),
  lt: (a, b) => mask(a < b),
  gt: (a, b) => mask(a > b),
  le: (a, b) => mask(a <= b),
  ge: (a, b) => mask(a >= b),
};
const i32Binary: Record<string, (a: number, b: number) => number> = {
  add: (a, b) => (a + b) | 0,
  sub: (a, b) => (a - b) | 0,
  mul: Math.imul,
  minS: (a, b) => Math.min(a, b),
  maxS: (a, b) => Math.max(a, b),
  minU: (a, b) => Math.min(a >>> 0, b >>> 0) | 0,
  maxU: (a, b) => Math.max(a >>> 0, b >>> 0) | 0,
  dotI16x8S: (a, b) => (Math.imul((a << 16) >> 16, (b << 16) >> 16) + Math.imul(a >> 16, b >> 16)) | 0,
  eq: (a, b) => mask(a === b),
  ne: (a, b) => mask(a !== b),
  ltS: (a, b) => mask(a < b),
  gtS: (a, b) => mask(a > b),
  leS: (a, b) => mask(a <= b),
  geS: (a, b) => mask(a >= b),
  ltU: (a, b) => mask(a >>> 0 < b >>> 0),
  gtU: (a, b) => mask(a >>> 0 > b >>> 0),
  leU: (a, b) => mask(a >>> 0 <= b >>> 0),
  geU: (a, b) => mask(a >>> 0 >= b >>> 0),
};
const v128Binary: Record<string, (a: number, b: number) => number> = {
  and: (a, b) => a & b,
  or: (a, b) => a | b,
  xor: (a, b) => a ^ b,
  andnot: (a, b) => a & ~b,
};

const pair = (f: FunctionBuilder, address: number): Vec => f.mem.vec.load(address);

describe.each([1, 2] as const)("vector ops, width %i", (width) => {
  const lanes = 4 * width;

  test.each(Object.keys(opcodes.F32X4_BINARY))("f32x4.%s", (name) => {
    for (let shift = 0; shift < 16; shift++) {
      fill(edge, f32, shift);
      run((f) => f.mem.vec.store(OUT, 0, f.f32x4[name as "add"](pair(f, A), pair(f, B))), width);
      for (let i = 0; i < lanes; i++) {
        const [a, b] = [f32[A / 4 + i]!, f32[B / 4 + i]!];
        if (name in compare) expect(i32[OUT / 4 + i]).toBe(compare[name]!(a, b));
        else expect(f32[OUT / 4 + i]).toBe(f32Binary[name]!(a, b));
      }
    }
  });

  test.each(Object.keys(opcodes.F32X4_UNARY).filter((n) => n in f32Unary))("f32x4.%s", (name) => {
    for (let start = 0; start < 16; start++) {
      for (let i = 0; i < lanes; i++) f32[A / 4 + i] = at(edge, i + start);
      run((f) => f.mem.vec.store(OUT, 0, f.f32x4[name as "abs"](pair(f, A))), width);
      for (let i = 0; i < lanes; i++) expect(f32[OUT / 4 + i]).toBe(fr(f32Unary[name]!(f32[A / 4 + i]!)));
    }
  });

  test.each(Object.keys(opcodes.I32X4_BINARY))("i32x4.%s", (name) => {
    for (let shift = 0; shift < 16; shift++) {
      fill(ints, i32, shift);
      run((f) => f.mem.vec.store(OUT, 0, f.i32x4[name as "add"](pair(f, A), pair(f, B))), width);
      for (let i = 0; i < lanes; i++)
        expect(i32[OUT / 4 + i]).toBe(i32Binary[name]!(i32[A / 4 + i]!, i32[B / 4 + i]!));
    }
  });

  test.each(Object.keys(opcodes.V128_BINARY))("v128.%s", (name) => {
    fill(ints, i32, 3);
    run((f) => f.mem.vec.store(OUT, 0, f.v128[name as "and"](pair(f, A), pair(f, B))), width);
    for (let i = 0; i < lanes; i++)
      expect(i32[OUT / 4 + i]).toBe(v128Binary[name]!(i32[A / 4 + i]!, i32[B / 4 + i]!));
  });

  test("v128 not, select, anyTrue, number operands", () => {
    fill(ints, i32, 5);
    run((f) => {
      const [a, b, m] = [pair(f, A), pair(f, B), pair(f, C)];
      f.mem.vec.store(OUT, 0, f.v128.not(a));
      f.mem.vec.store(OUT, 64, f.v128.select(m, a, b));
      f.mem.i32.store(OUT, 128, f.v128.anyTrue(f.v128.and(a, 0)));
      f.mem.i32.store(OUT, 132, f.v128.anyTrue(f.i32x4.eq(f.i32x4.constant(5), 5)));
      f.mem.vec.store(OUT, 192, f.f32x4.add(f.f32x4.constant(1.5), 2));
    }, width);
    for (let i = 0; i < lanes; i++) {
      const [a, b, m] = [i32[A / 4 + i]!, i32[B / 4 + i]!, i32[C / 4 + i]!];
      expect(i32[OUT / 4 + i]).toBe(~a);
      expect(i32[OUT / 4 + 16 + i]).toBe((a & m) | (b & ~m));
      expect(f32[OUT / 4 + 48 + i]).toBe(3.5);
    }
    expect([i32[OUT / 4 + 32], i32[OUT / 4 + 33]]).toEqual([0, 1]);
  });

  test("integer unary ops and shifts", () => {
    fill(ints, i32, 0);
    run((f) => {
      const a = pair(f, A);
      const list = [
        f.i32x4.abs(a),
        f.i32x4.neg(a),
        f.i32x4.shl(a, 3),
        f.i32x4.shrS(a, 5),
        f.i32x4.shrU(a, 7),
      ];
      list.forEach((v, i) => f.mem.vec.store(OUT, 64 * i, v));
    }, width);
    for (let i = 0; i < lanes; i++) {
      const a = i32[A / 4 + i]!;
      const expected = [Math.abs(a) | 0, -a | 0, a << 3, a >> 5, (a >>> 7) | 0];
      expect(expected.map((_, k) => i32[OUT / 4 + 16 * k + i])).toEqual(expected);
    }
  });

  test("conversions saturate", () => {
    fill(edge, f32, 0);
    for (let i = 0; i < lanes; i++) i32[B / 4 + i] = at(ints, i + 3);
    run((f) => {
      f.mem.vec.store(OUT, 0, f.i32x4.truncSatF32x4S(pair(f, A + 32)));
      f.mem.vec.store(OUT, 64, f.i32x4.truncSatF32x4U(pair(f, A + 32)));
      f.mem.vec.store(OUT, 128, f.f32x4.convertI32x4S(pair(f, B)));
      f.mem.vec.store(OUT, 192, f.f32x4.convertI32x4U(pair(f, B)));
    }, width);
    for (let i = 0; i < lanes; i++) {
      const a = f32[A / 4 + 8 + i]!;
      expect(i32[OUT / 4 + i]).toBe(truncSat(a, -2147483648, 2147483647) | 0);
      expect(u32[OUT / 4 + 16 + i]).toBe(truncSat(a, 0, 4294967295));
      expect(f32[OUT / 4 + 32 + i]).toBe(fr(i32[B / 4 + i]!));
      expect(f32[OUT / 4 + 48 + i]).toBe(fr(u32[B / 4 + i]!));
    }
  });

  test("madd and nmadd, fused and not", () => {
    for (let i = 0; i < 16; i++) {
      f32[A / 4 + i] = 1 + i * 2 ** -23;
      f32[B / 4 + i] = 1 - (i + 1) * 2 ** -23;
      f32[C / 4 + i] = -1;
    }
    for (const relaxed of [true, false]) {
      run(
        (f) => {
          f.mem.vec.store(OUT, 0, f.f32x4.madd(pair(f, A), pair(f, B), pair(f, C)));
          f.mem.vec.store(OUT, 64, f.f32x4.nmadd(pair(f, A), pair(f, B), pair(f, C)));
        },
        width,
        relaxed,
      );
      for (let i = 0; i < lanes; i++) {
        const [a, b] = [f32[A / 4 + i]!, f32[B / 4 + i]!];
        const separate = [fr(fr(a * b) - 1), fr(-1 - fr(a * b))];
        const fused = [fr(a * b - 1), fr(-1 - a * b)];
        const got = [f32[OUT / 4 + i]!, f32[OUT / 4 + 16 + i]!];
        expect(relaxed ? [fused, separate] : [separate]).toContainEqual(got);
      }
    }
  });

  test("madd and nmadd of float64, fused and not", () => {
    const f64 = new Float64Array(f32.buffer);
    for (let i = 0; i < 8; i++) {
      f64[A / 8 + i] = 1 + (i + 1) * 2 ** -52;
      f64[B / 8 + i] = 1 - (i + 2) * 2 ** -53;
      f64[C / 8 + i] = -1;
    }
    for (const relaxed of [true, false]) {
      run(
        (f) => {
          f.mem.vec.store(OUT, 0, f.f64x2.madd(pair(f, A), pair(f, B), pair(f, C)));
          f.mem.vec.store(OUT, 64, f.f64x2.nmadd(pair(f, A), pair(f, B), pair(f, C)));
        },
        width,
        relaxed,
      );
      for (let i = 0; i < lanes / 2; i++) {
        // a b = 1 + x - y - x y, whose last term only a fused one keeps
        const [x, y] = [(i + 1) * 2 ** -52, (i + 2) * 2 ** -53];
        const product = (1 + x) * (1 - y);
        const [got, negated] = [f64[OUT / 8 + i]!, f64[OUT / 8 + 8 + i]!];
        expect([product - 1, x - y - x * y]).toContain(got);
        if (!relaxed) expect(got).toBe(product - 1);
        expect([-1 - product, -2 - (x - y - x * y)]).toContain(negated);
      }
    }
  });

  test("shuffles, lanes, splats", () => {
    fill(ints, i32, 1);
    f32[C / 4] = 2.5;
    run((f) => {
      f.mem.vec.store(OUT, 0, f.v128.shuffle(pair(f, A), pair(f, B), [0, 4, 1, 5]));
      f.mem.vec.store(OUT, 64, f.f32x4.splat(f.mem.f32.load(C)));
      f.mem.vec.store(OUT, 128, f.i32x4.splat(-7));
      const last = lanes - 1;
      f.mem.i32.store(OUT, 192, f.i32x4.extractLane(pair(f, A), last));
      f.mem.f32.store(OUT, 196, f.f32x4.extractLane(f.f32x4.replaceLane(f.f32x4.constant(1), last, 9), last));
      f.mem.vec.store(OUT, 256, f.i32x4.replaceLane(pair(f, A), last, 42));
      f.mem.i32.store(OUT, 320, f.i32x4.bitmask(pair(f, A)));
    }, width);
    let bits = 0;
    for (let i = 0; i < lanes; i++) {
      const [part, lane] = [i >> 2, i & 3];
      const source = lane % 2 === 0 ? A : B;
      expect(i32[OUT / 4 + i]).toBe(i32[source / 4 + 4 * part + (lane >> 1)]);
      expect(f32[OUT / 4 + 16 + i]).toBe(2.5);
      expect(i32[OUT / 4 + 32 + i]).toBe(-7);
      expect(i32[OUT / 4 + 64 + i]).toBe(i === lanes - 1 ? 42 : i32[A / 4 + i]);
      if (i32[A / 4 + i]! < 0) bits |= 1 << i;
    }
    expect(i32[OUT / 4 + 48]).toBe(i32[A / 4 + lanes - 1]);
    expect(f32[OUT / 4 + 49]).toBe(9);
    expect(i32[OUT / 4 + 80]).toBe(bits);
  });

  test("widening loads, splat loads, narrowing", () => {
    for (let i = 0; i < 64; i++) u8[A + i] = (i * 37 + 200) & 255;
    run((f) => {
      f.mem.vec.store(OUT, 0, f.mem.vec.load16x4S(A));
      f.mem.vec.store(OUT, 64, f.mem.vec.load16x4U(A));
      f.mem.vec.store(OUT, 128, f.mem.vec.load8x8S(A));
      f.mem.vec.store(OUT, 192, f.mem.vec.load8x8U(A));
      f.mem.vec.store(OUT, 256, f.mem.vec.load32Splat(A, 4));
      f.mem.vec.store(OUT, 320, f.mem.vec.load16Splat(A, 4));
      f.mem.vec.store(OUT, 384, f.mem.vec.load8Splat(A, 4));
      f.mem.vec.store(OUT, 448, f.mem.vec.load64Splat(A, 8));
      f.mem.vec.store(OUT, 512, f.mem.vec.load32Zero(A, 4));
      f.mem.vec.store(OUT, 528, f.mem.vec.load64Zero(A, 8));
      f.mem.vec.store(OUT, 576, f.i16x8.narrowI32x4S(pair(f, A), pair(f, A)));
      f.mem.vec.store(OUT, 640, f.mem.vec.load32x2U(A));
    }, width);
    for (let i = 0; i < lanes; i++) {
      expect(i32[OUT / 4 + i]).toBe(i16[A / 2 + i]);
      expect(i32[OUT / 4 + 16 + i]).toBe(u16[A / 2 + i]);
      expect(i16[OUT / 2 + 64 + i]).toBe(i8[A + i]);
      expect(i16[OUT / 2 + 96 + i]).toBe(u8[A + i]);
      expect(i32[OUT / 4 + 64 + i]).toBe(i32[A / 4 + 1]);
      expect(i16[OUT / 2 + 160 + i]).toBe(i16[A / 2 + 2]);
      expect(i8[OUT + 384 + i]).toBe(i8[A + 4]);
      expect(i16[OUT / 2 + 288 + i]).toBe(clamp(i32[A / 4 + 4 * (i >> 3) + (i & 3)]!, -32768, 32767));
    }
    expect(u64[(OUT + 448) / 8]).toBe(u64[(A + 8) / 8]);
    expect(u64[(OUT + 640) / 8]).toBe(BigInt(u32[A / 4]!));
    expect([...i32.subarray(OUT / 4 + 128, OUT / 4 + 136)]).toEqual([
      i32[A / 4 + 1],
      0,
      0,
      0,
      i32[A / 4 + 2],
      i32[A / 4 + 3],
      0,
      0,
    ]);
  });

  test("lane loads and stores", () => {
    fill(ints, i32, 2);
    i32.fill(0, OUT / 4, OUT / 4 + 64);
    run((f) => {
      const v = pair(f, A);
      f.mem.vec.store32Lane(OUT, 0, v, lanes - 1);
      f.mem.vec.store16Lane(OUT, 4, v, 1);
      f.mem.vec.store8Lane(OUT, 8, v, 3);
      f.mem.vec.store64Lane(OUT, 16, v, 1);
      f.mem.vec.store(OUT, 32, f.mem.vec.load32Lane(B, 8, v, 2));
    }, width);
    expect(i32[OUT / 4]).toBe(i32[A / 4 + lanes - 1]);
    expect(i16[OUT / 2 + 2]).toBe(i16[A / 2 + 1]);
    expect(i8[OUT + 8]).toBe(i8[A + 3]);
    expect(u64[(OUT + 16) / 8]).toBe(u64[A / 8 + 1]);
    expect(i32[OUT / 4 + 10]).toBe(i32[B / 4 + 2]);
    expect(i32[OUT / 4 + 11]).toBe(i32[A / 4 + 3]);
  });

  test("64-bit lanes and wide multiplication", () => {
    fill(ints, i32, 4);
    run((f) => {
      f.mem.vec.store(OUT, 0, f.i64x2.extmulLowI32x4U(pair(f, A), pair(f, B)));
      f.mem.vec.store(OUT, 64, f.i64x2.extmulHighI32x4U(pair(f, A), pair(f, B)));
      f.mem.vec.store(OUT, 128, f.i64x2.shrU(f.i64x2.add(pair(f, A), pair(f, B)), 9));
      f.mem.vec.store(OUT, 192, f.f64x2.promoteLowF32x4(f.f32x4.constant(1.25)));
    }, width);
    for (let p = 0; p < width; p++)
      for (let i = 0; i < 2; i++) {
        const word = (base: number, lane: number): bigint => BigInt(u32[base / 4 + 4 * p + lane]!);
        expect(u64[OUT / 8 + 2 * p + i]).toBe(word(A, i) * word(B, i));
        expect(u64[OUT / 8 + 8 + 2 * p + i]).toBe(word(A, i + 2) * word(B, i + 2));
        const sum = BigInt.asUintN(64, u64[A / 8 + 2 * p + i]! + u64[B / 8 + 2 * p + i]!);
        expect(u64[OUT / 8 + 16 + 2 * p + i]).toBe(sum >> 9n);
        expect(f64[OUT / 8 + 24 + 2 * p + i]).toBe(1.25);
      }
  });

  test("every op of every table validates", () => {
    run((f) => {
      const v = pair(f, A);
      const groups = [
        [f.f32x4, opcodes.F32X4_UNARY, opcodes.F32X4_BINARY],
        [f.i32x4, opcodes.I32X4_UNARY, opcodes.I32X4_BINARY],
        [f.i16x8, opcodes.I16X8_UNARY, opcodes.I16X8_BINARY],
        [f.i8x16, {}, opcodes.I8X16_BINARY],
        [f.i64x2, {}, opcodes.I64X2_BINARY],
        [f.f64x2, opcodes.F64X2_UNARY, opcodes.F64X2_BINARY],
      ] as unknown as [Record<string, (...a: Vec[]) => Vec>, object, object][];
      for (const [ops, unary, binary] of groups) {
        for (const name of Object.keys(unary)) f.mem.vec.store(OUT, 0, ops[name]!(v));
        for (const name of Object.keys(binary)) f.mem.vec.store(OUT, 0, ops[name]!(v, v));
      }
    }, width);
  });
});

describe("scalar ops", () => {
  const scalarI32: Record<string, (a: number, b: number) => number> = {
    ...i32Binary,
    divS: (a, b) => (a / b) | 0,
    divU: (a, b) => ((a >>> 0) / (b >>> 0)) | 0,
    remS: (a, b) => (a % b) | 0,
    remU: (a, b) => ((a >>> 0) % (b >>> 0)) | 0,
    and: (a, b) => a & b,
    or: (a, b) => a | b,
    xor: (a, b) => a ^ b,
    shl: (a, b) => a << b,
    shrS: (a, b) => a >> b,
    shrU: (a, b) => (a >>> b) | 0,
    rotl: (a, b) => (a << b) | (a >>> (32 - (b & 31)) && b & 31 ? a >>> (32 - (b & 31)) : 0),
    rotr: (a, b) => (b & 31 ? (a >>> (b & 31)) | (a << (32 - (b & 31))) : a),
  };

  test.each(Object.keys(opcodes.I32_BINARY))("i32.%s", (name) => {
    const comparison = /^(eq|ne|[lg][te])/.test(name);
    for (const [a, b] of [
      [7, 3],
      [-7, 3],
      [123456789, -3],
      [-2147483648, 5],
      [5, 5],
    ] as const) {
      run((f) => f.mem.i32.store(OUT, 0, f.i32[name as "add"](f.i32.constant(a), b)), 1);
      const expected = scalarI32[name]!(a, b);
      expect(i32[OUT / 4]).toBe(comparison ? -expected | 0 : expected);
    }
  });

  test("conversions, select, 64-bit", () => {
    run((f) => {
      f.mem.f32.store(OUT, 0, f.f32.convertI32S(-5));
      f.mem.i32.store(OUT, 4, f.i32.truncSatF32S(f.f32.constant(-7.9)));
      f.mem.i32.store(OUT, 8, f.i32.reinterpretF32(1));
      f.mem.i32.store(OUT, 12, f.select(f.i32.gtS(3, 2), 10, 20));
      f.mem.f32.store(OUT, 16, f.select(f.i32.gtS(2, 3), f.f32.constant(1), 2));
      f.mem.i64.store(OUT, 24, f.i64.mul(f.i64.extendI32U(-1), 3n));
      f.mem.f64.store(OUT, 32, f.f64.sqrt(f.f64.promoteF32(2)));
      f.mem.i32.store(OUT, 40, f.i32.muladd(f.i32.constant(5), 12, 3));
      f.mem.f32.store(OUT, 44, f.f32.max(f.f32.constant(1), 3));
      f.mem.i32.store(OUT, 48, f.i32.clz(1));
      f.mem.i32.store16(OUT, 52, 0x12345);
    }, 1);
    expect([f32[OUT / 4], i32[OUT / 4 + 1], i32[OUT / 4 + 2], i32[OUT / 4 + 3]]).toEqual([
      -5, -7, 0x3f800000, 10,
    ]);
    expect(f32[OUT / 4 + 4]).toBe(2);
    expect(i64[OUT / 8 + 3]).toBe(3n * 0xffffffffn);
    expect(f64[OUT / 8 + 4]).toBe(Math.SQRT2);
    expect([i32[OUT / 4 + 10], f32[OUT / 4 + 11], i32[OUT / 4 + 12], u16[OUT / 2 + 26]]).toEqual([
      63, 3, 31, 0x2345,
    ]);
  });

  test("atomics", () => {
    i32[OUT / 4] = 5;
    run((f) => {
      const old: Value<"i32">[] = [
        f.mem.atomic.atomicAdd(OUT, 0, 3),
        f.mem.atomic.compareExchange(OUT, 0, 8, 11),
        f.mem.atomic.atomicExchange(OUT, 0, 13),
        f.mem.atomic.load(OUT),
        f.mem.atomic.wait(OUT, 0, 99, 0n),
        f.mem.atomic.notify(OUT, 0, 1),
      ];
      f.mem.atomic.fence();
      old.forEach((v, i) => f.mem.i32.store(OUT, 64 + 4 * i, v));
      f.mem.atomic.store(OUT, 0, 77);
    }, 1);
    expect([...i32.subarray(OUT / 4 + 16, OUT / 4 + 22)]).toEqual([5, 8, 11, 13, 1, 0]);
    expect(i32[OUT / 4]).toBe(77);
  });
});
