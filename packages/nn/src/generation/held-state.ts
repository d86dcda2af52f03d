// Generation states kept in variables, so that a compiled step updates them in place.

import { Tensor, Variable } from "@everlong/core";

/** A state of layers or models. */
export type StateTree = Tensor | readonly StateTree[] | { readonly [name: string]: StateTree };

export interface HeldState {
  /** The state now; inside a compiled function an implicit input. */
  read(): StateTree;
  /** Sets the next state, of the same names and shapes; inside a compiled function the old buffers are donated. */
  write(next: StateTree): void;
  /** Frees it. */
  dispose(): void;
}

/**
 * Moves a state into variables. A compiled step that takes and returns a state copies all of it; one that reads and writes a
 * held state touches only what changes.
 *
 * @example
 * const held = holdState(layer.prefill(prompt, { capacity }).state);
 * const step = compile((x: Tensor) => {
 *   const { y, state } = layer.step(x, held.read() as MixerState);
 *   held.write(state);
 *   return y;
 * });
 */
export function holdState(tree: StateTree): HeldState {
  if (tree instanceof Tensor) {
    const variable = new Variable(tree, { name: "state", trainable: false });
    return {
      read: () => variable.value,
      write: (next) => void (variable.value = next as Tensor),
      dispose: () => variable.current[Symbol.dispose](),
    };
  }
  const parts = Object.entries(tree).map(([name, part]) => [name, holdState(part)] as const);
  const list = Array.isArray(tree);
  return {
    read: () =>
      list ? parts.map(([, p]) => p.read()) : Object.fromEntries(parts.map(([name, p]) => [name, p.read()])),
    write: (next) => {
      for (const [name, p] of parts) p.write((next as { readonly [name: string]: StateTree })[name]!);
    },
    dispose: () => {
      for (const [, p] of parts) p.dispose();
    },
  };
}
