// vmap: a function of one example becomes a function of many, by rewriting its recorded graph.

import { ConfigError, ShapeError } from "./errors.ts";
import { inline, isRealised, placeholder, topologicalOrder, type Graph } from "./graph.ts";
import type { Primitive, PrimitiveParams } from "./primitives.ts";
import { batchRules, type BatchArgs } from "./rules/batch.ts";
import { normalizeAxis, show } from "./shape.ts";
import { Tensor } from "./tensor.ts";
import { flattenTree, unflattenTree, type Tree } from "./tree.ts";
import { broadcastTo, permute, unsqueeze } from "./ops/movement.ts";

const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;

/** Rewrites `results`, with the tensors of `given` standing for batched values; returns which carry the axis. */
function batchResults(
  results: readonly Tensor[],
  given: ReadonlyMap<string, Tensor>,
  size: number,
): { readonly tensor: Tensor; readonly mapped: boolean }[] {
  const made = new Map<string, Tensor>(given);
  for (const node of topologicalOrder(results, (t) => given.has(keyOf(t)) || isRealised(t))) {
    const mapped = node.inputs.map((t) => made.has(keyOf(t)));
    if (!mapped.some(Boolean)) continue;
    const rule = batchRules[node.operation.name] as (args: BatchArgs<Primitive>) => Tensor[];
    const outputs = rule({
      inputs: node.inputs.map((t) => made.get(keyOf(t)) ?? t),
      mapped,
      size,
      params: node.operation.params as PrimitiveParams[Primitive],
      body: (graph, args, captures, flags) => batchBody(graph, args, captures, flags, size),
    });
    outputs.forEach((t, i) => made.set(`${node.id}.${i}`, t));
  }
  return results.map((t) => ({ tensor: made.get(keyOf(t)) ?? t, mapped: made.has(keyOf(t)) }));
}

/** A traced body on arguments of which some carry the axis; every result carries it. */
function batchBody(
  graph: Graph,
  args: readonly Tensor[],
  captures: readonly Tensor[],
  mapped: readonly boolean[],
  size: number,
): Tensor[] {
  const all = [...args, ...captures];
  // Stand-ins of the per-example type, then the rewrite replaces them.
  const stand = all.map((t, i) =>
    mapped[i] ? placeholder({ shape: t.shape.slice(1), dtype: t.dtype }, t.device, "argument of vmap") : t,
  );
  const results = inline(graph, stand.slice(0, args.length), stand.slice(args.length));
  const given = new Map<string, Tensor>();
  stand.forEach((t, i) => mapped[i] && given.set(keyOf(t), all[i]!));
  return batchResults(results, given, size).map((r) => withAxis(r, size));
}

const withAxis = (r: { readonly tensor: Tensor; readonly mapped: boolean }, size: number): Tensor =>
  r.mapped ? r.tensor : broadcastTo(unsqueeze(r.tensor, 0), [size, ...r.tensor.shape]);

const toFront = (t: Tensor, axis: number): Tensor =>
  axis === 0 ? t : permute(t, [axis, ...t.shape.map((_, i) => i).filter((i) => i !== axis)]);

/**
 * Maps `fn` over an axis of its arguments; results carry the axis in front. Tensors that `fn` closes over are shared.
 * A sweep over S learning rates is one call: `vmap(step)(parameters, rates)`.
 * @param options.inAxes per argument: the axis that is mapped, or null to share it. Default 0 for every argument.
 */
export function vmap<A extends readonly Tree[], R extends Tree>(
  fn: (...args: A) => R,
  options: { readonly inAxes?: readonly (number | null)[] } = {},
): (...args: A) => R {
  return (...args) => {
    if (options.inAxes && options.inAxes.length !== args.length) {
      throw new ConfigError("vmap", "inAxes and arguments differ in number", {
        expected: `${args.length}`,
        got: `${options.inAxes.length}`,
      });
    }
    let size: number | undefined;
    const given = new Map<string, Tensor>();
    const inner = args.map((arg, i) => {
      const axis = options.inAxes ? options.inAxes[i]! : 0;
      if (axis === null) return arg;
      const { leaves, structure } = flattenTree(arg);
      const stand = leaves.map((t) => {
        const front = toFront(t, normalizeAxis("vmap", axis, t.rank));
        size ??= front.shape[0]!;
        if (front.shape[0] !== size) {
          throw new ShapeError("vmap", "mapped axes differ in size", {
            expected: `${size}`,
            got: `${front.shape[0]} in ${show(t.shape)}`,
          });
        }
        const p = placeholder({ shape: front.shape.slice(1), dtype: t.dtype }, t.device, "argument of vmap");
        given.set(keyOf(p), front);
        return p;
      });
      return unflattenTree(structure, stand);
    });
    if (size === undefined)
      throw new ConfigError("vmap", "nothing is mapped", {
        expected: "at least one tensor argument with an axis",
      });
    const { leaves, structure } = flattenTree(fn(...(inner as unknown as A)));
    const outputs = batchResults(leaves, given, size).map((r) => withAxis(r, size!));
    return unflattenTree(structure, outputs) as R;
  };
}
