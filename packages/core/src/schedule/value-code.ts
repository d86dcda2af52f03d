// Writes values: as instructions of a loop that reads them, or as loops that give them a buffer. Shape changes become
// views of what is stored, and copies only where no view exists.

import type { Operand, View } from "../device.ts";
import type { DType } from "../dtype.ts";
import { EverlongError } from "../errors.ts";
import { isElementwise, isMovement, type Operation } from "../primitives.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { contiguousView, isContiguous, moveView } from "../view.ts";
import type { Draft } from "./draft.ts";
import { type Fusion, MAX_ARGS, MAX_CODE } from "./fusion.ts";
import { LoopBuilder } from "./loop-builder.ts";

type Moves = readonly Operation[];

export class ValueCode {
  readonly #draft: Draft;
  readonly #fusion: Fusion;

  constructor(draft: Draft, fusion: Fusion) {
    this.#draft = draft;
    this.#fusion = fusion;
  }

  /** Gives an elementwise value or a view a buffer, unless it has one. */
  store(t: Tensor): void {
    if (this.#draft.has(t)) return;
    const builder = new LoopBuilder(t.shape);
    const value = this.#emit(t, [], builder, true);
    this.#draft.loop(builder, value, this.#draft.place(t));
  }

  /** Writes a value into a window of a buffer. */
  copyInto(t: Tensor, buffer: number, view: View): void {
    if (sizeOf(view.shape) === 0) return;
    const builder = new LoopBuilder(view.shape);
    const value = this.value(t, builder);
    this.#draft.loop(builder, value, { buffer, dtype: t.dtype, view });
  }

  /** A value as a strided operand: views of stored values as they are, anything else stored first. */
  operand(t: Tensor): Operand {
    const moves: Operation[] = [];
    let at = t;
    for (;;) {
      const home = this.#draft.home(at);
      if (home !== undefined) {
        const view = applyMoves(contiguousView(at.shape), moves);
        return view ? { buffer: home, dtype: t.dtype, view } : this.#stored(t);
      }
      const { operation, inputs } = at.node;
      if (isMovement(operation.name)) moves.unshift(operation);
      else if (operation.name !== "barrier") {
        // Storing the source keeps the view; storing the view would copy it.
        if (!isElementwise(operation.name) || sizeOf(at.shape) > sizeOf(t.shape)) return this.#stored(t);
        this.store(at);
        continue;
      }
      at = inputs[0]!;
    }
  }

  contiguous(t: Tensor): Operand {
    const operand = this.operand(t);
    return isContiguous(operand.view) ? operand : this.#stored(t);
  }

  /** Emits the code of a value into a loop of its shape. Returns its instruction. */
  value(t: Tensor, builder: LoopBuilder): number {
    return this.#emit(t, [], builder, false);
  }

  #stored(t: Tensor): Operand {
    this.store(t);
    return { buffer: this.#draft.home(t)!, dtype: t.dtype, view: contiguousView(t.shape) };
  }

  /**
   * Emits a value seen through `moves` (applied first to last).
   * @param own the loop exists to store this value, so it must not be stored elsewhere first.
   */
  #emit(t: Tensor, moves: Moves, builder: LoopBuilder, own: boolean): number {
    const { operation, inputs } = t.node;
    if (operation.name === "full" && !t.node.buffer(t.index)) {
      return builder.constant(operation.params.value, t.dtype);
    }
    const home = this.#draft.home(t);
    if (home !== undefined && !own) return this.#load(home, contiguousView(t.shape), t.dtype, moves, builder);
    if (isMovement(operation.name)) {
      const [x] = inputs as [Tensor];
      const grows = operation.name === "expand" && sizeOf(t.shape) > sizeOf(x.shape);
      if (grows && !this.#fusion.isLight(x)) this.#storeBehind(x);
      return this.#emit(x, [operation, ...moves], builder, false);
    }
    switch (operation.name) {
      case "barrier":
        return this.#emit(inputs[0]!, moves, builder, false);
      case "iota": {
        const { axis, shape } = operation.params;
        const unit: View = { shape, strides: shape.map((_, i) => (i === axis ? 1 : 0)), offset: 0 };
        const view = applyMoves(unit, moves);
        return view ? builder.index(view, t.dtype) : this.#emitStored(t, moves, builder);
      }
      default:
    }
    if (!isElementwise(operation.name)) {
      // Kernels earlier in the order always have a home; only a copy of a copy ends here.
      throw new EverlongError("internal", `no value for ${operation.name}`);
    }
    // A reshape between the loop and the arithmetic may not be a view of every operand; then the arithmetic is stored.
    const movesFit = applyMoves(contiguousView(t.shape), moves) !== undefined;
    const fits = builder.code.length < MAX_CODE && builder.args.length < MAX_ARGS && movesFit;
    if (!own && !fits) return this.#emitStored(t, moves, builder);
    const values = inputs.map((x) => this.#emit(x, moves, builder, false));
    return arithmetic(t, values, builder);
  }

  #emitStored(t: Tensor, moves: Moves, builder: LoopBuilder): number {
    this.store(t);
    return this.#emit(t, moves, builder, false);
  }

  /** Loads a buffer through moves, with a copy before each move that no view can express. */
  #load(buffer: number, view: View, dtype: DType, moves: Moves, builder: LoopBuilder): number {
    let at = view;
    for (const [i, move] of moves.entries()) {
      const next = moveView(at, move);
      if (!next) {
        const copy = this.#draft.copy(buffer, dtype, at);
        return this.#load(copy, contiguousView(at.shape), dtype, moves.slice(i), builder);
      }
      at = next;
    }
    return builder.load({ buffer, dtype, view: at });
  }

  /** Stores what stands behind a light chain of views. */
  #storeBehind(t: Tensor): void {
    let at = t;
    while (
      !this.#draft.has(at) &&
      (isMovement(at.node.operation.name) || at.node.operation.name === "barrier")
    ) {
      at = at.node.inputs[0]!;
    }
    if (isElementwise(at.node.operation.name)) this.store(at);
  }
}

function arithmetic(t: Tensor, values: readonly number[], builder: LoopBuilder): number {
  const { operation, inputs } = t.node;
  const [a, b, c] = values;
  const { dtype } = t;
  switch (operation.name) {
    case "unary":
      return builder.emit({ op: "unary", dtype, fn: operation.params.fn, a: a! });
    case "binary":
      return builder.emit({ op: "binary", dtype, fn: operation.params.fn, a: a!, b: b! });
    case "compare": {
      const of = inputs[0]!.dtype;
      return builder.emit({ op: "compare", dtype: "bool", of, fn: operation.params.fn, a: a!, b: b! });
    }
    case "select":
      return builder.emit({ op: "select", dtype, a: a!, b: b!, c: c! });
    case "cast":
      return builder.emit({ op: "cast", dtype, from: inputs[0]!.dtype, a: a! });
    default:
      throw new EverlongError("internal", `no code for ${operation.name}`);
  }
}

function applyMoves(view: View, moves: Moves): View | undefined {
  let at: View | undefined = view;
  for (const move of moves) {
    at = moveView(at, move);
    if (!at) return undefined;
  }
  return at;
}
