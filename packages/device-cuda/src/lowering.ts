// From a step of a program to launches: one case per kind of step.

import {
  isFloat,
  type FusedStep,
  type KernelPrimitive,
  type LoopStep,
  type PrimitiveStep,
  type ReduceStep,
  operandsOf,
} from "@everlong/core";
import { cudaSources, matmulCuda, type CudaSource, type CudaTarget } from "@everlong/kernels/cuda";
import { lowerCall } from "./call.ts";
import { beyondLimits, beyondPositions } from "./launch-limits.ts";
import { planLoop } from "./loop.ts";
import type { Lowered } from "./lowered.ts";
import { argReduce, cumulative } from "./primitive/along-lines.ts";
import { fft } from "./primitive/fft.ts";
import { gather, scatter } from "./primitive/gather-scatter.ts";
import { randomBits } from "./primitive/random-bits.ts";
import { sort } from "./primitive/sort.ts";
import { planReduce } from "./reduce.ts";
import { elementCount } from "./space.ts";

/** Steps that become launches; scans hold programs and are laid out by the executable. */
export type KernelStep = LoopStep | ReduceStep | PrimitiveStep | FusedStep;

const primitives: { readonly [P in KernelPrimitive]: CudaSource<never> } = {
  argReduce,
  cumulative,
  fft,
  gather,
  matmul: matmulCuda,
  randomBits,
  scatter,
  sort,
};

// A step is asked for more than once: by `supports`, when its program is loaded, and when that is loaded again.
const known = new WeakMap<KernelStep, { readonly target: CudaTarget; readonly lowered: Lowered | string }>();

/** The launches of a step, or the reason why there are none. */
export function lower(step: KernelStep, target: CudaTarget): Lowered | string {
  const cached = known.get(step);
  if (cached?.target === target) return cached.lowered;
  const anew = lowerAnew(step, target);
  const lowered = typeof anew === "string" ? anew : (beyondLimits(anew.steps, target) ?? anew);
  known.set(step, { target, lowered });
  return lowered;
}

function lowerAnew(step: KernelStep, target: CudaTarget): Lowered | string {
  if (operandsOf(step).some((o) => o.dtype === "f64"))
    return "the CUDA device has no f64 (use the reference device)";
  switch (step.kind) {
    case "loop": {
      const launch = planLoop(step);
      const work = step.code.filter((i) => i.op !== "load" && i.op !== "const" && i.op !== "iota").length;
      return {
        name: work === 0 ? "copy" : `loop ${loopName(step)}`,
        inputs: step.args,
        outputs: step.outputs.map((o) => o.operand),
        steps: launch ? [launch] : [],
        temps: [],
        flops: isFloat(step.outputs[0]!.operand.dtype) ? work * elementCount(step.shape) : 0,
      };
    }
    case "reduce":
      return {
        name: `reduce ${step.fn}`,
        inputs: step.args,
        outputs: [step.output],
        ...planReduce(step),
        flops: elementCount(step.shape) * step.code.filter((i) => i.op !== "load" && i.op !== "const").length,
      };
    case "primitive": {
      const { name, params } = step.primitive;
      const call = lowerCall(primitives[name], params, step.inputs, step.outputs, target);
      return typeof call === "string" ? call : { ...call, name, flops: primitiveFlops(step) };
    }
    case "fused": {
      const source = cudaSources[step.def.name];
      if (!source) return "no CUDA kernel";
      const far = source.longAxes ? undefined : beyondPositions(operandsOf(step));
      if (far !== undefined) return far;
      const call = lowerCall(source, step.params, step.inputs, step.outputs, target);
      if (typeof call === "string") return call;
      const type = (
        o: (typeof step.inputs)[number],
      ): { shape: readonly number[]; dtype: typeof o.dtype } => ({
        shape: o.view.shape,
        dtype: o.dtype,
      });
      const { flops } = step.def.cost(step.inputs.map(type), step.outputs.map(type), step.params as never);
      return { ...call, name: step.def.name, flops };
    }
  }
}

function primitiveFlops({ primitive, inputs, outputs }: PrimitiveStep): number {
  const size = elementCount(outputs[0]!.view.shape);
  if (primitive.name === "matmul") return 2 * size * inputs[0]!.view.shape.at(-1)!;
  if (primitive.name === "fft")
    return Math.round(5 * size * Math.log2(Math.max(2, outputs[0]!.view.shape.at(-1)!)));
  return primitive.name === "cumulative" ? size : 0;
}

/** The functions of a loop, shortened: `mul+add+tanh`. */
function loopName(step: LoopStep): string {
  const names = step.code.flatMap((i) =>
    "fn" in i ? [i.fn] : i.op === "select" || i.op === "cast" ? [i.op] : [],
  );
  return names.length > 6 ? `${names.slice(0, 5).join("+")}+${names.length - 5} more` : names.join("+");
}
