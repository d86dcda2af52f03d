// What a step is called and what it costs, for printed plans.

import type { Operand, Step } from "../device.ts";
import { DTYPES } from "../dtype.ts";
import type { Cost, TensorType } from "../op.ts";
import { show, sizeOf } from "../shape.ts";
import { operandsOf } from "./program.ts";

const typeOf = (o: Operand): TensorType => ({ shape: o.view.shape, dtype: o.dtype });

/** `loop`, `reduce`, or the name of the primitive or fused op. */
export function nameOf(step: Step): string {
  if (step.kind === "primitive") return step.primitive.name;
  if (step.kind === "fused") return step.def.name;
  return step.kind === "reduce" ? `reduce ${step.fn}` : step.kind;
}

/** Floating-point operations and bytes that a step must at least do and move. */
export function costOf(step: Step): Cost {
  const { reads, writes } = operandsOf(step);
  const bytes = [...reads, ...writes].reduce(
    (sum, o) => sum + sizeOf(o.view.shape) * DTYPES[o.dtype].bytes,
    0,
  );
  return step.kind === "fused"
    ? step.def.cost(step.inputs.map(typeOf), step.outputs.map(typeOf), step.params as never)
    : { flops: flopsOf(step), bytes };
}

function flopsOf(step: Exclude<Step, { kind: "fused" }>): number {
  switch (step.kind) {
    case "loop":
    case "reduce": {
      const work = step.code.filter((c) => c.op !== "load" && c.op !== "const" && c.op !== "iota").length;
      return sizeOf(step.shape) * (work + (step.kind === "reduce" ? 1 : 0));
    }
    case "scan":
      return step.length * step.body.steps.reduce((sum, s) => sum + costOf(s).flops, 0);
    case "primitive":
      break;
  }
  const size = sizeOf(step.outputs[0]!.view.shape);
  const input = step.inputs[0]!.view.shape;
  const n = input[input.length - 1] ?? 1;
  switch (step.primitive.name) {
    case "matmul":
      return 2 * size * n;
    case "fft":
      return 5 * size * Math.log2(Math.max(2, n));
    case "argReduce":
      return sizeOf(input);
    case "sort":
      return size * Math.log2(Math.max(2, input[step.primitive.params.axis]!));
    case "gather":
      return 0;
    default:
      return size;
  }
}

/** One line of a printed plan. */
export function describeStep(step: Step): string {
  const { flops, bytes } = costOf(step);
  const out = operandsOf(step).writes.map((o) => `${o.dtype}${show(o.view.shape)}`);
  return `${nameOf(step)} -> ${out.join(", ")}: ${bytes} bytes, ${Math.round(flops)} flops`;
}
