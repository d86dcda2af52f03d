// A sum of a step's result with another value, in the step right behind, becomes part of the step where its kernel can add: residual
// connections, and gradients that meet, then cost one pass less over memory.

import {
  isDense,
  operandsOf,
  writtenBy,
  type LoopStep,
  type Program,
  type StepOperand,
} from "@everlong/core";
import {
  matmulCuda,
  cudaSources,
  type CudaProduct,
  type CudaSource,
  type CudaTarget,
} from "@everlong/kernels/cuda";
import { lowerCall } from "./call.ts";
import { regionOf, regionsMeet } from "./join-launches.ts";
import type { Lowered } from "./lowered.ts";
import { elementCount } from "./space.ts";

/** What a loop `t + other` adds up, if that is all it does over operands that lie alike. */
function sumOf(
  step: LoopStep,
): { readonly terms: readonly StepOperand[]; readonly to: StepOperand } | undefined {
  const { args, code, outputs, shape } = step;
  const [first, second, add] = code;
  const [output] = outputs;
  if (args.length !== 2 || code.length !== 3 || outputs.length !== 1 || !output) return undefined;
  if (first?.op !== "load" || second?.op !== "load" || add?.op !== "binary" || add.fn !== "add")
    return undefined;
  if (first.arg === second.arg || add.a === add.b || add.a === 2 || add.b === 2 || output.value !== 2)
    return undefined;
  const whole = (o: StepOperand): boolean =>
    isDense(o.view) && elementCount(o.view.shape) === elementCount(shape) && o.dtype === output.operand.dtype;
  return [...args, output.operand].every(whole) && add.dtype === output.operand.dtype
    ? { terms: args, to: output.operand }
    : undefined;
}

const NOTHING: Lowered = { name: "added before", inputs: [], outputs: [], steps: [], temps: [], flops: 0 };

/**
 * Lowerings of a program with sums moved into the steps before them.
 * @param fuses whether the library multiplies and adds in one go; where it does not, a sum stays behind its product
 */
export function foldSums(
  program: Program,
  lowerings: readonly (Lowered | string | undefined)[],
  target: CudaTarget,
  fuses: (product: CudaProduct) => boolean,
): (Lowered | string | undefined)[] {
  const out = [...lowerings];
  const touched = new Map<number, number>();
  for (const step of program.steps)
    for (const buffer of new Set(operandsOf(step).map((o) => o.buffer)))
      touched.set(buffer, (touched.get(buffer) ?? 0) + 1);
  program.steps.forEach((step, i) => {
    const next = program.steps[i + 1];
    const before = out[i];
    if (next?.kind !== "loop" || before === undefined || typeof before === "string") return;
    if (step.kind !== "fused" && !(step.kind === "primitive" && step.primitive.name === "matmul")) return;
    const source: CudaSource<never> | undefined =
      step.kind === "fused" ? cudaSources[step.def.name] : matmulCuda;
    const sum = sumOf(next);
    const own = step.outputs[0]!;
    const at = sum?.terms.findIndex((t) => t.buffer === own.buffer) ?? -1;
    if (!source?.adds || !sum || at < 0) return;
    const added = sum.terms[1 - at]!;
    // Of a part of the result there may be a sum, too.
    const { view } = sum.terms[at]!;
    if (view.offset !== own.view.offset || elementCount(view.shape) !== elementCount(own.view.shape)) return;
    // Nobody else may want the result without the sum.
    const isTemp = program.buffers[own.buffer]!.role.kind === "temp" && touched.get(own.buffer) === 2;
    if (!isTemp || added.buffer === own.buffer || own.dtype !== sum.to.dtype) return;
    // The sum is written while the step still reads its inputs.
    const to = regionOf(program, sum.to.buffer);
    const others = [...step.inputs, ...writtenBy(step).slice(1)].map((o) => regionOf(program, o.buffer));
    if (regionsMeet([to], others)) return;
    const addedAt = regionOf(program, added.buffer);
    const same = addedAt.space === to.space && addedAt.from === to.from && addedAt.to === to.to;
    if (!same && regionsMeet([to], [addedAt])) return;
    const params = step.kind === "fused" ? step.params : step.primitive.params;
    const result = { ...own, buffer: sum.to.buffer, view: { ...own.view, offset: sum.to.view.offset } };
    const call = lowerCall(source, params, step.inputs, [result, ...step.outputs.slice(1)], target, added);
    if (typeof call === "string") return;
    if (call.steps.some((s) => "library" in s && !fuses(s))) return;
    if (!call.steps.some((s) => "library" in s) && step.kind === "primitive") return;
    out[i] = { ...call, name: `${before.name} and sum`, flops: before.flops };
    out[i + 1] = NOTHING;
  });
  return out;
}
