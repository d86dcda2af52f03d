// Lowers a call of an op with a CUDA source: views that the source refuses, by their strides or by where they begin, are copied to packed
// temporaries, and half floats that it cannot take are widened to float32 and rounded back.

import { contiguousView, isDense, type DType, type Instruction, type StepOperand } from "@everlong/core";
import type {
  CudaCall,
  CudaOperand,
  CudaProduct,
  CudaSource,
  CudaStep,
  CudaTarget,
  CudaView,
  CudaWord,
} from "@everlong/kernels/cuda";
import type { Lowered } from "./lowered.ts";
import { planLoop } from "./loop.ts";
import { bytesOf, elementCount } from "./space.ts";

type Call = Omit<Lowered, "name" | "flops">;
type Renamer = (word: CudaWord) => CudaWord;

/** The launches of one call, or the reason why the source has none. `added` lies as output 0 does and is added to it. */
export function lowerCall(
  source: CudaSource<never>,
  params: unknown,
  inputs: readonly StepOperand[],
  outputs: readonly StepOperand[],
  target: CudaTarget,
  added?: StepOperand,
): Call | string {
  const asIs = attempt(source, params, inputs, outputs, target, false, added);
  if (added) return asIs;
  if (typeof asIs !== "string") return asIs;
  const halves = [...inputs, ...outputs].some((o) => isHalf(o.dtype));
  if (!halves) return asIs;
  const widened = attempt(source, params, inputs, outputs, target, true);
  return typeof widened === "string" ? asIs : widened;
}

const isHalf = (d: DType): boolean => d === "f16" || d === "bf16";

function attempt(
  source: CudaSource<never>,
  params: unknown,
  inputs: readonly StepOperand[],
  outputs: readonly StepOperand[],
  target: CudaTarget,
  widen: boolean,
  added?: StepOperand,
): Call | string {
  const temps: number[] = [];
  const before: CudaStep[] = [];
  const after: CudaStep[] = [];
  const half = (d: DType): boolean => widen && isHalf(d);
  const newTemp = (shape: readonly number[], dtype: DType): number =>
    temps.push(Math.max(1, elementCount(shape)) * bytesOf(dtype)) - 1;
  const startsAt = (o: StepOperand, multiple: number): boolean =>
    (o.view.offset * bytesOf(o.dtype)) % multiple === 0;
  const viaTemp = (o: StepOperand, which: CudaOperand): boolean =>
    half(o.dtype) || !startsAt(o, source.alignment?.(which, params as never) ?? 1);
  // The source sees views without offsets; they are added to its words below.
  const plain = inputs.map((operand): CudaView => ({
    dtype: operand.dtype,
    shape: operand.view.shape,
    strides: operand.view.strides,
    offset: 0,
    aligned: startsAt(operand, 16),
  }));
  const outViews = outputs.map((operand, output): CudaView => ({
    dtype: half(operand.dtype) ? "f32" : operand.dtype,
    ...contiguousView(operand.view.shape),
    aligned: viaTemp(operand, { output }) || startsAt(operand, 16),
  }));
  const asked: CudaCall<never> = { inputs: plain, outputs: outViews, params: params as never };
  const inputTemp: (number | undefined)[] = [];
  const views = plain.map((view, i): CudaView => {
    const operand = inputs[i]!;
    const taken = isDense(operand.view) || (source.accepts?.(i, view, asked) ?? false);
    if (!viaTemp(operand, { input: i }) && taken) return view;
    const dtype = half(view.dtype) ? "f32" : view.dtype;
    const temp = newTemp(view.shape, dtype);
    inputTemp[i] = temp;
    before.push(
      ...copySteps(operand, { input: i }, { buffer: -1, dtype, view: contiguousView(view.shape) }, { temp }),
    );
    return { dtype, ...contiguousView(view.shape), aligned: true };
  });
  const outputTemp = outputs.map((operand, i): number | undefined => {
    if (!viaTemp(operand, { output: i })) return undefined;
    const { dtype } = outViews[i]!;
    const temp = newTemp(operand.view.shape, dtype);
    after.push(
      ...copySteps({ buffer: -1, dtype, view: contiguousView(operand.view.shape) }, { temp }, operand, {
        output: i,
      }),
    );
    return temp;
  });
  const call: CudaCall<never> = {
    inputs: views,
    outputs: outViews,
    params: params as never,
    ...(added && { added: { input: inputs.length } }),
  };
  if (added && !(source.adds?.(call) && startsAt(added, 16))) return "adds nothing";
  const lowered = source.lower(call, target);
  if (typeof lowered === "string") return lowered;
  const operands = added ? [...inputs, added] : inputs;
  const own = temps.length;
  const offsetOf = (o: StepOperand): number => o.view.offset * bytesOf(o.dtype);
  const rename: Renamer = (word) => {
    if (typeof word === "number" || "f32" in word || "table" in word) return word;
    const byteOffset = word.byteOffset ?? 0;
    if ("temp" in word) return { ...word, temp: word.temp + own };
    const map = word.map && { map: word.map };
    const temp = "input" in word ? inputTemp[word.input] : outputTemp[word.output];
    if (temp !== undefined) return { temp, byteOffset, ...map };
    if ("input" in word) return { ...word, byteOffset: byteOffset + offsetOf(operands[word.input]!) };
    return { ...word, byteOffset: byteOffset + offsetOf(outputs[word.output]!) };
  };
  return {
    inputs: operands,
    outputs,
    steps: [...before, ...lowered.steps.map((s) => renameStep(s, rename)), ...after],
    temps: [...temps, ...(lowered.temps ?? [])],
  };
}

function renameStep<S extends CudaStep | CudaProduct>(step: S, rename: Renamer): S {
  if ("library" in step) {
    const place = (m: CudaProduct["a"]): CudaProduct["a"] => ({
      ...m,
      word: rename(m.word) as CudaProduct["a"]["word"],
    });
    return {
      ...step,
      a: place(step.a),
      b: place(step.b),
      c: place(step.c),
      ...(step.bias && { bias: rename(step.bias) as CudaProduct["a"]["word"] }),
      ...(step.added && { added: rename(step.added) as CudaProduct["a"]["word"] }),
      otherwise: step.otherwise.map((s) => renameStep(s, rename)),
    };
  }
  return { ...step, args: step.args.map(rename) };
}

type Place = { readonly input: number } | { readonly output: number } | { readonly temp: number };

/** The launch that copies one operand to another, converting its dtype; the words name the given places. */
function copySteps(from: StepOperand, source: Place, to: StepOperand, target: Place): CudaStep[] {
  const code: Instruction[] = [{ op: "load", dtype: from.dtype, arg: 0 }];
  if (from.dtype !== to.dtype) code.push({ op: "cast", dtype: to.dtype, from: from.dtype, a: 0 });
  const launch = planLoop({
    kind: "loop",
    shape: from.view.shape,
    args: [from],
    code,
    outputs: [{ operand: to, value: code.length - 1 }],
  });
  if (!launch) return [];
  const rename: Renamer = (word) => {
    if (typeof word === "number" || "f32" in word || "table" in word || "temp" in word) return word;
    return { ...("input" in word ? source : target), byteOffset: word.byteOffset ?? 0 };
  };
  return [renameStep(launch, rename)];
}
