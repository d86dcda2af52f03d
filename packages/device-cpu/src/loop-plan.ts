// Turns a LoopStep into one kernel launch: axis order, access of every operand, argument block, units.

import type { Instruction, LoopStep } from "@everlong/core";
import { chooseInner, normalizeSpace, type Space } from "./axis-order.ts";
import {
  constantWords,
  normalizeCode,
  pointerCount,
  unitOf,
  type Access,
  type FusedSpec,
} from "./fused-code.ts";
import type { ArgWord, StepOperand, WasmStep } from "./kernel-step.ts";
import { bytesOf } from "./lane-formats.ts";
import { buildLoop, LOOP_HEADER_WORDS, loopScratch, TILE } from "./loop-codegen.ts";
import { dimsTable } from "./row-cursor.ts";

/** Elements of a unit: a few microseconds of work. */
export const UNIT_ELEMENTS = 16_384;

/** Strides of the index of every iota: 1 along its axis. */
export function iotaStrides(code: readonly Instruction[], rank: number): number[][] {
  return code.flatMap((i) =>
    i.op === "iota" ? [Array.from({ length: rank }, (_, a) => (a === i.axis ? 1 : 0))] : [],
  );
}

/** The address word of an operand's first element. */
export function addressWord(
  operand: StepOperand,
  word: { readonly input: number } | { readonly output: number },
): ArgWord {
  return { ...word, byteOffset: operand.view.offset * bytesOf(operand.dtype) };
}

export const specKey = (spec: FusedSpec): string =>
  JSON.stringify([spec.code, spec.args, spec.outputs, spec.iotas]);

export const elementCount = (shape: readonly number[]): number => shape.reduce((a, b) => a * b, 1);

/** The launch of a loop, or undefined when there is nothing to do. Words name the step's args as inputs. */
export function planLoop(step: LoopStep): WasmStep | undefined {
  const { shape, args, outputs, code } = step;
  if (elementCount(shape) === 0) return undefined;
  const strides = [
    ...args.map((a) => a.view.strides),
    ...outputs.map((o) => o.operand.view.strides),
    ...iotaStrides(code, shape.length),
  ];
  const space = normalizeSpace(shape, strides, args.length);
  const tileable = (k: number): boolean => k < args.length;
  const inner = chooseInner(space, tileable);
  const tileAxis = chooseTileAxis(space, inner, args.length);
  const outer = space.shape.map((_, a) => a).filter((a) => a !== inner && a !== tileAxis);
  if (tileAxis !== undefined) outer.push(tileAxis);

  const accessAt = (k: number): Access => {
    const s = space.strides[k]!;
    if (s[inner] === 0) return "splat";
    if (s[inner] === 1) return "vector";
    return tileable(k) && tileAxis !== undefined && s[tileAxis] === 1 ? "tile" : "lanes";
  };
  const n = args.length;
  const firstIota = n + outputs.length;
  const spec: FusedSpec = {
    code: normalizeCode(code, (i) => firstIota + i),
    args: args.map((a, k) => ({ dtype: a.dtype, access: accessAt(k) })),
    outputs: outputs.map((o, i) => ({
      dtype: o.operand.dtype,
      // An output of one element along the axis is a plain store.
      access: accessAt(n + i) === "vector" ? "vector" : "lanes",
      value: o.value,
    })),
    iotas: strides
      .slice(firstIota)
      .map((_, i) => (space.strides[firstIota + i]![inner] === 0 ? "splat" : "lanes")),
  };

  const size = space.shape[inner]!;
  const sizes = outer.map((a) => space.shape[a]!);
  const rows = elementCount(sizes);
  const tiled = spec.args.some((a) => a.access === "tile");
  const group = tiled ? sizes[sizes.length - 1]! : rows;
  const chunk = tiled ? TILE : Math.min(size, UNIT_ELEMENTS);
  const rowsPerUnit = tiled ? TILE : Math.max(1, Math.min(rows, Math.floor(UNIT_ELEMENTS / size)));
  const chunks = Math.ceil(size / chunk);
  const blocks = Math.ceil(group / rowsPerUnit);

  const count = pointerCount(spec);
  const byteStrides = (k: number, axes: readonly number[]): number[] =>
    axes.map((a) => space.strides[k]![a]! * unitOf(spec, k));
  const pointers = Array.from({ length: count }, (_, k) => k);
  const constants = constantWords(code);
  const words: ArgWord[] = [
    size,
    chunk,
    chunks,
    rowsPerUnit,
    group,
    blocks,
    4 * (LOOP_HEADER_WORDS + 2 * count + constants.length),
    ...args.map((a, i) => addressWord(a, { input: i })),
    ...outputs.map((o, i) => addressWord(o.operand, { output: i })),
    ...spec.iotas.map(() => 0),
    ...pointers.map((k) => byteStrides(k, [inner])[0]!),
    ...constants,
    ...dimsTable(
      sizes,
      pointers.map((k) => byteStrides(k, outer)),
    ),
  ];
  const units = (rows / group) * blocks * chunks;
  return {
    kernel: { key: `loop ${specKey(spec)}`, build: (module) => buildLoop(module, spec) },
    entry: "loop",
    args: words,
    units,
    grain: tiled ? 4 : Math.max(1, Math.floor(UNIT_ELEMENTS / (chunk * rowsPerUnit))),
    scratchBytes: loopScratch(spec),
  };
}

/** An outer axis along which some argument lies densely that does not along the inner one. */
function chooseTileAxis(space: Space, inner: number, args: number): number | undefined {
  if (space.shape[inner]! < 4) return undefined;
  for (let k = 0; k < args; k++) {
    const s = space.strides[k]!;
    if (s[inner] === 0 || s[inner] === 1) continue;
    const axis = s.findIndex((x, a) => a !== inner && x === 1 && space.shape[a]! >= 4);
    if (axis >= 0) return axis;
  }
  return undefined;
}
