// What is under test and on which arguments.

import {
  DTYPES,
  isFloat,
  tensor,
  writeElement,
  type Device,
  type DType,
  type Op,
  type OpDef,
  type Tensor,
} from "@everlong/core";
import { Random, normal, type Sample } from "./random.ts";

/** A fused op, or any function of tensors with a name. */
export interface Subject<P> {
  readonly name: string;
  readonly apply: (inputs: readonly Tensor[], params: P) => Tensor | readonly Tensor[];
}

/** One input: its shape, or its shape with what it holds. */
export type InputSpec =
  | readonly number[]
  | {
      readonly shape: readonly number[];
      /** Default `"float"`: the dtype under test. */
      readonly dtype?: DType | "float";
      /** Default: standard normal for floats; 0 and 1 for the rest. */
      readonly sample?: Sample;
      /** Given values instead of random ones. */
      readonly values?: ArrayLike<number>;
    };

/** One set of arguments. */
export interface OpCase<P> {
  readonly inputs: readonly InputSpec[];
  readonly params: P;
}

/** An input as host numbers that the dtype under test can hold. */
export interface HostInput {
  readonly shape: readonly number[];
  readonly dtype: DType | "float";
  readonly values: Float64Array;
}

export const definitionOf = (subject: Op<never> | Subject<never>): OpDef | undefined =>
  typeof subject === "function" ? subject.def : undefined;

export const outputsOf = (out: Tensor | readonly Tensor[]): readonly Tensor[] =>
  Array.isArray(out) ? (out as readonly Tensor[]) : [out as Tensor];

/** Draws the inputs of a case; floats are rounded to `dtype`, so that every device gets the same numbers. */
export function drawInputs(specs: readonly InputSpec[], dtype: DType, seed: number): HostInput[] {
  return specs.map((spec, i) => {
    const input = "shape" in spec ? spec : { shape: spec as readonly number[] };
    const random = new Random(seed + 7717 * i);
    const kind = input.dtype ?? "float";
    const target = kind === "float" ? dtype : kind;
    const sample: Sample = input.sample ?? (isFloat(target) ? normal : (r) => Math.floor(2 * r.uniform()));
    const size = input.shape.reduce((a, b) => a * b, 1);
    const values = Float64Array.from({ length: size }, (_, k) => input.values?.[k] ?? sample(random, k));
    return { shape: input.shape, dtype: kind, values: rounded(values, target) };
  });
}

function rounded(values: Float64Array, dtype: DType): Float64Array {
  if (dtype === "f64") return values;
  const storage = DTYPES[dtype].array(values.length);
  values.forEach((x, i) => writeElement(dtype, storage, i, x));
  if (dtype !== "bf16") return Float64Array.from(storage);
  return new Float64Array(new Float32Array(Uint32Array.from(storage, (w) => w << 16).buffer));
}

/** Puts host inputs on a device, floats as `dtype`. */
export function upload(inputs: readonly HostInput[], device: Device, dtype: DType): Tensor[] {
  return inputs.map((input) => {
    const target = input.dtype === "float" ? dtype : input.dtype;
    const storage = DTYPES[target].array(input.values.length);
    input.values.forEach((x, i) => writeElement(target, storage, i, x));
    return tensor(storage, [...input.shape], { dtype: target, device });
  });
}

/** A short name for a case, for the list of tests. */
export function labelOf<P>({ inputs, params }: OpCase<P>): string {
  const shapes = inputs
    .map((s) => `[${("shape" in s ? s.shape : (s as readonly number[])).join(", ")}]`)
    .join(" ");
  const text = params === undefined ? "" : JSON.stringify(params);
  return text && text !== "{}" ? `${shapes} ${text}` : shapes;
}
