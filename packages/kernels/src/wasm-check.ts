// Test of a WebAssembly source against its op's reference: single vectors and pairs, with and without fused multiply-add,
// poisoned memory, guards, and units in one piece and in three.

import { describe, expect, test } from "vitest";
import type { HostArray, Op } from "@everlong/core";
import { SEED, drawInputs, maxError, relativeError, type HostInput, type OpCase } from "@everlong/testing";
import type { WasmSource, WasmTarget, WasmView } from "./wasm-step.ts";
import { contiguous, prepare, runChecked, type PreparedRun } from "./wasm-step-runner.ts";

const TARGETS: readonly WasmTarget[] = [
  { width: 1, relaxed: true },
  { width: 2, relaxed: true },
  { width: 2, relaxed: false },
];

/** The bits of an input as the kernel reads them. */
function bitsOf(input: HostInput): Float32Array {
  if (input.dtype === "float" || input.dtype === "f32") return Float32Array.from(input.values);
  return new Float32Array(Int32Array.from(input.values).buffer);
}

/**
 * Declares one test per case.
 * @param tolerance relative L2 error of every output in float32; single elements may be ten times worse
 */
export function checkWasm<P>(
  op: Op<P>,
  source: WasmSource<P>,
  cases: readonly OpCase<P>[],
  tolerance = 1e-6,
): void {
  describe(`${op.def.name} in WebAssembly`, () => {
    for (const [i, given] of cases.entries()) {
      const host = drawInputs(given.inputs, "f32", SEED + 17 * i);
      const shapes = host.map((h) => `[${h.shape.join(", ")}]`).join(" ");
      test(`${shapes} ${JSON.stringify(given.params)}`, () => {
        const types = host.map((h) => ({
          shape: h.shape,
          dtype: h.dtype === "float" ? ("f64" as const) : h.dtype,
        }));
        const outputs = op.def.shape(types, given.params as never);
        const want: HostArray[] = outputs.map((o) => ({
          shape: o.shape,
          data: new Float64Array(o.shape.reduce((a, b) => a * b, 1)).fill(NaN),
        }));
        const inputs = host.map((h): HostArray => ({ shape: h.shape, data: h.values }));
        op.def.reference(inputs, want, given.params as never);
        const views = host.map((h) => {
          const view = contiguous(h.shape);
          return { view: h.dtype === "float" ? view : { ...view, dtype: h.dtype }, data: bitsOf(h) };
        });
        for (const target of TARGETS) {
          const shapesOut = outputs.map((o) => o.shape);
          const run = (inPlace?: readonly (number | undefined)[]): PreparedRun =>
            prepare(source, views, shapesOut, given.params, target, inPlace);
          const got = runChecked(source, views, shapesOut, given.params, target);
          const state = `width ${target.width}${target.relaxed ? "" : ", no fused multiply-add"}`;
          want.forEach((w, k) => {
            expect(relativeError(got[k]!, w.data), `output ${k}, ${state}`).toBeLessThanOrEqual(tolerance);
            expect(maxError(got[k]!, w.data), `output ${k}, ${state}, worst element`).toBeLessThanOrEqual(
              10 * tolerance,
            );
          });
          if (op.def.inPlace) checkInPlace(op.def.inPlace, run, got);
          checkStrided(source, views, shapesOut, given.params, target, got);
        }
      });
    }
  });
}

/** Outputs that may lie over an input get the same bits when they do. */
function checkInPlace(
  inPlace: readonly (number | undefined)[],
  prepared: (inPlace: readonly (number | undefined)[]) => PreparedRun,
  want: readonly Float32Array[],
): void {
  const { run, outputs } = prepared(inPlace);
  run();
  outputs.forEach((got, k) => {
    const different = got.findIndex((x, i) => !Object.is(x, want[k]![i]));
    expect(different, `output ${k} in place of input ${inPlace[k]}: first element that differs`).toBe(-1);
  });
}

interface Laid {
  readonly view: WasmView;
  readonly data: Float32Array;
}

/** The same numbers with gaps between rows, an offset, and the order of the first two axes exchanged in memory. */
function withGaps({ view, data }: Laid): Laid {
  const { shape } = view;
  if (shape.length < 2) return { view, data };
  const order = shape.map((_, i) => i);
  if (shape.length > 2) [order[0], order[1]] = [1, 0];
  const strides = shape.map(() => 0);
  let step = 1;
  for (const axis of order.toReversed()) {
    strides[axis] = step;
    step *= shape[axis]!;
    if (axis === shape.length - 1) step += 3;
  }
  const offset = 5;
  const spread = new Float32Array(offset + step).fill(NaN);
  data.forEach((x, at) => {
    let rest = at;
    let to = offset;
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      to += (rest % shape[axis]!) * strides[axis]!;
      rest = Math.floor(rest / shape[axis]!);
    }
    spread[to] = x;
  });
  return { view: { ...view, strides, offset }, data: spread };
}

/** Inputs that a source takes as they lie give the same bits wherever they lie. */
function checkStrided<P>(
  source: WasmSource<P>,
  inputs: readonly Laid[],
  outputs: readonly (readonly number[])[],
  params: P,
  target: WasmTarget,
  want: readonly Float32Array[],
): void {
  const call = { inputs: inputs.map((i) => i.view), outputs: outputs.map(contiguous), params };
  const spread = inputs.map((input, i) => {
    const other = withGaps(input);
    return source.accepts?.(i, other.view, call) ? other : input;
  });
  if (spread.every((s, i) => s === inputs[i])) return;
  const got = runChecked(source, spread, outputs, params, target);
  got.forEach((values, k) => {
    const different = values.findIndex((x, i) => !Object.is(x, want[k]![i]));
    expect(different, `output ${k} of inputs with gaps: first element that differs`).toBe(-1);
  });
}
