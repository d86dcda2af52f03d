// The only mutable thing: a named holder of a tensor (parameter, optimiser state, key, step, learning rate).

import type { DType } from "./dtype.ts";
import { DTypeError, ShapeError } from "./errors.ts";
import { isCheapTree } from "./graph.ts";
import { record1 } from "./record.ts";
import { sameShape, show } from "./shape.ts";
import type { Tensor } from "./tensor.ts";

/** What a running trace wants to know about variables; set by `compile`. */
export interface VariableTracer {
  read(variable: Variable): Tensor;
  write(variable: Variable, value: Tensor): void;
}

/** A fill is repeated inside traced bodies instead of being captured; a variable's value must keep its identity there. */
const ownHandle = (t: Tensor): Tensor => (isCheapTree(t) ? record1("barrier", { gradient: "pass" }, [t]) : t);

/** Whether another variable holds the same tensor. */
export const isShared = (t: Tensor): boolean => t.node.holders > 1;

let tracer: VariableTracer | undefined;

/** Whether a compiled function is being traced right now. */
export const isTracing = (): boolean => tracer !== undefined;

/** Runs `fn` with variable reads and writes going to `next`. */
export function withVariableTracer<R>(next: VariableTracer, fn: () => R): R {
  const before = tracer;
  tracer = next;
  try {
    return fn();
  } finally {
    tracer = before;
  }
}

/**
 * Runs `fn` with some variables standing for given tensors: reads see them, assignments are collected instead of made. With
 * it a model of variables becomes a function of its parameters, as `vmap` needs for sweeps. Other variables stay as they are.
 */
export function withVariables<R>(
  values: ReadonlyMap<Variable, Tensor>,
  fn: () => R,
): { readonly result: R; readonly written: Map<Variable, Tensor> } {
  const outer = tracer;
  const written = new Map<Variable, Tensor>();
  const result = withVariableTracer(
    {
      read(variable) {
        const bound = written.get(variable) ?? values.get(variable);
        if (bound) return bound;
        return outer ? outer.read(variable) : variable.current;
      },
      write(variable, value) {
        if (values.has(variable)) written.set(variable, value);
        else if (outer) outer.write(variable, value);
        else variable.replace(value);
      },
    },
    fn,
  );
  return { result, written };
}

/**
 * A named, mutable holder of a tensor. In a compiled function a read is an implicit input and an assignment an implicit
 * output whose old buffer is donated. The type never changes.
 */
export class Variable {
  readonly name: string;
  /** Whether optimisers update it. Default true for floats. */
  readonly trainable: boolean;
  #tensor: Tensor;

  constructor(value: Tensor, options: { readonly name?: string; readonly trainable?: boolean } = {}) {
    this.#tensor = ownHandle(value);
    this.#tensor.node.holders++;
    this.name = options.name ?? "variable";
    this.trainable = options.trainable ?? true;
  }

  get shape(): readonly number[] {
    return this.#tensor.shape;
  }
  get dtype(): DType {
    return this.#tensor.dtype;
  }

  get value(): Tensor {
    return tracer ? tracer.read(this) : this.#tensor;
  }

  set value(next: Tensor) {
    if (!sameShape(next.shape, this.shape)) {
      throw new ShapeError(this.name, "a variable keeps its shape", {
        expected: show(this.shape),
        got: show(next.shape),
      });
    }
    if (next.dtype !== this.dtype) {
      throw new DTypeError(this.name, "a variable keeps its dtype", {
        expected: this.dtype,
        got: next.dtype,
      });
    }
    if (tracer) tracer.write(this, next);
    else this.replace(next);
  }

  /** The held tensor, also inside a trace. */
  get current(): Tensor {
    return this.#tensor;
  }

  /** Replaces the held tensor outside of any trace; for executors. */
  replace(next: Tensor): void {
    this.#tensor.node.holders--;
    this.#tensor = ownHandle(next);
    this.#tensor.node.holders++;
  }

  toString(): string {
    return `Variable(${this.name}: ${this.dtype}${show(this.shape)})`;
  }
}
