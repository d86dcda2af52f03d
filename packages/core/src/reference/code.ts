// Evaluates the code of loop and reduce steps: every instruction over a block of elements, then the next instruction.
// Blocks keep the work in cache and the loops simple; nothing is allocated per element.

import type { Instruction, Operand } from "../device.ts";
import { isFloat, type DType } from "../dtype.ts";
import { invariant } from "../errors.ts";
import { sizeOf, type Shape } from "../shape.ts";
import { collapse } from "../view.ts";
import { binaryFor, castFor, compareFns, roundFor, unaryFor, type Binary, type Unary } from "./arithmetic.ts";

/** Storage of the buffers of a program, by index. */
export type Storage = readonly Float64Array[];

export const BLOCK = 1024;

/** An affine function of the position in an index space: the address of a load or store, or the value of an iota. */
interface Affine {
  readonly shape: Shape;
  readonly strides: readonly number[];
  readonly offset: number;
}

// Registers are shared by all code: steps run one at a time.
const registers: Float64Array[] = [];
const register = (i: number): Float64Array => (registers[i] ??= new Float64Array(BLOCK));
const addresses = new Float64Array(BLOCK);
const position: number[] = [];

/** Writes f(start), ..., f(start + count - 1) into `out`, positions counted in row-major order. */
function evaluateAffine(
  { shape, strides, offset }: Affine,
  start: number,
  count: number,
  out: Float64Array,
): void {
  const last = shape.length - 1;
  const n = shape[last]!;
  const step = strides[last]!;
  let rest = start;
  let base = offset;
  for (let axis = last; axis >= 0; axis--) {
    position[axis] = rest % shape[axis]!;
    rest = Math.floor(rest / shape[axis]!);
    if (axis < last) base += position[axis]! * strides[axis]!;
  }
  let first = position[last]!;
  for (let done = 0; done < count; first = 0) {
    const run = Math.min(n - first, count - done);
    for (let k = 0; k < run; k++) out[done + k] = base + (first + k) * step;
    done += run;
    // The next row: count up like an odometer.
    for (let axis = last - 1; axis >= 0; axis--) {
      base += strides[axis]!;
      if (++position[axis]! < shape[axis]!) break;
      base -= position[axis]! * strides[axis]!;
      position[axis] = 0;
    }
  }
}

function read(source: Float64Array, at: Affine, start: number, count: number, out: Float64Array): void {
  if (at.shape.length === 1) {
    const step = at.strides[0]!;
    const from = at.offset + start * step;
    for (let k = 0; k < count; k++) out[k] = source[from + k * step]!;
    return;
  }
  evaluateAffine(at, start, count, addresses);
  for (let k = 0; k < count; k++) out[k] = source[addresses[k]!]!;
}

function write(target: Float64Array, at: Affine, start: number, count: number, values: Float64Array): void {
  if (at.shape.length === 1) {
    const step = at.strides[0]!;
    const from = at.offset + start * step;
    for (let k = 0; k < count; k++) target[from + k * step] = values[k]!;
    return;
  }
  evaluateAffine(at, start, count, addresses);
  for (let k = 0; k < count; k++) target[addresses[k]!] = values[k]!;
}

type BlockUnary = (a: Float64Array, out: Float64Array, n: number) => void;
type BlockBinary = (a: Float64Array, b: Float64Array, out: Float64Array, n: number) => void;

const mapUnary =
  (f: Unary): BlockUnary =>
  (a, out, n) => {
    for (let k = 0; k < n; k++) out[k] = f(a[k]!);
  };
const mapBinary =
  (f: Binary): BlockBinary =>
  (a, b, out, n) => {
    for (let k = 0; k < n; k++) out[k] = f(a[k]!, b[k]!);
  };

// The four commonest functions, without a call per element.
const add: BlockBinary = (a, b, out, n) => {
  for (let k = 0; k < n; k++) out[k] = a[k]! + b[k]!;
};
const sub: BlockBinary = (a, b, out, n) => {
  for (let k = 0; k < n; k++) out[k] = a[k]! - b[k]!;
};
const mul: BlockBinary = (a, b, out, n) => {
  for (let k = 0; k < n; k++) out[k] = a[k]! * b[k]!;
};
const div: BlockBinary = (a, b, out, n) => {
  for (let k = 0; k < n; k++) out[k] = a[k]! / b[k]!;
};
const direct: { readonly [fn: string]: BlockBinary } = { add, sub, mul, div };

/** Computes registers for positions start .. start + count - 1; register i holds instruction i. */
type BlockInstruction = (storage: Storage, start: number, count: number) => void;

/** Code bound to an index space. */
export interface BlockCode {
  /** Elements of the index space. */
  readonly size: number;
  /** Runs all instructions for `count <= BLOCK` positions and returns the registers. */
  readonly evaluate: (storage: Storage, start: number, count: number) => readonly Float64Array[];
  /** Stores a register of the current block through output `index`, rounded to its dtype. */
  readonly store: (
    storage: Storage,
    index: number,
    start: number,
    count: number,
    values: Float64Array,
  ) => void;
}

/** Prepares code over `shape`; all views are over `shape`. */
export function prepareCode(
  shape: Shape,
  args: readonly Operand[],
  code: readonly Instruction[],
  outputs: readonly Operand[],
): BlockCode {
  const ramps = code.filter((c) => c.op === "iota");
  const walks = [
    ...args.map((a) => a.view),
    ...outputs.map((o) => o.view),
    ...ramps.map((c) => ({
      strides: shape.map((_, axis) => (axis === c.axis ? c.scale : 0)),
      offset: c.start,
    })),
  ];
  const merged = collapse(
    shape,
    walks.map((w) => w.strides),
  );
  const affine = walks.map((w, i) => ({
    shape: merged.shape,
    strides: merged.strides[i]!,
    offset: w.offset,
  }));
  const argWalks = affine.slice(0, args.length);
  const outWalks = affine.slice(args.length, args.length + outputs.length);
  const rampWalks = affine.slice(args.length + outputs.length);

  const compiled = code.map((instruction, i): BlockInstruction => {
    if (instruction.op === "load") {
      const { buffer } = args[instruction.arg]!;
      const walk = argWalks[instruction.arg]!;
      return (storage, start, count) => read(storage[buffer]!, walk, start, count, register(i));
    }
    if (instruction.op === "iota") {
      const walk = rampWalks[ramps.indexOf(instruction)]!;
      const round = mapUnary(roundFor(instruction.dtype));
      return (_, start, count) => {
        evaluateAffine(walk, start, count, register(i));
        round(register(i), register(i), count);
      };
    }
    return compile(instruction, i);
  });
  const rounders = outputs.map(({ dtype }) => (dtype === "f64" ? undefined : mapUnary(roundFor(dtype))));
  const rounded = new Float64Array(BLOCK);

  return {
    size: sizeOf(shape),
    evaluate: (storage, start, count) => {
      for (const run of compiled) run(storage, start, count);
      return registers;
    },
    store: (storage, index, start, count, values) => {
      const round = rounders[index];
      if (round) round(values, rounded, count);
      write(storage[outputs[index]!.buffer]!, outWalks[index]!, start, count, round ? rounded : values);
    },
  };
}

function compile(c: Exclude<Instruction, { op: "load" } | { op: "iota" }>, i: number): BlockInstruction {
  switch (c.op) {
    case "const": {
      const value = roundFor(c.dtype)(c.value);
      return () => void register(i).fill(value);
    }
    case "unary": {
      const f = mapUnary(unaryFor(c.fn, c.dtype));
      return (_, __, n) => f(register(c.a), register(i), n);
    }
    case "cast": {
      const f = mapUnary(castFor(c.from, c.dtype));
      return (_, __, n) => f(register(c.a), register(i), n);
    }
    case "binary": {
      const f = (isFloat(c.dtype) && direct[c.fn]) || mapBinary(binaryFor(c.fn, c.dtype));
      return (_, __, n) => f(register(c.a), register(c.b), register(i), n);
    }
    case "compare": {
      const f = mapBinary(compareFns[c.fn]);
      return (_, __, n) => f(register(c.a), register(c.b), register(i), n);
    }
    case "select":
      return (_, __, n) => {
        const [condition, a, b, out] = [register(c.a), register(c.b), register(c.c), register(i)];
        for (let k = 0; k < n; k++) out[k] = condition[k] === 0 ? b[k]! : a[k]!;
      };
  }
}

/** The elements of an operand in row-major order; the buffer's own memory when it lies so already. */
export function contiguous(storage: Storage, operand: Operand): Float64Array {
  const { shape, offset, strides } = operand.view;
  const size = sizeOf(shape);
  const merged = collapse(shape, [strides]);
  const source = storage[operand.buffer]!;
  if (merged.shape.length === 1 && (merged.strides[0]![0] === 1 || size <= 1))
    return source.subarray(offset, offset + size);
  const out = new Float64Array(size);
  const walk = { shape: merged.shape, strides: merged.strides[0]!, offset };
  for (let start = 0; start < size; start += BLOCK) {
    const count = Math.min(BLOCK, size - start);
    read(source, walk, start, count, out.subarray(start));
  }
  return out;
}

/** Rounds in place to what `dtype` can hold. */
export function roundAll(dtype: DType, data: Float64Array): void {
  if (dtype === "f64") return;
  const round = roundFor(dtype);
  for (let i = 0; i < data.length; i++) data[i] = round(data[i]!);
}

/** Checks what the memory plan promises: every operand stays inside its buffer. */
export function checkInside(operand: Operand, length: number): void {
  const { shape, strides, offset } = operand.view;
  if (sizeOf(shape) === 0) return;
  let low = offset;
  let high = offset;
  shape.forEach((n, axis) => {
    const reach = (n - 1) * strides[axis]!;
    if (reach < 0) low += reach;
    else high += reach;
  });
  invariant(low >= 0 && high < length, `a view reads ${low}..${high} of a buffer of ${length} elements`);
}
