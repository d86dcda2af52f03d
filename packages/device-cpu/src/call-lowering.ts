// Lowers a call of an op with a WebAssembly source: views that the source refuses are copied to packed temporaries, and half
// floats that it cannot take are widened to float32 and rounded back.

import { contiguousView, DTYPES, isDense, type DType, type Instruction } from "@everlong/core";
import type { WasmCall, WasmSource } from "@everlong/kernels/wasm";
import type { ArgWord, Lowered, StepOperand, WasmStep, WasmTarget, WasmView } from "./kernel-step.ts";
import { elementCount, planLoop } from "./loop-plan.ts";

type Call = Omit<Lowered, "name" | "flops">;

/** The launches of one call, or the reason why the source has none. */
export function lowerCall(
  source: WasmSource<never>,
  params: unknown,
  inputs: readonly StepOperand[],
  outputs: readonly StepOperand[],
  target: WasmTarget,
): Call | string {
  const asIs = attempt(source, params, inputs, outputs, target, false, false);
  if (typeof asIs !== "string") return asIs;
  // The plainest form that any source takes; its own reason is the one to tell.
  const halves = [...inputs, ...outputs].some((o) => o.dtype === "f16" || o.dtype === "bf16");
  const packed = attempt(source, params, inputs, outputs, target, true, halves);
  return typeof packed === "string" ? asIs : packed;
}

function attempt(
  source: WasmSource<never>,
  params: unknown,
  inputs: readonly StepOperand[],
  outputs: readonly StepOperand[],
  target: WasmTarget,
  packAll: boolean,
  widen: boolean,
): Call | string {
  const temps: number[] = [];
  const before: WasmStep[] = [];
  const after: WasmStep[] = [];
  const half = (d: DType): boolean => widen && (d === "f16" || d === "bf16");
  const newTemp = (shape: readonly number[], dtype: DType): number =>
    temps.push(Math.max(1, elementCount(shape)) * DTYPES[dtype].bytes) - 1;

  // The source sees views without offsets; they are added to its words below.
  const plain = inputs.map(({ dtype, view }): WasmView => ({
    dtype,
    shape: view.shape,
    strides: view.strides,
    offset: 0,
  }));
  const outViews = outputs.map(({ dtype, view }): WasmView => ({
    dtype: half(dtype) ? "f32" : dtype,
    ...contiguousView(view.shape),
  }));
  const asked: WasmCall<never> = { inputs: plain, outputs: outViews, params: params as never };
  const inputTemp: (number | undefined)[] = [];
  const views = plain.map((view, i): WasmView => {
    const operand = inputs[i]!;
    const taken = source.accepts ? source.accepts(i, view, asked) : isDense(operand.view);
    if (!half(view.dtype) && (packAll ? isDense(operand.view) : taken)) return view;
    const dtype = half(view.dtype) ? "f32" : view.dtype;
    const temp = newTemp(view.shape, dtype);
    inputTemp[i] = temp;
    before.push(...copy(operand, { input: i }, contiguousOperand(view.shape, dtype), { temp }));
    return { dtype, ...contiguousView(view.shape) };
  });
  const outputTemp = outputs.map((operand, i): number | undefined => {
    if (!half(operand.dtype)) return undefined;
    const temp = newTemp(operand.view.shape, "f32");
    after.push(...copy(contiguousOperand(operand.view.shape, "f32"), { temp }, operand, { output: i }));
    return temp;
  });
  const lowered = source.lower({ inputs: views, outputs: outViews, params: params as never }, target);
  if (typeof lowered === "string") return lowered;

  const own = temps.length;
  const offsetOf = (o: StepOperand): number => o.view.offset * DTYPES[o.dtype].bytes;
  const rename = (word: ArgWord): ArgWord => {
    if (typeof word === "number" || "f32" in word || "table" in word) return word;
    const byteOffset = word.byteOffset ?? 0;
    if ("temp" in word) return { temp: word.temp + own, byteOffset };
    const temp = "input" in word ? inputTemp[word.input] : outputTemp[word.output];
    if (temp !== undefined) return { temp, byteOffset };
    if ("input" in word) return { input: word.input, byteOffset: byteOffset + offsetOf(inputs[word.input]!) };
    return { output: word.output, byteOffset: byteOffset + offsetOf(outputs[word.output]!) };
  };
  return {
    inputs,
    outputs,
    steps: [...before, ...lowered.steps.map((s) => ({ ...s, args: s.args.map(rename) })), ...after],
    temps: [...temps, ...(lowered.temps ?? [])],
  };
}

const contiguousOperand = (shape: readonly number[], dtype: DType): StepOperand => ({
  buffer: -1,
  dtype,
  view: contiguousView(shape),
});

type Place = { readonly input: number } | { readonly output: number } | { readonly temp: number };

/** The launch that copies one operand to another, converting its dtype; the words name the given places. */
export function copy(from: StepOperand, source: Place, to: StepOperand, target: Place): WasmStep[] {
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
  const rename = (word: ArgWord): ArgWord => {
    if (typeof word === "number" || "f32" in word || "table" in word || "temp" in word) return word;
    return { ...("input" in word ? source : target), byteOffset: word.byteOffset ?? 0 };
  };
  return [{ ...launch, args: launch.args.map(rename) }];
}
