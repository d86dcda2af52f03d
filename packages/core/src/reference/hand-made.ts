// Programs written by hand, for the tests of the reference device.

import type { BufferSpec, Operand, Program, Step } from "../device.ts";
import { DTYPES, type DType, type TypedArray } from "../dtype.ts";
import { sizeOf, type Shape } from "../shape.ts";
import { contiguousView } from "../view.ts";
import { ReferenceDevice } from "./device.ts";
import { toFloat64 } from "./program.ts";

export interface HostInput {
  readonly dtype: DType;
  readonly values: readonly number[];
}

/** All of buffer `index`, packed. */
export const whole = (buffer: number, shape: Shape, dtype: DType = "f64"): Operand => ({
  buffer,
  dtype,
  view: contiguousView(shape),
});

export function spec(dtype: DType, length: number, role: BufferSpec["role"]): BufferSpec {
  return { dtype, bytes: length * DTYPES[dtype].bytes, role };
}

/** Buffers 0.. are the inputs, the next ones the outputs. */
export function programOf(
  inputs: readonly { readonly dtype: DType; readonly length: number }[],
  outputs: readonly { readonly dtype: DType; readonly length: number }[],
  steps: readonly Step[],
  extra: readonly BufferSpec[] = [],
  donated: readonly (number | undefined)[] = outputs.map(() => undefined),
): Program {
  return {
    buffers: [
      ...inputs.map((b, index) => spec(b.dtype, b.length, { kind: "input", index })),
      ...outputs.map((b, index) => spec(b.dtype, b.length, { kind: "output", index })),
      ...extra,
    ],
    steps,
    arenaBytes: 0,
    inputs: inputs.length,
    outputs: outputs.length,
    sites: steps.map(() => undefined),
    donated,
  };
}

const storageOf = ({ dtype, values }: HostInput): TypedArray => {
  const out = DTYPES[dtype].array(values.length);
  out.set(dtype === "bf16" ? values.map(bf16Bits) : values);
  return out;
};
const bf16Bits = (x: number): number => new Uint32Array(new Float32Array([x]).buffer)[0]! >>> 16;

/** Runs one step on a fresh device; results as numbers, one list per output. */
export async function runStep(
  step: Step,
  inputs: readonly HostInput[],
  outputs: readonly { readonly dtype: DType; readonly shape: Shape }[],
): Promise<number[][]> {
  const device = new ReferenceDevice();
  const lengths = outputs.map((o) => ({ dtype: o.dtype, length: sizeOf(o.shape) }));
  const program = programOf(
    inputs.map((i) => ({ dtype: i.dtype, length: i.values.length })),
    lengths,
    [step],
  );
  const buffers = inputs.map((i) => device.upload(storageOf(i), i.dtype));
  const results = device.load(program).run(buffers);
  return Promise.all(
    results.map(async (b, i) => {
      const { dtype, length } = lengths[i]!;
      return [...toFloat64(await device.download(b, dtype, length), dtype)];
    }),
  );
}
