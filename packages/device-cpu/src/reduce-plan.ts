// Turns a ReduceStep into launches: which axis the lanes run along, and how long reductions are cut into segments whose partial
// results a second launch combines. All choices depend on shapes and strides alone, so bits do not depend on threads.

import { contiguousStrides, isFloat, type DType, type Instruction, type ReduceStep } from "@everlong/core";
import { chooseInner, normalizeSpace, type Space } from "./axis-order.ts";
import {
  constantWords,
  normalizeCode,
  pointerCount,
  unitOf,
  type Access,
  type FusedSpec,
} from "./fused-code.ts";
import type { ArgWord, Lowered, WasmStep } from "./kernel-step.ts";
import { bytesOf, lanesKind } from "./lane-formats.ts";
import { addressWord, elementCount, iotaStrides, planLoop, specKey } from "./loop-plan.ts";
import { buildReduceColumns, COLUMN_SCRATCH, STRIP } from "./reduce-columns.ts";
import { REDUCE_HEADER_WORDS, type ReduceSpec } from "./reduce-frame.ts";
import { buildReduceRows } from "./reduce-rows.ts";
import { dimsTable } from "./row-cursor.ts";

/** Elements of a segment of one result, and results from which on none is cut. */
const SEGMENT = 65_536;
const ENOUGH_UNITS = 32;
/** Elements of a unit below which several go to a thread at a time. */
const GRAIN_ELEMENTS = 32_768;

/** Axes of the kept or of the reduced part: sizes with every operand's strides (args, iotas, output) in elements. */
interface Part {
  readonly shape: readonly number[];
  readonly strides: readonly (readonly number[])[];
}

export function planReduce(step: ReduceStep): Lowered {
  const { shape, axes, args, code, output, fn } = step;
  const result: Omit<Lowered, "steps" | "temps"> = {
    name: `${fn} ${code.length > 1 ? "of loop" : ""}`.trim(),
    inputs: args,
    outputs: [output],
    flops: isFloat(output.dtype) ? elementCount(shape) * Math.max(1, code.length - args.length) : 0,
  };
  const keptAxes = shape.map((_, a) => a).filter((a) => !axes.includes(a));
  if (elementCount(keptAxes.map((a) => shape[a]!)) === 0) return { ...result, steps: [], temps: [] };
  if (elementCount(shape) === 0) return { ...result, steps: emptyResult(step), temps: [] };

  const strides = [...args.map((a) => a.view.strides), ...iotaStrides(code, shape.length)];
  const outStrides = shape.map(() => 0);
  keptAxes.forEach((a, i) => (outStrides[a] = output.view.strides[i]!));
  const part = (list: readonly number[], leader: number): Part =>
    normalizeSpace(
      list.map((a) => shape[a]!),
      [...strides, outStrides].map((s) => list.map((a) => s[a]!)),
      leader,
    );
  const kept = part(keptAxes, strides.length);
  const reduced = part(axes, 0);
  const space: Space = {
    shape: [...kept.shape, ...reduced.shape],
    strides: kept.strides.map((s, k) => [...s, ...reduced.strides[k]!]),
  };
  // The output does not count: it is written once per result.
  const inner = chooseInner({ shape: space.shape, strides: space.strides.slice(0, -1) }, () => false);
  const byRows = inner >= kept.shape.length;
  const plan = byRows
    ? planRows(step, kept, without(reduced, inner - kept.shape.length))
    : planColumns(step, without(kept, inner), reduced);
  return { ...result, ...plan };
}

interface Split {
  /** The axis that lanes run along. */
  readonly size: number;
  readonly strides: readonly number[];
  readonly rest: Part;
}

function without(part: Part, axis: number): Split {
  const drop = <T>(list: readonly T[]): T[] => list.filter((_, a) => a !== axis);
  return {
    size: part.shape[axis]!,
    strides: part.strides.map((s) => s[axis]!),
    rest: { shape: drop(part.shape), strides: part.strides.map(drop) },
  };
}

function planRows(step: ReduceStep, kept: Part, reduced: Split): Pick<Lowered, "steps" | "temps"> {
  const results = elementCount(kept.shape);
  const rows = elementCount(reduced.rest.shape);
  const { size } = reduced;
  const cut = results < ENOUGH_UNITS && rows * size >= 2 * SEGMENT;
  const columns = cut ? Math.min(size, SEGMENT) : size;
  const segmentRows = cut ? Math.max(1, Math.floor(SEGMENT / columns)) : rows;
  const columnSegments = Math.ceil(size / columns);
  const segments = columnSegments * Math.ceil(rows / segmentRows);
  const partial = partialType(step);
  const spec = specOf(step, reduced.strides, segments > 1 ? partial : step.output.dtype);
  // Partial results lie as [kept, segments].
  const outStrides =
    segments > 1
      ? contiguousStrides([...kept.shape, segments]).slice(0, -1)
      : kept.strides[kept.strides.length - 1]!;
  const first = launch(step, spec, {
    entry: "reduceRows",
    build: (module) => buildReduceRows(module, spec),
    header: [size, columns, columnSegments, segmentRows, rows, segments, segments > 1 ? bytesOf(partial) : 0],
    kept: { shape: kept.shape, strides: [...kept.strides.slice(0, -1), outStrides] },
    reduced: reduced.rest,
    innerStrides: reduced.strides.slice(0, -1),
    toTemp: segments > 1,
    units: results * segments,
    unitElements: segments > 1 ? SEGMENT : rows * size,
    scratchBytes: 0,
    key: "",
  });
  if (segments === 1) return { steps: [first], temps: [] };
  const second = combinePartials(step, kept, partial, segments, true);
  return { steps: [first, ...second.steps], temps: [results * segments * bytesOf(partial), ...second.temps] };
}

function planColumns(step: ReduceStep, kept: Split, reduced: Part): Pick<Lowered, "steps" | "temps"> {
  const outer = elementCount(kept.rest.shape);
  const rows = elementCount(reduced.shape);
  const columns = Math.min(kept.size, STRIP);
  const strips = Math.ceil(kept.size / columns);
  // Whole folds of rows a segment.
  const wanted = Math.max(128, Math.ceil(SEGMENT / columns / 128) * 128);
  const segmentRows = outer * strips < ENOUGH_UNITS && rows >= 2 * wanted ? wanted : rows;
  const segments = Math.ceil(rows / segmentRows);
  const partial = partialType(step);
  const spec = specOf(step, kept.strides, segments > 1 ? partial : step.output.dtype);
  const results = outer * kept.size;
  const whole: Part = {
    shape: [...kept.rest.shape, kept.size],
    strides: kept.rest.strides.map((s, k) => [...s, kept.strides[k]!]),
  };
  const outStrides = segments > 1 ? contiguousStrides(whole.shape) : whole.strides[whole.strides.length - 1]!;
  const innerOut = outStrides[outStrides.length - 1]!;
  const dense = innerOut === 1;
  const first = launch(step, spec, {
    entry: "reduceColumns",
    build: (module) => buildReduceColumns(module, spec, dense),
    header: [
      kept.size,
      columns,
      strips,
      segmentRows,
      rows,
      segments,
      segments > 1 ? results * bytesOf(partial) : 0,
    ],
    kept: { shape: kept.rest.shape, strides: [...kept.rest.strides.slice(0, -1), outStrides.slice(0, -1)] },
    reduced,
    innerStrides: [...kept.strides.slice(0, -1), innerOut],
    toTemp: segments > 1,
    units: outer * strips * segments,
    unitElements: columns * segmentRows,
    scratchBytes: COLUMN_SCRATCH,
    key: dense ? " dense" : "",
  });
  if (segments === 1) return { steps: [first], temps: [] };
  const second = combinePartials(step, whole, partial, segments, false);
  return { steps: [first, ...second.steps], temps: [results * segments * bytesOf(partial), ...second.temps] };
}

/** Partial results keep float32, or 32-bit integers. */
const partialType = (step: ReduceStep): DType => (lanesKind(valueType(step)) === "float" ? "f32" : "i32");
const valueType = (step: ReduceStep): DType => step.code[step.code.length - 1]!.dtype;

/** The spec of a step whose operands step by `inner` (elements, iotas after args) along the lanes. */
function specOf(step: ReduceStep, inner: readonly number[], stored: DType): ReduceSpec {
  const { args, code, fn } = step;
  const fused: FusedSpec = {
    code: normalizeCode(code, (i) => args.length + i),
    args: args.map((a, k): { dtype: DType; access: Access } => ({
      dtype: a.dtype,
      access: inner[k] === 0 ? "splat" : inner[k] === 1 ? "vector" : "lanes",
    })),
    outputs: [],
    iotas: inner.slice(args.length, -1).map((s) => (s === 0 ? "splat" : "lanes")),
  };
  return { fused, fn, dtype: valueType(step), stored };
}

interface LaunchParts {
  readonly entry: string;
  readonly build: WasmStep["kernel"]["build"];
  readonly header: readonly number[];
  readonly kept: Part;
  readonly reduced: Part;
  readonly innerStrides: readonly number[];
  readonly toTemp: boolean;
  readonly units: number;
  readonly unitElements: number;
  readonly scratchBytes: number;
  readonly key: string;
}

function launch(step: ReduceStep, spec: ReduceSpec, parts: LaunchParts): WasmStep {
  const { fused, stored } = spec;
  const count = pointerCount(fused);
  const unit = (k: number): number => (k < count ? unitOf(fused, k) : bytesOf(stored));
  const bytes = (strides: readonly number[], k: number): number[] => strides.map((s) => s * unit(k));
  const keptTable = dimsTable(parts.kept.shape, parts.kept.strides.map(bytes));
  const reducedTable = dimsTable(parts.reduced.shape, parts.reduced.strides.slice(0, count).map(bytes));
  const constants = constantWords(step.code);
  const inner = parts.innerStrides.map((s, k) => s * unit(k));
  const fixed = REDUCE_HEADER_WORDS + count + 1 + inner.length + constants.length;
  const words: ArgWord[] = [
    ...parts.header,
    4 * fixed,
    4 * (fixed + keptTable.length),
    ...step.args.map((a, i) => addressWord(a, { input: i })),
    ...fused.iotas.map(() => 0),
    parts.toTemp ? { temp: 0 } : addressWord(step.output, { output: 0 }),
    ...inner,
    ...constants,
    ...keptTable,
    ...reducedTable,
  ];
  return {
    kernel: {
      key: `${parts.entry}${parts.key} ${spec.fn} ${spec.dtype} ${stored} ${specKey(fused)}`,
      build: parts.build,
    },
    entry: parts.entry,
    args: words,
    units: parts.units,
    grain: Math.max(1, Math.floor(GRAIN_ELEMENTS / parts.unitElements)),
    scratchBytes: parts.scratchBytes,
  };
}

/** The launch that reduces temp 0, `[kept..., segments]` or `[segments, kept...]`, to the output. */
function combinePartials(
  step: ReduceStep,
  kept: Part,
  partial: DType,
  segments: number,
  last: boolean,
): Pick<Lowered, "steps" | "temps"> {
  const dtype = valueType(step);
  const shape = last ? [...kept.shape, segments] : [segments, ...kept.shape];
  const code: Instruction[] = [{ op: "load", dtype: partial, arg: 0 }];
  if (lanesKind(dtype) !== "float" && dtype !== partial)
    code.push({ op: "cast", dtype, from: partial, a: 0 });
  const again: ReduceStep = {
    kind: "reduce",
    shape,
    axes: [last ? shape.length - 1 : 0],
    fn: step.fn,
    args: [{ buffer: -1, dtype: partial, view: { shape, strides: contiguousStrides(shape), offset: 0 } }],
    code,
    output: {
      ...step.output,
      view: {
        shape: kept.shape,
        strides: kept.strides[kept.strides.length - 1]!,
        offset: step.output.view.offset,
      },
    },
  };
  const plan = planReduce(again);
  // What was input 0 there is temp 0 here; temps of its own come after it.
  const rename = (word: ArgWord): ArgWord => {
    if (typeof word === "number") return word;
    if ("input" in word) return { temp: 0, byteOffset: word.byteOffset ?? 0 };
    return "temp" in word ? { ...word, temp: word.temp + 1 } : word;
  };
  return { steps: plan.steps.map((s) => ({ ...s, args: s.args.map(rename) })), temps: plan.temps };
}

/** Fills the results of a reduction over nothing. */
function emptyResult(step: ReduceStep): WasmStep[] {
  const { fn, output } = step;
  const value = fn === "sum" ? 0 : fn === "prod" ? 1 : fn === "max" ? -Infinity : Infinity;
  const launch = planLoop({
    kind: "loop",
    shape: output.view.shape,
    args: [],
    code: [{ op: "const", dtype: output.dtype, value }],
    outputs: [{ operand: output, value: 0 }],
  });
  return launch ? [launch] : [];
}
