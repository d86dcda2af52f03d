// For tests: runs hand-made steps on the CPU device and on the float64 reference device and compares every output element.

import {
  contiguousView,
  device,
  DTYPES,
  fromBf16Bits,
  isFloat,
  setStrict,
  sizeOf,
  toBf16Bits,
  type BufferSpec,
  type Device,
  type DType,
  type Instruction,
  type LoopStep,
  type Program,
  type Step,
  type StepOperand,
  type TypedArray,
  type View,
} from "@everlong/core";
import { CpuDevice, type CpuDeviceOptions } from "./device.ts";

// A step without a kernel must not pass a test by running the reference.
setStrict(true);

/** A pseudo-random generator for test data (mulberry32). */
export function randomSource(seed: number): () => number {
  let s = seed >>> 0;
  return () => {
    s = (s + 0x6d2b79f5) >>> 0;
    let t = Math.imul(s ^ (s >>> 15), 1 | s);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Runs of a property test: the usual number times `EVERLONG_TEST_FACTOR`. */
export const runs = (usual: number): { numRuns: number } => ({
  numRuns: usual * Number(process.env["EVERLONG_TEST_FACTOR"] ?? 1),
});

/** Host storage of `dtype` with these values. */
export function storageOf(dtype: DType, values: ArrayLike<number>): TypedArray {
  const out = DTYPES[dtype].array(values.length);
  for (let i = 0; i < values.length; i++) out[i] = dtype === "bf16" ? toBf16Bits(values[i]!) : values[i]!;
  return out;
}

export const valuesOf = (dtype: DType, data: TypedArray): number[] =>
  Array.from(data, (x) => (dtype === "bf16" ? fromBf16Bits(x) : x));

/** Random values that suit a dtype: floats around 0 of size `scale`, small integers, 0/1. */
export function randomStorage(dtype: DType, length: number, random: () => number, scale = 2): TypedArray {
  const draw = (): number => {
    if (dtype === "bool") return random() < 0.5 ? 0 : 1;
    if (dtype === "u8") return Math.floor(random() * 256);
    if (dtype === "i32") return Math.floor((random() - 0.5) * 200);
    return (random() * 2 - 1) * scale;
  };
  return storageOf(dtype, Array.from({ length }, draw));
}

/** All of buffer `index`, packed. */
export const packed = (buffer: number, shape: readonly number[], dtype: DType = "f32"): StepOperand => ({
  buffer,
  dtype,
  view: contiguousView(shape),
});

export interface BufferDraft {
  readonly dtype: DType;
  readonly length: number;
}

/** Buffers 0.. are the inputs, the next ones the outputs, then temporaries. */
export function programOf(
  inputs: readonly BufferDraft[],
  outputs: readonly BufferDraft[],
  steps: readonly Step[],
  temps: readonly BufferDraft[] = [],
): Program {
  const spec = (b: BufferDraft, role: BufferSpec["role"]): BufferSpec => ({
    dtype: b.dtype,
    bytes: b.length * DTYPES[b.dtype].bytes,
    role,
  });
  let offset = 0;
  const drafts = temps.map((t) => {
    const at = offset;
    offset += Math.ceil((t.length * DTYPES[t.dtype].bytes) / 64) * 64;
    return spec(t, { kind: "temp", offset: at });
  });
  return {
    buffers: [
      ...inputs.map((b, index) => spec(b, { kind: "input", index })),
      ...outputs.map((b, index) => spec(b, { kind: "output", index })),
      ...drafts,
    ],
    steps,
    arenaBytes: offset,
    inputs: inputs.length,
    outputs: outputs.length,
    sites: steps.map(() => undefined),
    donated: outputs.map(() => undefined),
  };
}

/** Runs a program; outputs in their dtypes' storage. */
export async function runProgram(
  on: Device,
  program: Program,
  inputs: readonly TypedArray[],
): Promise<TypedArray[]> {
  const specs = (kind: "input" | "output"): BufferSpec[] =>
    program.buffers
      .filter((b) => b.role.kind === kind)
      .sort((a, b) => (a.role as { index: number }).index - (b.role as { index: number }).index);
  const inputSpecs = specs("input");
  const buffers = inputs.map((data, i) => on.upload(data, inputSpecs[i]!.dtype));
  const executable = on.load(program);
  const results = executable.run(buffers);
  const out = await Promise.all(
    specs("output").map((s, i) => on.download(results[i]!, s.dtype, s.bytes / DTYPES[s.dtype].bytes)),
  );
  for (const b of [...buffers, ...results]) b.free();
  executable.dispose();
  return out;
}

/** Spacing of a float dtype near 1. */
const EPSILON: { readonly [D in DType]?: number } = { f32: 2 ** -23, f16: 2 ** -10, bf16: 2 ** -7 };

/**
 * The worst error of `got` against `want`: 0 or Infinity for integers and bools; for floats in units of the dtype's spacing at
 * the size of the wanted value, or of `floor` where that is larger.
 */
export function errorOf(dtype: DType, got: TypedArray, want: TypedArray, floor: number = 2 ** -10): number {
  const [a, b] = [valuesOf(dtype, got), valuesOf(dtype, want)];
  if (a.length !== b.length) return Infinity;
  let worst = 0;
  for (let i = 0; i < a.length; i++) {
    const [x, y] = [a[i]!, b[i]!];
    if (Object.is(x, y) || x === y || (Number.isNaN(x) && Number.isNaN(y))) continue;
    if (!isFloat(dtype)) return Infinity;
    const size = Math.max(Math.abs(y), floor);
    const error = Math.abs(x - y) / (size * EPSILON[dtype]!);
    if (!(error <= worst)) worst = Number.isNaN(error) ? Infinity : error;
  }
  return worst;
}

/** Runs a program on `on` and on the reference device; the worst {@link errorOf} over the outputs. */
export async function compareWithReference(
  on: Device,
  program: Program,
  inputs: readonly TypedArray[],
  floor?: number,
): Promise<number> {
  const [got, want] = [
    await runProgram(on, program, inputs),
    await runProgram(device("reference"), program, inputs),
  ];
  let at = -1;
  return Math.max(
    0,
    ...program.buffers.flatMap((b) => {
      if (b.role.kind !== "output") return [];
      at++;
      return [errorOf(b.dtype, got[at]!, want[at]!, floor)];
    }),
  );
}

/** A random view of `shape` and the number of elements its buffer needs: permuted, with gaps, broadcast or shifted axes. */
export function randomView(
  shape: readonly number[],
  random: () => number,
  broadcast = true,
): { view: View; length: number } {
  const order = shape.map((_, i) => i);
  if (random() < 0.5) order.sort(() => random() - 0.5);
  const strides = shape.map(() => 0);
  let step = random() < 0.2 ? 2 : 1;
  for (const axis of order.reverse()) {
    if (broadcast && random() < 0.15) continue;
    strides[axis] = step;
    step *= shape[axis]! + (random() < 0.15 ? 1 : 0);
  }
  let offset = random() < 0.3 ? Math.floor(random() * 5) : 0;
  shape.forEach((n, axis) => {
    if (broadcast && n > 1 && random() < 0.1 && strides[axis] !== 0) {
      offset += (n - 1) * strides[axis]!;
      strides[axis] = -strides[axis]!;
    }
  });
  const view = { shape, strides, offset };
  const length =
    sizeOf(shape) === 0
      ? offset
      : shape.reduce((at, n, i) => at + Math.max(0, (n - 1) * strides[i]!), offset) + 1;
  return { view, length: Math.max(1, length) };
}

/**
 * A device that emits pairs of vectors, on an engine told to optimise every kernel at its first calls: what V8's revectorizer
 * makes of the code is then what the test sees, its aborts included.
 */
export function wideDevice(options: CpuDeviceOptions = {}): CpuDevice {
  const v8 = process.getBuiltinModule("node:v8");
  for (const flag of ["--experimental-wasm-revectorize", "--wasm-sync-tier-up", "--wasm-tiering-budget=1"]) {
    v8.setFlagsFromString(flag);
  }
  const made = new CpuDevice({ threads: 1, poison: true, ...options });
  made.kernels.target = { ...made.kernels.target, width: 2 };
  return made;
}

/** The load of argument `arg`. */
export const load = (arg: number, dtype: DType): Instruction => ({ op: "load", dtype, arg });

/** One output from the last instruction, inputs and output packed. */
export function packedLoop(
  shape: readonly number[],
  inputs: readonly DType[],
  code: readonly Instruction[],
): LoopStep {
  const dtype = code.at(-1)!.dtype;
  return {
    kind: "loop",
    shape,
    args: inputs.map((d, i) => packed(i, shape, d)),
    code,
    outputs: [{ operand: packed(inputs.length, shape, dtype), value: code.length - 1 }],
  };
}
