// From a graph to a program: decides which values get a buffer, fuses elementwise chains into the loops and reductions
// that read them, and turns shape changes into views.

import type { KernelPrimitive, Operand, Program, Step, View } from "../device.ts";
import type { DType, TypedArray } from "../dtype.ts";
import { EverlongError, invariant } from "../errors.ts";
import { isRealised, type Node } from "../graph.ts";
import { isElementwise, isMovement, type Operation } from "../primitives.ts";
import { bytesOf } from "../rules/shape.ts";
import { debugFlag } from "../settings.ts";
import { sizeOf } from "../shape.ts";
import { Tensor } from "../tensor.ts";
import { contiguousView, isContiguous, moveView } from "../view.ts";
import { LoopBuilder } from "./loop-builder.ts";
import { mergeLoops } from "./merge.ts";
import { planMemory } from "./memory.ts";
import { analyse, expandNodes, keyOf, type Analysis } from "./values.ts";

/** More instructions or buffers than this in one loop spill registers; the value gets a buffer instead. */
const MAX_CODE = 64;
const MAX_ARGS = 12;
const CHEAP_BINARY = new Set(["add", "sub", "mul", "and", "or", "max", "min"]);

/** A buffer while scheduling; temporaries get their offset from the memory plan. */
export interface DraftBuffer {
  readonly bytes: number;
  readonly dtype: DType;
  role:
    | { kind: "input"; index: number }
    | { kind: "output"; index: number }
    | { kind: "temp" }
    | { kind: "constant"; data: TypedArray };
}

export interface DraftStep {
  step: Step;
  readonly epoch: number;
  readonly site: string | undefined;
}

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
  readonly #buffers: DraftBuffer[] = [];
  readonly #steps: DraftStep[] = [];
  /** Buffer of each value that has one. */
  readonly #home = new Map<string, number>();
  readonly #roots = new Set<string>();
  readonly #weight = new Map<string, number>();
  #current: Node | undefined;

  constructor(inputs: readonly Tensor[], outputs: readonly Tensor[]) {
    const inputKeys = new Set(inputs.map(keyOf));
    const isInput = (t: Tensor): boolean => inputKeys.has(keyOf(t));
    this.#inputs = inputs;
    this.#outputs = expandNodes(outputs, (t) => isInput(t) || isRealised(t));
    this.#analysis = analyse(this.#outputs, isInput);
    for (const t of inputs) {
      const { length: index } = this.#buffers;
      this.#home.set(keyOf(t), index);
      this.#buffers.push({ bytes: bytesOf(t), dtype: t.dtype, role: { kind: "input", index } });
    }
  }

  run(options: ScheduleOptions): Program {
    for (const t of this.#outputs) this.#roots.add(keyOf(this.#source(t)));
    for (const node of this.#analysis.order) {
      this.#current = node;
      this.#visit(node);
    }
    this.#outputs.forEach((t, index) => this.#bindOutput(t, index));
    if (!debugFlag("nan")) mergeLoops(this.#steps, this.#buffers);
    const { buffers, arenaBytes, donated } = planMemory(
      this.#steps,
      this.#buffers,
      this.#outputs.length,
      options.donate ?? [],
    );
    return {
      buffers,
      arenaBytes,
      donated,
      steps: this.#steps.map((s) => s.step),
      sites: this.#steps.map((s) => s.site),
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
        !this.#home.has(keyOf(at)) && at.node.inputs.length > 0 && (name === "reshape" || name === "barrier");
      if (!through) return at;
      at = at.node.inputs[0]!;
    }
  }

  #emit(step: Step): void {
    this.#steps.push({
      step,
      epoch: this.#analysis.epoch.get(this.#current!) ?? 0,
      site: this.#current!.site,
    });
  }

  #newBuffer(t: { readonly shape: readonly number[]; readonly dtype: DType }): number {
    return this.#buffers.push({ bytes: bytesOf(t), dtype: t.dtype, role: { kind: "temp" } }) - 1;
  }

  /** Decides a node's fate in topological order; inlined ones are emitted by their readers. */
  #visit(node: Node): void {
    const { operation } = node;
    const { name } = operation;
    if (name === "data") {
      if (node.outputs.every((_, i) => this.#home.has(`${node.id}.${i}`))) return;
      throw new EverlongError("realize", "a value is not available", {
        got: operation.name === "data" ? operation.params.label : name,
        hint: "The tensor was freed or donated, or it is an argument of a traced function used outside of it.",
      });
    }
    if (isElementwise(name) || isMovement(name) || name === "barrier")
      this.#weight.set(`${node.id}.0`, this.#weigh(node));
    if (isMovement(name) || name === "barrier") return;
    const t = new Tensor(node, 0);
    if (isElementwise(name)) {
      if (this.#mustStore(node)) this.#storeLoop(t);
    } else if (name === "reduce") {
      this.#storeReduce(t);
    } else if (name === "pad") {
      this.#storePad(t);
    } else if (name === "concat") {
      this.#storeConcat(t);
    } else if (name === "constant" && operation.name === "constant") {
      const { data } = operation.params;
      const buffer =
        this.#buffers.push({ bytes: bytesOf(t), dtype: t.dtype, role: { kind: "constant", data } }) - 1;
      this.#home.set(keyOf(t), buffer);
    } else {
      this.#storeKernel(node);
    }
  }

  /** An elementwise value gets its own buffer when several steps read it, or when it is an output. */
  #mustStore(node: Node): boolean {
    const key = `${node.id}.0`;
    if (this.#roots.has(key)) return true;
    if (node.operation.name === "full" || node.operation.name === "iota") return false;
    // Looking for the first NaN, every operation is a step of its own, so that its line can be named.
    if (debugFlag("nan")) return true;
    // Long chains are cut here, in order, so that emitting never recurses deep.
    if ((this.#weight.get(key) ?? 0) > MAX_CODE) return true;
    return (this.#analysis.uses.get(key) ?? 0) > 1 && !this.#isCheap(new Tensor(node, 0));
  }

  /** Light arithmetic on indices and constants (masks) is repeated rather than stored. */
  #isCheap(t: Tensor): boolean {
    const { operation, inputs } = t.node;
    if (this.#home.has(keyOf(t)) || (this.#weight.get(keyOf(t)) ?? 0) > 8) return false;
    const { name } = operation;
    if (name === "full" || name === "iota") return true;
    const light =
      isMovement(name) ||
      name === "barrier" ||
      name === "cast" ||
      name === "compare" ||
      name === "select" ||
      (operation.name === "binary" && CHEAP_BINARY.has(operation.params.fn));
    return light && inputs.every((i) => this.#isCheap(i));
  }

  /** Instructions that inlining a value would add to a loop. */
  #weigh(node: Node): number {
    let sum = isElementwise(node.operation.name) ? 1 : 0;
    for (const t of node.inputs) if (!this.#home.has(keyOf(t))) sum += this.#weight.get(keyOf(t)) ?? 0;
    return sum;
  }

  #storeLoop(t: Tensor): void {
    if (this.#home.has(keyOf(t))) return;
    const builder = new LoopBuilder(t.shape);
    const value = this.#value(t, [], builder, true);
    const buffer = this.#newBuffer(t);
    this.#home.set(keyOf(t), buffer);
    const operand: Operand = { buffer, dtype: t.dtype, view: contiguousView(t.shape) };
    this.#emit({
      kind: "loop",
      shape: t.shape,
      args: builder.args,
      code: builder.code,
      outputs: [{ operand, value }],
    });
  }

  #storeReduce(t: Tensor): void {
    const { operation } = t.node;
    invariant(operation.name === "reduce", "reduce expected");
    const { fn, axes } = operation.params;
    const x = t.node.inputs[0]!;
    const builder = new LoopBuilder(x.shape);
    const value = this.#value(x, [], builder);
    // The reduced value is the last instruction by contract.
    if (value !== builder.code.length - 1) builder.code.push(copyOf(builder, value, x.dtype));
    const buffer = this.#newBuffer(t);
    this.#home.set(keyOf(t), buffer);
    this.#emit({
      kind: "reduce",
      shape: x.shape,
      axes,
      fn,
      args: builder.args,
      code: builder.code,
      output: { buffer, dtype: t.dtype, view: contiguousView(t.shape) },
    });
  }

  /** Writes a value into a window of a buffer. */
  #copyInto(source: Tensor, buffer: number, view: View): void {
    if (sizeOf(view.shape) === 0) return;
    const builder = new LoopBuilder(view.shape);
    const value = this.#value(source, [], builder);
    const operand: Operand = { buffer, dtype: source.dtype, view };
    this.#emit({
      kind: "loop",
      shape: view.shape,
      args: builder.args,
      code: builder.code,
      outputs: [{ operand, value }],
    });
  }

  #fill(buffer: number, dtype: DType, view: View, value: number): void {
    if (sizeOf(view.shape) === 0) return;
    const operand: Operand = { buffer, dtype, view };
    this.#emit({
      kind: "loop",
      shape: view.shape,
      args: [],
      code: [{ op: "const", dtype, value }],
      outputs: [{ operand, value: 0 }],
    });
  }

  #storePad(t: Tensor): void {
    const { operation } = t.node;
    invariant(operation.name === "pad", "pad expected");
    const { before, value } = operation.params;
    const x = t.node.inputs[0]!;
    const buffer = this.#newBuffer(t);
    const whole = contiguousView(t.shape);
    // Slabs in front of and behind the interior, one axis after the other, so that nothing is written twice.
    const low = t.shape.map(() => 0);
    const high = [...t.shape];
    t.shape.forEach((n, axis) => {
      const [from, to] = [before[axis]!, before[axis]! + x.shape[axis]!];
      for (const [a, b] of [
        [0, from],
        [to, n],
      ] as const) {
        const sizes = high.map((h, i) => (i === axis ? b - a : h - low[i]!));
        this.#fill(
          buffer,
          t.dtype,
          window(
            whole,
            low.map((l, i) => (i === axis ? a : l)),
            sizes,
          ),
          value,
        );
      }
      low[axis] = from;
      high[axis] = to;
    });
    this.#copyInto(x, buffer, window(whole, before, x.shape));
    this.#home.set(keyOf(t), buffer);
  }

  #storeConcat(t: Tensor): void {
    const { operation } = t.node;
    invariant(operation.name === "concat", "concat expected");
    const { axis } = operation.params;
    const buffer = this.#newBuffer(t);
    let at = 0;
    for (const part of t.node.inputs) {
      const starts = t.shape.map((_, i) => (i === axis ? at : 0));
      this.#copyInto(part, buffer, window(contiguousView(t.shape), starts, part.shape));
      at += part.shape[axis]!;
    }
    this.#home.set(keyOf(t), buffer);
  }

  #storeKernel(node: Node): void {
    const { operation } = node;
    if (operation.name === "scan") {
      this.#storeScan(node);
      return;
    }
    const inputs = node.inputs.map((t) => this.#operand(t));
    const outputs = node.outputs.map((type, i) => {
      const buffer = this.#newBuffer(type);
      this.#home.set(`${node.id}.${i}`, buffer);
      return { buffer, dtype: type.dtype, view: contiguousView(type.shape) };
    });
    if (operation.name === "fused") {
      this.#emit({
        kind: "fused",
        def: operation.params.def,
        params: operation.params.params,
        inputs,
        outputs,
      });
      return;
    }
    const primitive = { name: operation.name as KernelPrimitive, params: operation.params } as never;
    this.#emit({ kind: "primitive", primitive, inputs, outputs });
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
    const inputs = node.inputs.map((t) => this.#contiguous(t));
    const outputs = indices.map((i) => {
      const type = node.outputs[i]!;
      const buffer = this.#newBuffer(type);
      this.#home.set(`${node.id}.${i}`, buffer);
      return { buffer, dtype: type.dtype, view: contiguousView(type.shape) };
    });
    this.#emit({ kind: "scan", body: program, length, carries, sequences, reverse, inputs, outputs });
  }

  /** A value as a strided operand: views of stored values as they are, anything else stored first. */
  #operand(t: Tensor): Operand {
    const moves: Operation[] = [];
    let at = t;
    for (;;) {
      const home = this.#home.get(keyOf(at));
      if (home !== undefined) {
        const view = applyMoves(contiguousView(at.shape), moves);
        if (view) return { buffer: home, dtype: t.dtype, view };
        return this.#stored(t);
      }
      const { operation, inputs } = at.node;
      if (isMovement(operation.name)) moves.unshift(operation);
      else if (operation.name !== "barrier") {
        // Storing the source keeps the view; storing the view would copy it.
        if (!isElementwise(operation.name) || sizeOf(at.shape) > sizeOf(t.shape)) return this.#stored(t);
        this.#storeLoop(at);
        continue;
      }
      at = inputs[0]!;
    }
  }

  #contiguous(t: Tensor): Operand {
    const operand = this.#operand(t);
    return isContiguous(operand.view) ? operand : this.#stored(t);
  }

  /** A fresh contiguous copy of a value. */
  #stored(t: Tensor): Operand {
    if (!this.#home.has(keyOf(t))) this.#storeLoop(t);
    const known = this.#home.get(keyOf(t))!;
    return { buffer: known, dtype: t.dtype, view: contiguousView(t.shape) };
  }

  /**
   * Emits the code of a value into a loop, seen through `moves` (applied first to last). Returns its instruction.
   * @param own the loop exists to store this value, so it must not be stored elsewhere first.
   */
  #value(t: Tensor, moves: readonly Operation[], builder: LoopBuilder, own = false): number {
    const home = this.#home.get(keyOf(t));
    if (t.node.operation.name === "full" && !t.node.buffer(t.index)) {
      return builder.constant(t.node.operation.params.value, t.dtype);
    }
    if (home !== undefined && !own) {
      const view = applyMoves(contiguousView(t.shape), moves);
      if (view) return builder.load({ buffer: home, dtype: t.dtype, view });
      return this.#viaCopy(t, moves, builder);
    }
    const { operation, inputs } = t.node;
    if (isMovement(operation.name)) {
      const [x] = inputs as [Tensor];
      const grows = operation.name === "expand" && sizeOf(t.shape) > sizeOf(x.shape);
      if (grows && !this.#isLight(x)) this.#store(x);
      return this.#value(x, [operation, ...moves], builder);
    }
    switch (operation.name) {
      case "barrier":
        return this.#value(inputs[0]!, moves, builder);
      case "iota": {
        const { axis, shape } = operation.params;
        const unit: View = { shape, strides: shape.map((_, i) => (i === axis ? 1 : 0)), offset: 0 };
        const view = applyMoves(unit, moves);
        return view ? builder.index(view, t.dtype) : this.#viaCopy(t, moves, builder);
      }
      default:
    }
    if (!isElementwise(operation.name)) {
      // Kernels earlier in the order always have a home; only a copy of a copy ends here.
      throw new EverlongError("internal", `no value for ${operation.name}`);
    }
    // A reshape between the loop and the arithmetic may not be a view of every operand; then the arithmetic is stored.
    const fits =
      own || (builder.code.length < MAX_CODE && builder.args.length < MAX_ARGS && this.#movesFit(t, moves));
    if (!fits) {
      this.#storeLoop(t);
      return this.#value(t, moves, builder);
    }
    const [a, b, c] = inputs.map((x) => this.#value(x, moves, builder));
    switch (operation.name) {
      case "unary":
        return builder.emit({ op: "unary", dtype: t.dtype, fn: operation.params.fn, a: a! });
      case "binary":
        return builder.emit({ op: "binary", dtype: t.dtype, fn: operation.params.fn, a: a!, b: b! });
      case "compare":
        return builder.emit({
          op: "compare",
          dtype: "bool",
          of: inputs[0]!.dtype,
          fn: operation.params.fn,
          a: a!,
          b: b!,
        });
      case "select":
        return builder.emit({ op: "select", dtype: t.dtype, a: a!, b: b!, c: c! });
      case "cast":
        return builder.emit({ op: "cast", dtype: t.dtype, from: inputs[0]!.dtype, a: a! });
      default:
        throw new EverlongError("internal", `no code for ${operation.name}`);
    }
  }

  /** Whether the moves are views of a contiguous array of the value's shape. */
  #movesFit(t: Tensor, moves: readonly Operation[]): boolean {
    return applyMoves(contiguousView(t.shape), moves) !== undefined;
  }

  /** The moves need a copy on the way: stores the value after the longest prefix that is a view. */
  #viaCopy(t: Tensor, moves: readonly Operation[], builder: LoopBuilder): number {
    let view = contiguousView(t.shape);
    let n = 0;
    const unit = t.node.operation.name === "iota" && !this.#home.has(keyOf(t));
    if (unit) {
      this.#storeLoop(t);
      return this.#value(t, moves, builder);
    }
    while (n < moves.length) {
      const next = moveView(view, moves[n]!);
      if (!next) break;
      view = next;
      n++;
    }
    const buffer = this.#newBuffer({ shape: view.shape, dtype: t.dtype });
    const copy = new LoopBuilder(view.shape);
    const value = copy.load({ buffer: this.#home.get(keyOf(t))!, dtype: t.dtype, view });
    const operand: Operand = { buffer, dtype: t.dtype, view: contiguousView(view.shape) };
    this.#emit({
      kind: "loop",
      shape: view.shape,
      args: copy.args,
      code: copy.code,
      outputs: [{ operand, value }],
    });
    let rest: View | undefined = contiguousView(view.shape);
    for (const move of moves.slice(n)) {
      const next = moveView(rest, move);
      if (!next) return this.#copyAgain(buffer, rest, t.dtype, moves.slice(moves.indexOf(move)), builder);
      rest = next;
    }
    return builder.load({ buffer, dtype: t.dtype, view: rest });
  }

  #copyAgain(
    from: number,
    view: View,
    dtype: DType,
    moves: readonly Operation[],
    builder: LoopBuilder,
  ): number {
    const buffer = this.#newBuffer({ shape: view.shape, dtype });
    const copy = new LoopBuilder(view.shape);
    const value = copy.load({ buffer: from, dtype, view });
    const operand: Operand = { buffer, dtype, view: contiguousView(view.shape) };
    this.#emit({
      kind: "loop",
      shape: view.shape,
      args: copy.args,
      code: copy.code,
      outputs: [{ operand, value }],
    });
    let rest: View = contiguousView(view.shape);
    for (const [i, move] of moves.entries()) {
      const next = moveView(rest, move);
      if (!next) return this.#copyAgain(buffer, rest, dtype, moves.slice(i), builder);
      rest = next;
    }
    return builder.load({ buffer, dtype, view: rest });
  }

  /** A value that may be computed once per repetition without loss. */
  #isLight(t: Tensor): boolean {
    if (this.#home.has(keyOf(t))) return true;
    const { name } = t.node.operation;
    if (name === "full" || name === "iota") return true;
    if (isMovement(name) || name === "barrier" || name === "cast") return this.#isLight(t.node.inputs[0]!);
    return false;
  }

  /** Stores what stands behind a light chain of views. */
  #store(t: Tensor): void {
    let at = t;
    while (
      !this.#home.has(keyOf(at)) &&
      (isMovement(at.node.operation.name) || at.node.operation.name === "barrier")
    ) {
      at = at.node.inputs[0]!;
    }
    if (!this.#home.has(keyOf(at)) && isElementwise(at.node.operation.name)) this.#storeLoop(at);
  }

  /** Makes the value the program's output `index`: its own buffer when nothing else claims it, else a copy. */
  #bindOutput(t: Tensor, index: number): void {
    this.#current = t.node;
    const source = this.#source(t);
    const home = this.#home.get(keyOf(source));
    if (
      home !== undefined &&
      this.#buffers[home]!.role.kind === "temp" &&
      sizeOf(source.shape) === sizeOf(t.shape)
    ) {
      this.#buffers[home]!.role = { kind: "output", index };
      return;
    }
    const buffer = this.#newBuffer(t);
    this.#buffers[buffer]!.role = { kind: "output", index };
    this.#copyInto(t, buffer, contiguousView(t.shape));
  }
}

/** A copy instruction: adding nothing keeps the value and makes it the last one. */
function copyOf(builder: LoopBuilder, value: number, dtype: DType): LoopBuilder["code"][number] {
  invariant(value < builder.code.length, "value exists");
  return { op: "cast", dtype, from: dtype, a: value };
}

function applyMoves(view: View, moves: readonly Operation[]): View | undefined {
  let at: View | undefined = view;
  for (const move of moves) {
    at = moveView(at, move);
    if (!at) return undefined;
  }
  return at;
}

function window(view: View, starts: readonly number[], sizes: readonly number[]): View {
  const offset = starts.reduce((sum, s, i) => sum + s * view.strides[i]!, view.offset);
  return { shape: sizes, strides: view.strides, offset };
}
