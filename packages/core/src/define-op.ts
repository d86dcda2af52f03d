// Defining fused ops, and the list of all of them.

import { ConfigError } from "./errors.ts";
import type { Op, OpDef, OpSpec } from "./op.ts";
import { recordFused } from "./record.ts";
import type { Tensor } from "./tensor.ts";

const registered = new Map<string, OpDef>();

/** Registers a fused op and returns the function that records it. Names are unique. */
export function defineOp<P>(spec: OpSpec<P>): Op<P> {
  if (registered.has(spec.name)) throw new ConfigError("defineOp", `"${spec.name}" is defined twice`);
  const def = { ...spec, id: Symbol(spec.name) } as unknown as OpDef;
  registered.set(spec.name, def);
  const op = (inputs: readonly Tensor[], params: P): Tensor[] => recordFused(def, inputs, params);
  return Object.assign(op, { def }) as Op<P>;
}

/** Every op defined so far, for tests and tools that run over all of them. */
export const definedOps = (): OpDef[] => [...registered.values()];
