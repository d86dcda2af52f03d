// How elements of each dtype sit in memory and in vector lanes. A lane has 32 bits: floats are float32, i32 and u8 are int32,
// bool is a mask of all ones or all zeros. `raw` lanes hold the element's bits, zero-extended.

import { DTYPES, type DType } from "@everlong/core";
import type { FunctionBuilder, FunctionRef, I32, ModuleBuilder, Vec } from "@everlong/wasm";

/** Bytes of an element in memory. */
export const bytesOf = (dtype: DType): 1 | 2 | 4 => DTYPES[dtype].bytes as 1 | 2 | 4;

export const lanesKind = (dtype: DType): "float" | "int" | "mask" =>
  dtype === "bool" ? "mask" : dtype === "i32" || dtype === "u8" ? "int" : "float";

/** The lanes of a vector value. */
const partsOf = (v: Vec): number => v.parts.length;
const each = (parts: number, make: (part: number) => Vec): Vec => ({
  parts: Array.from({ length: parts }, (_, i) => make(i).parts[0]!),
});

// Half precision: exact both ways, subnormals included (F. Giesen, "Float/half conversion", public domain notes).
const F16_MAX = (127 + 16) << 23;
const F16_MIN_NORMAL = (127 - 14) << 23;
const F16_SUBNORMAL_MAGIC = (127 - 15 + (23 - 10) + 1) << 23;
const F16_BIAS = 0xfff - ((127 - 15) << 23);

function decodeF16(f: FunctionBuilder, raw: Vec): Vec {
  const magnitude = f.v128.and(raw, 0x7fff);
  const scaled = f.f32x4.mul(f.i32x4.shl(magnitude, 13), f.f32x4.constant(2 ** 112, partsOf(raw)));
  const special = f.v128.and(f.i32x4.gtS(magnitude, 0x7bff), 0x7f800000);
  const sign = f.i32x4.shl(f.v128.xor(raw, magnitude), 16);
  return f.v128.or(f.v128.or(scaled, special), sign);
}

function encodeF16(f: FunctionBuilder, x: Vec): Vec {
  const sign = f.v128.and(x, -0x80000000);
  const magnitude = f.v128.xor(x, sign);
  const nan = f.v128.and(f.f32x4.ne(x, x), 0x200);
  const special = f.v128.or(nan, 0x7c00);
  const magic = f.i32x4.constant(F16_SUBNORMAL_MAGIC, partsOf(x));
  const subnormal = f.i32x4.sub(f.f32x4.add(magnitude, magic), magic);
  const odd = f.v128.and(f.i32x4.shrU(magnitude, 13), 1);
  const normal = f.i32x4.shrU(f.i32x4.add(f.i32x4.add(magnitude, F16_BIAS), odd), 13);
  const finite = f.v128.select(f.i32x4.ltS(magnitude, F16_MIN_NORMAL), subnormal, normal);
  const value = f.v128.select(f.i32x4.ltS(magnitude, F16_MAX), finite, special);
  return f.v128.or(value, f.i32x4.shrU(sign, 16));
}

function encodeBf16(f: FunctionBuilder, x: Vec): Vec {
  const odd = f.v128.and(f.i32x4.shrU(x, 16), 1);
  const rounded = f.i32x4.shrU(f.i32x4.add(f.i32x4.add(x, 0x7fff), odd), 16);
  const quiet = f.v128.or(f.i32x4.shrU(x, 16), 0x40);
  return f.v128.select(f.f32x4.ne(x, x), quiet, rounded);
}

/** Raw lanes to value lanes. */
export function decode(f: FunctionBuilder, dtype: DType, raw: Vec): Vec {
  if (dtype === "bf16") return f.i32x4.shl(raw, 16);
  if (dtype === "f16") return decodeF16(f, raw);
  if (dtype === "bool") return f.i32x4.ne(raw, 0);
  return raw;
}

/** Value lanes to raw lanes; floats are rounded to nearest, ties to even. */
export function encode(f: FunctionBuilder, dtype: DType, value: Vec): Vec {
  if (dtype === "bf16") return encodeBf16(f, value);
  if (dtype === "f16") return encodeF16(f, value);
  if (dtype === "bool") return f.v128.and(value, 1);
  return value;
}

/** Rounds float lanes to what the dtype can hold. */
export const roundTo = (f: FunctionBuilder, dtype: DType, x: Vec): Vec =>
  dtype === "f16" || dtype === "bf16" ? decode(f, dtype, encode(f, dtype, x)) : x;

/** Loads neighbouring elements. */
export function loadVector(f: FunctionBuilder, dtype: DType, address: I32, parts: number): Vec {
  const size = bytesOf(dtype);
  if (size === 4) return decode(f, dtype, f.mem.vec.load(address, 0, parts));
  if (size === 2) return decode(f, dtype, f.mem.vec.load16x4U(address, 0, parts));
  const raw = each(parts, (i) => {
    const bytes = f.mem.vec.load32Zero(address, 4 * i);
    return f.i32x4.extendLowI16x8U(f.i16x8.extendLowI8x16U(bytes));
  });
  return decode(f, dtype, raw);
}

/** One element in every lane. */
export function loadSplat(f: FunctionBuilder, dtype: DType, address: I32, parts: number): Vec {
  const size = bytesOf(dtype);
  if (size === 4) return decode(f, dtype, f.mem.vec.load32Splat(address, 0, parts));
  const bits = size === 2 ? f.mem.i32.load16U(address) : f.mem.i32.load8U(address);
  return decode(f, dtype, f.i32x4.splat(bits, parts));
}

/** Elements `stride` bytes apart. */
export function loadLanes(f: FunctionBuilder, dtype: DType, address: I32, stride: I32, parts: number): Vec {
  const size = bytesOf(dtype);
  let at = address;
  const raw = each(parts, (part) => {
    let v: Vec | undefined;
    for (let lane = 0; lane < 4; lane++) {
      if (part + lane > 0) at = f.i32.add(at, stride);
      if (size === 4) v = v ? f.mem.vec.load32Lane(at, 0, v, lane) : f.mem.vec.load32Zero(at);
      else {
        const bits = size === 2 ? f.mem.i32.load16U(at) : f.mem.i32.load8U(at);
        v = v ? f.i32x4.replaceLane(v, lane, bits) : f.i32x4.splat(bits, 1);
      }
    }
    return v!;
  });
  return decode(f, dtype, raw);
}

/** Stores neighbouring elements. */
export function storeVector(f: FunctionBuilder, dtype: DType, address: I32, value: Vec): void {
  const size = bytesOf(dtype);
  const raw = encode(f, dtype, value);
  if (size === 4) {
    f.mem.vec.store(address, 0, raw);
    return;
  }
  for (let i = 0; i < partsOf(raw); i += 2) {
    const low = f.part(raw, i);
    const both = i + 1 < partsOf(raw);
    const halves = f.i16x8.narrowI32x4U(low, both ? f.part(raw, i + 1) : low);
    if (size === 2) {
      if (both) f.mem.vec.store(address, 8 * i, halves);
      else f.mem.vec.store64Lane(address, 8 * i, halves, 0);
    } else {
      const bytes = f.i8x16.narrowI16x8U(halves, halves);
      if (both) f.mem.vec.store64Lane(address, 4 * i, bytes, 0);
      else f.mem.vec.store32Lane(address, 4 * i, bytes, 0);
    }
  }
}

/** Stores elements `stride` bytes apart. */
export function storeLanes(f: FunctionBuilder, dtype: DType, address: I32, stride: I32, value: Vec): void {
  const raw = encode(f, dtype, value);
  let at = address;
  for (let lane = 0; lane < 4 * partsOf(raw); lane++) {
    if (lane > 0) at = f.i32.add(at, stride);
    storeElement(f, bytesOf(dtype), at, f.part(raw, lane >> 2), lane & 3);
  }
}

function storeElement(f: FunctionBuilder, size: 1 | 2 | 4, at: I32, v: Vec, lane: number): void {
  if (size === 4) f.mem.vec.store32Lane(at, 0, v, lane);
  else if (size === 2) f.mem.vec.store16Lane(at, 0, v, lane * 2);
  else f.mem.vec.store8Lane(at, 0, v, lane * 4);
}

/** Loads `count` (up to 4 per part) elements `stride` bytes apart, and nothing beyond them; the other lanes are 0. */
export function loadTail(
  f: FunctionBuilder,
  module: ModuleBuilder,
  dtype: DType,
  address: I32,
  stride: I32,
  count: I32,
  parts: number,
): Vec {
  const helper = tailLoader(module, bytesOf(dtype));
  const raw = each(parts, (i) => {
    const at = i === 0 ? address : f.i32.add(address, f.i32.mul(stride, 4 * i));
    const left = i === 0 ? count : f.i32.sub(count, 4 * i);
    return { parts: [f.call(helper, operand(f, at), operand(f, stride), operand(f, left)) as never] };
  });
  return decode(f, dtype, raw);
}

/** Stores `count` elements `stride` bytes apart, and nothing beyond them. */
export function storeTail(
  f: FunctionBuilder,
  module: ModuleBuilder,
  dtype: DType,
  address: I32,
  stride: I32,
  count: I32,
  value: Vec,
): void {
  const helper = tailStorer(module, bytesOf(dtype));
  const raw = encode(f, dtype, value);
  for (let i = 0; i < partsOf(raw); i++) {
    const at = i === 0 ? address : f.i32.add(address, f.i32.mul(stride, 4 * i));
    const left = i === 0 ? count : f.i32.sub(count, 4 * i);
    // A copy: V8 (13.6) aborts when half of a pair that is also stored goes to a call.
    const half = f.v128.or(f.part(raw, i), f.part(raw, i)).parts[0]!;
    f.call(helper, operand(f, at), operand(f, stride), operand(f, left), half);
  }
}

const operand = (f: FunctionBuilder, x: I32): I32 => (typeof x === "number" ? f.i32.constant(x) : x);

function tailLoader(module: ModuleBuilder, size: 1 | 2 | 4): FunctionRef {
  const name = `loadTail${size}`;
  return module.once(name, () =>
    module.define(name, { params: ["i32", "i32", "i32"], result: "v128" }, (f, at, stride, count) => {
      const v = f.vecVariable(f.i32x4.constant(0, 1), 1);
      f.block((done) => {
        for (let lane = 0; lane < 4; lane++) {
          f.brIf(done, f.i32.leS(count, lane));
          const bits =
            size === 4 ? f.mem.i32.load(at) : size === 2 ? f.mem.i32.load16U(at) : f.mem.i32.load8U(at);
          f.setVec(v, f.i32x4.replaceLane(v, lane, bits));
          f.advance(at, stride);
        }
      });
      return v.parts[0]!;
    }),
  );
}

function tailStorer(module: ModuleBuilder, size: 1 | 2 | 4): FunctionRef {
  const name = `storeTail${size}`;
  return module.once(name, () =>
    module.define(name, { params: ["i32", "i32", "i32", "v128"] }, (f, at, stride, count, value) => {
      f.block((done) => {
        for (let lane = 0; lane < 4; lane++) {
          f.brIf(done, f.i32.leS(count, lane));
          storeElement(f, size, at, { parts: [value] }, lane);
          f.advance(at, stride);
        }
      });
    }),
  );
}
