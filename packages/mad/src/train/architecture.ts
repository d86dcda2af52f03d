// Named stacks of layers.

import type { LayerSpec } from "@everlong/nn";

/** A stack with the name that tables and curves show. */
export interface Architecture {
  readonly name: string;
  /** Registry names (or shorthands) in order, with options where they differ from the defaults. */
  readonly layers: readonly Exclude<LayerSpec, (...args: never[]) => unknown>[];
}

/** Layer names of an architecture, in order. */
export const layerNames = (a: Architecture): string[] =>
  a.layers.map((spec) =>
    typeof spec === "string" ? spec : typeof spec.layer === "string" ? spec.layer : spec.layer.name,
  );
