// Loop and reduce steps.

import type { LoopStep, ReduceStep } from "../device.ts";
import { sizeOf } from "../shape.ts";
import { reductionFor, roundFor } from "./arithmetic.ts";
import { BLOCK, prepareCode, type Storage } from "./code.ts";

/** A step made ready: views collapsed, functions chosen. */
export type PreparedStep = (storage: Storage) => void;

/** @param block positions at a time; a loop that writes over what it reads gives the same for any. */
export function prepareLoop(step: LoopStep, block: number = BLOCK): PreparedStep {
  const outputs = step.outputs.map((o) => o.operand);
  const code = prepareCode(step.shape, step.args, step.code, outputs);
  return (storage) => {
    for (let start = 0; start < code.size; start += block) {
      const count = Math.min(block, code.size - start);
      const values = code.evaluate(storage, start, count);
      step.outputs.forEach((o, i) => code.store(storage, i, start, count, values[o.value]!));
    }
  };
}

/**
 * Reduced axes are walked innermost, so that each result is one run of positions, summed in row-major order of the
 * reduced axes in float64.
 */
export function prepareReduce(step: ReduceStep): PreparedStep {
  const kept = step.shape.map((_, axis) => axis).filter((axis) => !step.axes.includes(axis));
  const order = [...kept, ...step.axes];
  const place = <T>(list: readonly T[]): T[] => order.map((axis) => list[axis]!);
  const args = step.args.map((a) => ({
    ...a,
    view: { ...a.view, shape: place(a.view.shape), strides: place(a.view.strides) },
  }));
  const instructions = step.code.map((c) => (c.op === "iota" ? { ...c, axis: order.indexOf(c.axis) } : c));
  const code = prepareCode(place(step.shape), args, instructions, []);
  const { dtype } = step.output;
  const { combine, empty } = reductionFor(step.fn, dtype);
  const round = roundFor(dtype);
  const results = sizeOf(kept.map((axis) => step.shape[axis]!));
  const run = sizeOf(step.axes.map((axis) => step.shape[axis]!));
  const out = prepareCode(step.output.view.shape, [], [], [step.output]);
  const last = step.code.length - 1;
  const isSum =
    step.fn === "sum" && (dtype === "f64" || dtype === "f32" || dtype === "f16" || dtype === "bf16");

  return (storage) => {
    const reduced = new Float64Array(results);
    if (run === 0) reduced.fill(round(empty));
    let result = 0;
    let seen = 0;
    let total = empty;
    for (let start = 0; start < code.size; start += BLOCK) {
      const count = Math.min(BLOCK, code.size - start);
      const values = code.evaluate(storage, start, count)[last]!;
      for (let k = 0; k < count;) {
        const stop = Math.min(count, k + run - seen);
        seen += stop - k;
        if (isSum) for (; k < stop; k++) total += values[k]!;
        else for (; k < stop; k++) total = combine(total, values[k]!);
        if (seen === run) {
          reduced[result++] = total;
          seen = 0;
          total = empty;
        }
      }
    }
    for (let start = 0; start < results; start += BLOCK) {
      out.store(storage, 0, start, Math.min(BLOCK, results - start), reduced.subarray(start));
    }
  };
}
