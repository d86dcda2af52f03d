// From a graph to a program: visits the nodes in order, gives buffers to the values that need one (fusion.ts), writes
// their steps (value-code.ts), joins loops (merge.ts) and plans memory (memory.ts).

import type { KernelPrimitive, Operand, Program, View } from "../device.ts";
import { EverlongError, invariant } from "../errors.ts";
import { isRealised, type Node } from "../graph.ts";
import { isElementwise, isMovement } from "../primitives.ts";
import { debugFlag } from "../settings.ts";
import { sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { contiguousView } from "../view.ts";
import { Draft } from "./draft.ts";
import { Fusion } from "./fusion.ts";
import { LoopBuilder } from "./loop-builder.ts";
import { mergeLoops } from "./merge.ts";
import { planMemory } from "./memory.ts";
import { ValueCode } from "./value-code.ts";
import { analyse, expandNodes, keyOf, type Analysis } from "./values.ts";

export interface ScheduleOptions {
  /** Output i may take the memory of input `donate[i]`. */
  readonly donate?: readonly (number | undefined)[];
}

/** Schedules the computation of `outputs` from `inputs`. */
export function schedule(
  inputs: readonly Tensor[],
  outputs: readonly Tensor[],
  options: ScheduleOptions = {},
): Program {
  return new Scheduler(inputs, outputs).run(options);
}

class Scheduler {
  readonly #inputs: readonly Tensor[];
  readonly #outputs: readonly Tensor[];
  readonly #analysis: Analysis;
  readonly #draft: Draft;
  readonly #fusion: Fusion;
  readonly #code: ValueCode;

  constructor(inputs: readonly Tensor[], outputs: readonly Tensor[]) {
    const inputKeys = new Set(inputs.map(keyOf));
    const isInput = (t: Tensor): boolean => inputKeys.has(keyOf(t));
    this.#inputs = inputs;
    this.#outputs = expandNodes(outputs, (t) => isInput(t) || isRealised(t));
    this.#analysis = analyse(this.#outputs, isInput);
    this.#draft = new Draft(this.#analysis.epoch);
    inputs.forEach((t, index) => this.#draft.place(t, { kind: "input", index }));
    const roots = new Set(this.#outputs.map((t) => keyOf(this.#source(t))));
    this.#fusion = new Fusion(this.#draft, this.#analysis.uses, roots);
    this.#code = new ValueCode(this.#draft, this.#fusion);
  }

  run(options: ScheduleOptions): Program {
    for (const node of this.#analysis.order) {
      this.#draft.current = node;
      this.#visit(node);
    }
    this.#outputs.forEach((t, index) => this.#bindOutput(t, index));
    const { steps, buffers: drafted } = this.#draft;
    if (!debugFlag("nan")) mergeLoops(steps, drafted);
    const { buffers, arenaBytes, donated } = planMemory(
      steps,
      drafted,
      this.#outputs.length,
      options.donate ?? [],
    );
    return {
      buffers,
      arenaBytes,
      donated,
      steps: steps.map((s) => s.step),
      sites: steps.map((s) => s.site),
      inputs: this.#inputs.length,
      outputs: this.#outputs.length,
    };
  }

  /** Steps back through shape changes that keep all elements in order. */
  #source(t: Tensor): Tensor {
    let at = t;
    for (;;) {
      const { name } = at.node.operation;
      const through =
        !this.#draft.has(at) && at.node.inputs.length > 0 && (name === "reshape" || name === "barrier");
      if (!through) return at;
      at = at.node.inputs[0]!;
    }
  }

  /** Decides a node's fate in topological order; inlined ones are emitted by their readers. */
  #visit(node: Node): void {
    const { operation } = node;
    const { name } = operation;
    if (name === "data") {
      if (node.outputs.every((_, i) => this.#draft.has(new Tensor(node, i)))) return;
      throw new EverlongError("realize", "a value is not available", {
        got: operation.name === "data" ? operation.params.label : name,
        hint: "The tensor was freed or donated, or it is an argument of a traced function used outside of it.",
      });
    }
    if (isElementwise(name) || isMovement(name) || name === "barrier") this.#fusion.weigh(node);
    if (isMovement(name) || name === "barrier") return;
    const t = new Tensor(node, 0);
    if (isElementwise(name)) {
      if (this.#fusion.mustStore(node)) this.#code.store(t);
    } else if (name === "reduce") {
      this.#storeReduce(t);
    } else if (name === "pad") {
      this.#storePad(t);
    } else if (name === "concat") {
      this.#storeConcat(t);
    } else if (operation.name === "constant") {
      this.#draft.place(t, { kind: "constant", data: operation.params.data });
    } else if (name === "scan") {
      this.#storeScan(node);
    } else {
      this.#storeKernel(node);
    }
  }

  #storeReduce(t: Tensor): void {
    const { operation } = t.node;
    invariant(operation.name === "reduce", "reduce expected");
    const { fn, axes } = operation.params;
    const x = t.node.inputs[0]!;
    const builder = new LoopBuilder(x.shape);
    const value = this.#code.value(x, builder);
    // The reduced value is the last instruction by contract; a cast to its own type copies it there.
    if (value !== builder.code.length - 1) {
      builder.code.push({ op: "cast", dtype: x.dtype, from: x.dtype, a: value });
    }
    const { shape, args, code } = builder;
    this.#draft.emit({ kind: "reduce", shape, axes, fn, args, code, output: this.#draft.place(t) });
  }

  #fill(operand: Operand, value: number): void {
    const builder = new LoopBuilder(operand.view.shape);
    this.#draft.loop(builder, builder.constant(value, operand.dtype), operand);
  }

  #storePad(t: Tensor): void {
    const { operation } = t.node;
    invariant(operation.name === "pad", "pad expected");
    const { before, value } = operation.params;
    const x = t.node.inputs[0]!;
    const { buffer, dtype, view: whole } = this.#draft.place(t);
    // Slabs in front of and behind the interior, one axis after the other, so that nothing is written twice.
    const low = t.shape.map(() => 0);
    const high = [...t.shape];
    t.shape.forEach((n, axis) => {
      const [from, to] = [before[axis]!, before[axis]! + x.shape[axis]!];
      for (const [a, b] of [
        [0, from],
        [to, n],
      ] as const) {
        const starts = low.with(axis, a);
        const sizes = high.map((h, i) => (i === axis ? b - a : h - low[i]!));
        this.#fill({ buffer, dtype, view: window(whole, starts, sizes) }, value);
      }
      low[axis] = from;
      high[axis] = to;
    });
    this.#code.copyInto(x, buffer, window(whole, before, x.shape));
  }

  #storeConcat(t: Tensor): void {
    const { operation } = t.node;
    invariant(operation.name === "concat", "concat expected");
    const { axis } = operation.params;
    const { buffer, view } = this.#draft.place(t);
    let at = 0;
    for (const part of t.node.inputs) {
      const starts = t.shape.map((_, i) => (i === axis ? at : 0));
      this.#code.copyInto(part, buffer, window(view, starts, part.shape));
      at += part.shape[axis]!;
    }
  }

  #storeKernel(node: Node): void {
    const { operation } = node;
    const inputs = node.inputs.map((t) => this.#code.operand(t));
    const outputs = node.outputs.map((_, i) => this.#draft.place(new Tensor(node, i)));
    if (operation.name === "fused") {
      const { def, params, examples } = operation.params;
      if (!examples) this.#draft.emit({ kind: "fused", def, params, inputs, outputs });
      // Each example reads and writes its part of the buffers.
      for (let s = 0; s < (examples?.size ?? 0); s++) {
        this.#draft.emit({
          kind: "fused",
          def,
          params,
          inputs: inputs.map((o, i) => (examples!.mapped[i] ? exampleOf(o, s) : o)),
          outputs: outputs.map((o) => exampleOf(o, s)),
        });
      }
      return;
    }
    const primitive = { name: operation.name as KernelPrimitive, params: operation.params } as never;
    this.#draft.emit({ kind: "primitive", primitive, inputs, outputs });
  }

  #storeScan(node: Node): void {
    const { operation } = node;
    invariant(operation.name === "scan", "scan expected");
    const { body, length, carries, sequences, reverse } = operation.params;
    const ys = body.results.length - carries;
    const wantedYs = Array.from({ length: ys }, (_, i) => i).filter((i) =>
      this.#analysis.wanted(node, carries + i),
    );
    const wantedSaved = Array.from({ length: carries }, (_, i) => i).filter((i) =>
      this.#analysis.wanted(node, carries + ys + i),
    );
    const results = [
      ...body.results.slice(0, carries),
      ...wantedYs.map((i) => body.results[carries + i]!),
      ...wantedSaved.map((i) => body.params[i]!),
    ];
    const program = schedule([...body.params, ...body.captures], results);
    const indices = [
      ...Array.from({ length: carries }, (_, i) => i),
      ...wantedYs.map((i) => carries + i),
      ...wantedSaved.map((i) => carries + ys + i),
    ];
    const inputs = node.inputs.map((t) => this.#code.contiguous(t));
    const outputs = indices.map((i) => this.#draft.place(new Tensor(node, i)));
    this.#draft.emit({ kind: "scan", body: program, length, carries, sequences, reverse, inputs, outputs });
  }

  /** Makes the value the program's output `index`: its own buffer when nothing else claims it, else a copy. */
  #bindOutput(t: Tensor, index: number): void {
    this.#draft.current = t.node;
    const source = this.#source(t);
    const home = this.#draft.home(source);
    const stored = home === undefined ? undefined : this.#draft.buffers[home]!;
    if (stored?.role.kind === "temp" && sizeOf(source.shape) === sizeOf(t.shape)) {
      stored.role = { kind: "output", index };
      return;
    }
    const buffer = this.#draft.buffer(t, { kind: "output", index });
    this.#code.copyInto(t, buffer, contiguousView(t.shape));
  }
}

/** Part `index` of an operand along its first axis. */
function exampleOf({ buffer, dtype, view: { shape, strides, offset } }: Operand, index: number): Operand {
  const view = {
    shape: shape.slice(1),
    strides: strides.slice(1),
    offset: offset + index * strides[0]!,
  };
  return { buffer, dtype, view };
}

function window(view: View, starts: readonly number[], sizes: readonly number[]): View {
  const offset = starts.reduce((sum, s, i) => sum + s * view.strides[i]!, view.offset);
  return { shape: sizes, strides: view.strides, offset };
}
