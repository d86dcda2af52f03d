// Interprets programs: allocates their buffers, runs steps in order, loops over the bodies of scans.

import type { FusedStep, Operand, PrimitiveStep, Program, ScanStep, Step } from "../device.ts";
import { DTYPES, readElement, type DType, type TypedArray } from "../dtype.ts";
import { invariant } from "../errors.ts";
import type { HostArray } from "../op.ts";
import { checkInside, contiguous, roundAll, type Storage } from "./code.ts";
import { prepareKernel } from "./kernels.ts";
import { prepareLoop, prepareReduce, type PreparedStep } from "./loop.ts";

/** A program made ready for host arrays: fills `outputs` from `inputs`; the two never overlap. */
export type PreparedProgram = (inputs: readonly Float64Array[], outputs: readonly Float64Array[]) => void;

/** The values of host storage of a dtype as doubles. */
export function toFloat64(data: TypedArray, dtype: DType, length: number = data.length): Float64Array {
  const out = new Float64Array(length);
  for (let i = 0; i < length; i++) out[i] = readElement(dtype, data, i);
  return out;
}

export function prepareStep(step: Step): PreparedStep {
  switch (step.kind) {
    case "loop":
      return prepareLoop(step);
    case "reduce":
      return prepareReduce(step);
    case "primitive":
      return onContiguous(step, prepareKernel(step));
    case "fused":
      return onContiguous(step, (inputs, outputs) => runFused(step, inputs, outputs));
    case "scan":
      return prepareScan(step);
  }
}

/** Operands that a step reads, and those that it writes. */
export function operandsOf(step: Step): { reads: readonly Operand[]; writes: readonly Operand[] } {
  switch (step.kind) {
    case "loop":
      return { reads: step.args, writes: step.outputs.map((o) => o.operand) };
    case "reduce":
      return { reads: step.args, writes: [step.output] };
    default:
      return { reads: step.inputs, writes: step.outputs };
  }
}

// Runs a kernel on packed copies; results pass through an array of their own where the step also reads their buffer.
function onContiguous(
  step: PrimitiveStep | FusedStep,
  kernel: (inputs: readonly Float64Array[], outputs: readonly Float64Array[]) => void,
): PreparedStep {
  const shared = step.outputs.map((o) => step.inputs.some((i) => i.buffer === o.buffer));
  return (storage) => {
    const targets = step.outputs.map((o) => contiguous(storage, o));
    const outputs = targets.map((t, i) => (shared[i] ? new Float64Array(t.length) : t));
    for (const out of outputs) out.fill(NaN);
    kernel(
      step.inputs.map((t) => contiguous(storage, t)),
      outputs,
    );
    outputs.forEach((out, i) => {
      roundAll(step.outputs[i]!.dtype, out);
      if (shared[i]) targets[i]!.set(out);
    });
  };
}

function runFused(step: FusedStep, inputs: readonly Float64Array[], outputs: readonly Float64Array[]): void {
  const wrap = (operands: readonly Operand[], data: readonly Float64Array[]): HostArray[] =>
    operands.map((o, i) => ({ shape: o.view.shape, data: data[i]! }));
  step.def.reference(wrap(step.inputs, inputs), wrap(step.outputs, outputs), step.params as never);
}

function prepareScan(step: ScanStep): PreparedStep {
  const body = prepareProgram(step.body);
  const { carries, sequences, length, reverse } = step;
  return (storage) => {
    const inputs = step.inputs.map((t) => contiguous(storage, t));
    const outputs = step.outputs.map((t) => contiguous(storage, t));
    const constants = inputs.slice(carries + sequences);
    let carry = inputs.slice(0, carries).map((c) => c.slice());
    let next = carry.map((c) => new Float64Array(c.length));
    // One step of an array with a leading time axis.
    const stepOf = (all: readonly Float64Array[], t: number): Float64Array[] =>
      all.map((x) => x.subarray((x.length / length) * t, (x.length / length) * (t + 1)));
    for (let i = 0; i < length; i++) {
      const t = reverse ? length - 1 - i : i;
      body(
        [...carry, ...stepOf(inputs.slice(carries, carries + sequences), t), ...constants],
        [...next, ...stepOf(outputs.slice(carries), t)],
      );
      [carry, next] = [next, carry];
    }
    carry.forEach((c, i) => outputs[i]!.set(c));
  };
}

/**
 * Prepares a program. Temporaries get arrays of their own, filled with NaN before their first use and recycled after
 * their last, whatever the memory plan says; so a step that reads what no step wrote shows up as NaN.
 */
export function prepareProgram(program: Program): PreparedProgram {
  const lengths = program.buffers.map((b) => b.bytes / DTYPES[b.dtype].bytes);
  const steps = program.steps.map((step) => {
    const { reads, writes } = operandsOf(step);
    for (const o of [...reads, ...writes]) checkInside(o, lengths[o.buffer]!);
    return prepareStep(step);
  });
  const constants = program.buffers.map((b, i) =>
    b.role.kind === "constant" ? toFloat64(b.role.data, b.dtype, lengths[i]) : undefined,
  );
  const first = program.buffers.map(() => -1);
  const last = program.buffers.map(() => -1);
  program.steps.forEach((step, s) => {
    const { reads, writes } = operandsOf(step);
    for (const { buffer } of [...reads, ...writes]) {
      if (program.buffers[buffer]!.role.kind !== "temp") continue;
      if (first[buffer] === -1) first[buffer] = s;
      last[buffer] = s;
    }
  });
  const born = program.steps.map((_, s) => first.flatMap((f, b) => (f === s ? [b] : [])));
  const dead = program.steps.map((_, s) => last.flatMap((l, b) => (l === s ? [b] : [])));
  const free = new Map<number, Float64Array[]>();

  return (inputs, outputs) => {
    const storage = program.buffers.map(({ role }, i) => {
      switch (role.kind) {
        case "input":
          return inputs[role.index]!;
        case "output":
          return outputs[role.index]!.fill(NaN);
        default:
          return constants[i];
      }
    }) as Float64Array[];
    steps.forEach((run, s) => {
      for (const b of born[s]!)
        storage[b] = (free.get(lengths[b]!)?.pop() ?? new Float64Array(lengths[b]!)).fill(NaN);
      run(storage as Storage);
      for (const b of dead[s]!) {
        const list = free.get(lengths[b]!) ?? [];
        free.set(lengths[b]!, list);
        list.push(storage[b]!);
      }
    });
  };
}

/** An array on the host, in the storage of its dtype. */
export interface HostTensor {
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly data: TypedArray;
}

/** Host storage of a dtype for values that it can hold. */
export function fromFloat64(values: Float64Array, dtype: DType): TypedArray {
  const out = DTYPES[dtype].array(values.length);
  storeFloat64(values, dtype, out);
  return out;
}

/** Writes values that `dtype` can hold into its storage. */
export function storeFloat64(values: Float64Array, dtype: DType, out: TypedArray): void {
  invariant(out.length >= values.length, "storage is shorter than its values");
  if (dtype === "bf16") {
    const words = new Uint32Array(new Float32Array(values).buffer);
    for (let i = 0; i < values.length; i++) out[i] = words[i]! >>> 16;
  } else out.set(values);
}
