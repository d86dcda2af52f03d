// Joins loops over the same index space that read the same data or feed each other, so that memory is walked once.

import type { LoopStep, Operand } from "../device.ts";
import { sameShape, sizeOf } from "../shape.ts";
import { readBy, writtenBy } from "../execution/step-operands.ts";
import { appendCode, LoopBuilder, operandKey } from "./loop-builder.ts";
import type { DraftBuffer, DraftStep } from "./draft.ts";

const MAX_CODE = 96;
const MAX_ARGS = 14;
const MAX_OUTPUTS = 6;
/** How far back a loop looks for a partner. */
const WINDOW = 24;

/** Merges in place; the order of steps stays valid. */
export function mergeLoops(steps: DraftStep[], buffers: readonly DraftBuffer[]): void {
  for (let b = 0; b < steps.length; b++) {
    const { step } = steps[b]!;
    if (step.kind === "loop" && joinEarlier(steps, b, step)) b--;
  }
  dropDeadStores(steps, buffers);
}

/** Joins loop `b` with an earlier one: moved up to it, or, behind a producer of its own, by letting that one sink down. */
function joinEarlier(steps: DraftStep[], b: number, step: LoopStep): boolean {
  const needs = new Set(step.args.map((o) => o.buffer));
  const writes = new Set(step.outputs.map((o) => o.operand.buffer));
  const touched = new Set<number>();
  let blocked = false;
  for (let a = b - 1; a >= Math.max(0, b - WINDOW); a--) {
    const target = steps[a]!;
    const outputs = writtenBy(target.step).map((o) => o.buffer);
    if (target.step.kind === "loop" && target.epoch === steps[b]!.epoch && canJoin(target.step, step)) {
      const joined = { ...target, step: join(target.step, step) };
      if (!blocked) {
        steps[a] = joined;
        steps.splice(b, 1);
        return true;
      }
      if (!outputs.some((o) => touched.has(o))) {
        steps[b] = joined;
        steps.splice(a, 1);
        return true;
      }
    }
    // Beyond a producer of ours (or another writer of the same buffer) we cannot move up.
    if (outputs.some((o) => needs.has(o) || writes.has(o))) blocked = true;
    for (const o of [...readBy(target.step), ...writtenBy(target.step)]) touched.add(o.buffer);
  }
  return false;
}

function canJoin(a: LoopStep, b: LoopStep): boolean {
  if (!sameShape(a.shape, b.shape) || sizeOf(a.shape) === 0) return false;
  if (a.code.length + b.code.length > MAX_CODE || a.outputs.length + b.outputs.length > MAX_OUTPUTS)
    return false;
  const written = new Map(a.outputs.map((o) => [o.operand.buffer, operandKey(o.operand)]));
  let feeds = false;
  for (const o of b.args) {
    const key = written.get(o.buffer);
    if (key === undefined) continue;
    // What a wrote must be read at the same index.
    if (key !== operandKey(o)) return false;
    feeds = true;
  }
  // Sharing a scalar or a row saves nothing; a whole operand does.
  const whole = (o: Operand): boolean => o.view.shape.every((n, i) => n === 1 || o.view.strides[i] !== 0);
  const theirs = new Set(a.args.filter(whole).map(operandKey));
  const shared = b.args.some((o) => theirs.has(operandKey(o)));
  if (!feeds && !shared) return false;
  const together = new Set([...a.args, ...b.args].map(operandKey));
  return together.size <= MAX_ARGS;
}

function join(a: LoopStep, b: LoopStep): LoopStep {
  const builder = new LoopBuilder(a.shape);
  const first = appendCode(builder, a.args, a.code, () => undefined);
  const outputs = a.outputs.map((o) => ({ operand: o.operand, value: first[o.value]! }));
  const made = new Map(outputs.map((o) => [operandKey(o.operand), o.value]));
  const second = appendCode(builder, b.args, b.code, (o) => made.get(operandKey(o)));
  return {
    kind: "loop",
    shape: a.shape,
    args: builder.args,
    code: builder.code,
    outputs: [...outputs, ...b.outputs.map((o) => ({ operand: o.operand, value: second[o.value]! }))],
  };
}

/** Removes stores that no later step reads, then code and loads that only they needed. */
function dropDeadStores(steps: DraftStep[], buffers: readonly DraftBuffer[]): void {
  const read = new Set<number>();
  for (let i = steps.length - 1; i >= 0; i--) {
    const { step } = steps[i]!;
    const live = (o: Operand): boolean => buffers[o.buffer]!.role.kind !== "temp" || read.has(o.buffer);
    if (!writtenBy(step).some(live)) {
      steps.splice(i, 1);
      continue;
    }
    if (step.kind === "loop") steps[i] = { ...steps[i]!, step: prune(step, (o) => live(o)) };
    for (const o of readBy(steps[i]!.step)) read.add(o.buffer);
  }
}

function prune(step: LoopStep, keep: (o: Operand) => boolean): LoopStep {
  const outputs = step.outputs.filter((o) => keep(o.operand));
  if (outputs.length === step.outputs.length) return step;
  const needed = new Set<number>();
  const visit = (i: number): void => {
    if (needed.has(i)) return;
    needed.add(i);
    const c = step.code[i]!;
    if ("a" in c) visit(c.a);
    if ("b" in c) visit(c.b);
    if ("c" in c) visit(c.c);
  };
  outputs.forEach((o) => visit(o.value));
  const builder = new LoopBuilder(step.shape);
  const at = new Map<number, number>();
  step.code.forEach((c, i) => {
    if (!needed.has(i)) return;
    const moved = { ...c } as { a?: number; b?: number; c?: number };
    for (const k of ["a", "b", "c"] as const) if (moved[k] !== undefined) moved[k] = at.get(moved[k])!;
    at.set(i, c.op === "load" ? builder.load(step.args[c.arg]!) : builder.emit(moved as typeof c));
  });
  return {
    ...step,
    args: builder.args,
    code: builder.code,
    outputs: outputs.map((o) => ({ operand: o.operand, value: at.get(o.value)! })),
  };
}
