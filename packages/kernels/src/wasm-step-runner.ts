// Runs the steps of a WasmSource in one thread of plain Node, for tests and measurements of kernels without a device. Memory is
// poisoned with NaN first, so that reading what was never written shows.

import { ModuleBuilder } from "@everlong/wasm";
import type { ArgWord, WasmLowering, WasmSource, WasmStep, WasmTarget, WasmView } from "./wasm-step.ts";

const PAGE = 65536;
const GUARD = 256;

export interface RunOptions {
  /** Every step is cut into this many pieces of units, run one after the other in reversed order. Default 1. */
  readonly pieces?: number;
}

export interface PreparedRun {
  /** Runs all steps once. */
  readonly run: (options?: RunOptions) => void;
  readonly outputs: readonly Float32Array[];
  readonly lowering: WasmLowering;
  /** Throws if a guard zone around a buffer was written. */
  readonly checkGuards: () => void;
}

/** Compiled modules by kernel key, which names everything a kernel is specialised on. */
const modules = new Map<string, WebAssembly.Module>();

function moduleOf({ kernel }: WasmStep, target: WasmTarget): WebAssembly.Module {
  const key = `${kernel.key} ${target.width} ${target.relaxed}`;
  let compiled = modules.get(key);
  if (!compiled) {
    const builder = new ModuleBuilder(target);
    kernel.build(builder);
    compiled = new WebAssembly.Module(builder.bytes());
    modules.set(key, compiled);
  }
  return compiled;
}

type Entry = (args: number, begin: number, end: number, scratch: number) => void;

/** A view of contiguous data. */
export function contiguous(shape: readonly number[]): WasmView {
  const strides: number[] = [];
  let step = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    strides.unshift(step);
    step *= shape[i]!;
  }
  return { dtype: "f32", shape, strides, offset: 0 };
}

/** Lays out memory for a call, compiles its kernels and gives back what is needed to run it. */
export function prepare<P>(
  source: WasmSource<P>,
  inputs: readonly { readonly view: WasmView; readonly data: Float32Array }[],
  outputShapes: readonly (readonly number[])[],
  params: P,
  target: WasmTarget,
  /** Output i lies over input `inPlace[i]`. */
  inPlace: readonly (number | undefined)[] = [],
): PreparedRun {
  const outputs = outputShapes.map(contiguous);
  const lowering = source.lower({ inputs: inputs.map((i) => i.view), outputs, params }, target);
  if (typeof lowering === "string") throw new Error(`not supported: ${lowering}`);

  let top = PAGE;
  const guards: number[] = [];
  const place = (bytes: number): number => {
    top = Math.ceil(top / 64) * 64;
    guards.push(top);
    top += GUARD;
    const at = top;
    top = Math.ceil((top + bytes) / 4) * 4;
    guards.push(top);
    top += GUARD;
    return at;
  };
  const inputAt = inputs.map((i) => place(i.data.byteLength));
  const outputAt = outputShapes.map((s, i) => {
    const over = inPlace[i];
    return over === undefined ? place(4 * s.reduce((a, b) => a * b, 1)) : inputAt[over]!;
  });
  const tempAt = (lowering.temps ?? []).map(place);
  const scratch = place(Math.max(0, ...lowering.steps.map((s) => s.scratchBytes)));
  const tableAt = new Map<string, number>();
  for (const step of lowering.steps)
    for (const table of step.tables ?? [])
      if (!tableAt.has(table.key)) tableAt.set(table.key, place(table.bytes));
  const argsAt = lowering.steps.map((s) => place(4 * s.args.length));
  const memory = new WebAssembly.Memory({ initial: Math.ceil(top / PAGE) + 1, maximum: 65536, shared: true });
  const view = new DataView(memory.buffer);
  new Float32Array(memory.buffer).fill(NaN);
  inputs.forEach((input, i) =>
    new Float32Array(memory.buffer, inputAt[i], input.data.length).set(input.data),
  );
  for (const step of lowering.steps)
    for (const { key, fill } of step.tables ?? []) fill(view, tableAt.get(key)!);

  const word = (w: ArgWord, step: WasmStep): number => {
    if (typeof w === "number") return w;
    if ("f32" in w) {
      view.setFloat32(0, w.f32, true);
      return view.getInt32(0, true);
    }
    if ("input" in w) return inputAt[w.input]! + (w.byteOffset ?? 0);
    if ("output" in w) return outputAt[w.output]! + (w.byteOffset ?? 0);
    if ("temp" in w) return tempAt[w.temp]! + (w.byteOffset ?? 0);
    return tableAt.get(step.tables![w.table]!.key)!;
  };
  const compiled = new Map<string, Record<string, Entry>>();
  const entries = lowering.steps.map((step, i) => {
    step.args.forEach((w, k) => view.setInt32(argsAt[i]! + 4 * k, word(w, step), true));
    let exported = compiled.get(step.kernel.key);
    if (!exported) {
      const instance = new WebAssembly.Instance(moduleOf(step, target), { env: { memory } });
      exported = instance.exports as Record<string, Entry>;
      compiled.set(step.kernel.key, exported);
    }
    return exported[step.entry]!;
  });

  return {
    lowering,
    outputs: outputShapes.map(
      (s, i) =>
        new Float32Array(
          memory.buffer,
          outputAt[i],
          s.reduce((a, b) => a * b, 1),
        ),
    ),
    run: ({ pieces = 1 } = {}) =>
      lowering.steps.forEach((step, i) => {
        for (let p = pieces - 1; p >= 0; p--) {
          const [begin, end] = [
            Math.floor((step.units * p) / pieces),
            Math.floor((step.units * (p + 1)) / pieces),
          ];
          if (begin < end) entries[i]!(argsAt[i]!, begin, end, scratch);
        }
      }),
    checkGuards: () => {
      for (const at of guards)
        for (let k = 0; k < GUARD; k += 4)
          if (!Number.isNaN(view.getFloat32(at + k, true)))
            throw new Error(`a buffer's guard was written, at ${at + k}`);
    },
  };
}

/** Runs a call with poisoned memory in one piece and in three; both must agree in every bit. Returns copies of the outputs. */
export function runChecked<P>(...call: Parameters<typeof prepare<P>>): Float32Array[] {
  const results = [1, 3].map((pieces) => {
    const prepared = prepare(...call);
    prepared.run({ pieces });
    prepared.checkGuards();
    return prepared.outputs.map((o) => o.slice());
  });
  results[0]!.forEach((first, i) => {
    const second = results[1]![i]!;
    const [x, y] = [new Int32Array(first.buffer), new Int32Array(second.buffer)];
    const different = x.findIndex((bits, k) => bits !== y[k]);
    if (different >= 0)
      throw new Error(
        `output ${i} depends on the split of units: ${first[different]} and ${second[different]}`,
      );
  });
  return results[0]!;
}
