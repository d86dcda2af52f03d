// Tensors from host values.

import type { Device } from "../device.ts";
import {
  checkDType,
  DTYPES,
  isFloat,
  readElement,
  writeElement,
  type DType,
  type TypedArray,
} from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import { Node } from "../graph.ts";
import { record1 } from "../record.ts";
import { defaultDevice } from "../settings.ts";
import { checkShape, show, sizeOf, type Shape } from "../shape.ts";
import { Tensor } from "../tensor.ts";

export type NestedNumbers = number | boolean | readonly NestedNumbers[];

export interface TensorOptions {
  /** Default: f32 (f64 on the reference device) for numbers, bool for booleans, the array's own for typed arrays. */
  readonly dtype?: DType;
  /** Default: the default device. */
  readonly device?: Device;
}

export const isTypedArray = (x: unknown): x is TypedArray =>
  ArrayBuffer.isView(x) && !(x instanceof DataView);

function dtypeOfArray(data: TypedArray): DType {
  if (data instanceof Float32Array) return "f32";
  if (data instanceof Float64Array) return "f64";
  if (data instanceof Int32Array) return "i32";
  if (data instanceof Uint8Array) return "u8";
  if (data instanceof Uint16Array) return "bf16";
  if (data.constructor.name === "Float16Array") return "f16";
  throw new DTypeError("tensor", "unsupported typed array", {
    expected: "Float32Array, Float64Array, Float16Array, Int32Array, Uint8Array or Uint16Array (bf16)",
    got: (data as object).constructor.name,
  });
}

/** Host storage of another dtype with the same values. */
export function convertArray(data: TypedArray, from: DType, to: DType): TypedArray {
  if (from === to) return data;
  const out = DTYPES[to].array(data.length);
  for (let i = 0; i < data.length; i++) writeElement(to, out, i, readElement(from, data, i));
  return out;
}

/** A tensor that already has its value. */
export function fromHost(
  data: TypedArray,
  shape: Shape,
  dtype: DType,
  device: Device,
  label = "data",
): Tensor {
  checkShape("tensor", shape);
  if (data.length !== sizeOf(shape)) {
    throw new ShapeError("tensor", "data and shape differ in size", {
      expected: `${sizeOf(shape)} elements for ${show(shape)}`,
      got: `${data.length}`,
    });
  }
  if (!device.dtypes.includes(dtype)) {
    throw new DTypeError("tensor", `device ${device.name} has no ${dtype}`, {
      expected: device.dtypes.join(", "),
    });
  }
  const node = new Node({ name: "data", params: { label } }, [], [{ shape, dtype }], device);
  node.setBuffer(0, device.upload(data, dtype));
  return new Tensor(node, 0);
}

/**
 * A tensor from numbers, nested arrays or a typed array (whose values are copied).
 * @example tensor([[1, 2], [3, 4]])            // f32[2, 2]
 * @example tensor(new Int32Array(6), [2, 3])   // i32[2, 3]
 */
export function tensor(
  values: NestedNumbers | TypedArray,
  shape?: Shape | TensorOptions,
  options: TensorOptions = {},
): Tensor {
  if (shape !== undefined && !Array.isArray(shape)) [options, shape] = [shape as TensorOptions, undefined];
  const device = options.device ?? defaultDevice();
  if (isTypedArray(values)) {
    const from = dtypeOfArray(values);
    // Float arrays follow the device unless a dtype is asked for: f64 data becomes f32 on a device without f64.
    const natural = from === "f64" || from === "f32" ? device.defaultFloat : from;
    const dtype = checkDType("tensor", options.dtype ?? natural);
    return fromHost(
      convertArray(values, from, dtype),
      (shape as Shape | undefined) ?? [values.length],
      dtype,
      device,
    );
  }
  const found: number[] = [];
  const flat: (number | boolean)[] = [];
  flatten(values, 0, found, flat);
  const natural: DType = flat.length > 0 && typeof flat[0] === "boolean" ? "bool" : device.defaultFloat;
  const dtype = checkDType("tensor", options.dtype ?? natural);
  const data = DTYPES[dtype].array(flat.length);
  flat.forEach((x, i) => writeElement(dtype, data, i, Number(x)));
  return fromHost(data, (shape as Shape | undefined) ?? found, dtype, device);
}

function flatten(x: NestedNumbers, depth: number, shape: number[], out: (number | boolean)[]): void {
  if (typeof x === "number" || typeof x === "boolean") {
    if (depth !== shape.length) throw new ShapeError("tensor", "ragged nesting");
    out.push(x);
    return;
  }
  if (!Array.isArray(x))
    throw new DTypeError("tensor", "values are no numbers", {
      expected: "numbers, booleans, nested arrays of them, or a typed array",
      got: typeof x === "string" ? JSON.stringify(x) : String(x as unknown),
    });
  if (shape.length === depth) {
    if (out.length > 0) throw new ShapeError("tensor", "ragged nesting");
    shape.push(x.length);
  } else if (shape[depth] !== x.length) {
    throw new ShapeError("tensor", "ragged nesting", {
      expected: `${shape[depth]} items at depth ${depth}`,
      got: `${x.length}`,
    });
  }
  for (const y of x) flatten(y, depth + 1, shape, out);
}

/** Every element `value`. */
export function full(shape: Shape, value: number, options: TensorOptions = {}): Tensor {
  checkShape("full", shape);
  const device = options.device ?? defaultDevice();
  return record1("full", { shape, dtype: options.dtype ?? device.defaultFloat, value }, [], device);
}

export const zeros = (shape: Shape, options?: TensorOptions): Tensor => full(shape, 0, options);
export const ones = (shape: Shape, options?: TensorOptions): Tensor => full(shape, 1, options);
export const zerosLike = (t: Tensor): Tensor => full(t.shape, 0, { dtype: t.dtype, device: t.device });
export const onesLike = (t: Tensor): Tensor => full(t.shape, 1, { dtype: t.dtype, device: t.device });

/** Index along `axis`, default dtype i32, which numbers up to 2^31 positions. */
export function iota(shape: Shape, axis: number, options: TensorOptions = {}): Tensor {
  const device = options.device ?? defaultDevice();
  return record1("iota", { shape, axis, dtype: options.dtype ?? "i32" }, [], device);
}

/** `start, start + step, ...` below `stop`; default dtype i32 when all are integers. */
export function arange(start: number, stop?: number, step = 1, options: TensorOptions = {}): Tensor {
  const [from, to] = stop === undefined ? [0, start] : [start, stop];
  if (step === 0) throw new ShapeError("arange", "step must not be 0");
  const n = Math.max(0, Math.ceil((to - from) / step));
  const whole = [from, to, step].every(Number.isInteger);
  const device = options.device ?? defaultDevice();
  const dtype = options.dtype ?? (whole ? "i32" : device.defaultFloat);
  const work = isFloat(dtype) ? dtype : "i32";
  const base = iota([n], 0, { dtype: work, device });
  const scaled =
    step === 1 ? base : record1("binary", { fn: "mul" }, [base, full([n], step, { dtype: work, device })]);
  const out =
    from === 0
      ? scaled
      : record1("binary", { fn: "add" }, [scaled, full([n], from, { dtype: work, device })]);
  return work === dtype ? out : record1("cast", { dtype }, [out]);
}

/** `count` points from `start` to `stop`, both included, computed in float64 on the host. */
export function linspace(start: number, stop: number, count: number, options: TensorOptions = {}): Tensor {
  const device = options.device ?? defaultDevice();
  const dtype = options.dtype ?? device.defaultFloat;
  const data = new Float64Array(count);
  for (let i = 0; i < count; i++) data[i] = count === 1 ? start : start + ((stop - start) * i) / (count - 1);
  return fromHost(convertArray(data, "f64", dtype), [count], dtype, device);
}

/** Identity matrix `[n, m]`. */
export function eye(n: number, m: number = n, options: TensorOptions = {}): Tensor {
  const device = options.device ?? defaultDevice();
  const same = record1("compare", { fn: "eq" }, [iota([n, m], 0, { device }), iota([n, m], 1, { device })]);
  return record1("cast", { dtype: options.dtype ?? device.defaultFloat }, [same]);
}
