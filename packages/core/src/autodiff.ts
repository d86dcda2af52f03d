// Reverse-mode differentiation: walks the recorded graph backwards and records the gradient.

import { isFloat } from "./dtype.ts";
import { DTypeError, ShapeError } from "./errors.ts";
import { placeholder, substitute, topologicalOrder, isRealised, type Node } from "./graph.ts";
import type { Primitive, PrimitiveParams } from "./primitives.ts";
import { vjpRules } from "./rules/vjp.ts";
import type { VjpArgs } from "./rules/vjp-rule.ts";
import { show } from "./shape.ts";
import { Tensor } from "./tensor.ts";
import { flattenTree, unflattenTree, type Tree } from "./tree.ts";
import { add } from "./ops/elementwise.ts";
import { onesLike, zeros, zerosLike } from "./ops/creation.ts";
import { concat } from "./ops/movement.ts";

const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;

/** A zero-padded piece of a larger gradient: what slicing along one axis gives back. */
interface Piece {
  readonly axis: number;
  readonly from: number;
  readonly to: number;
  readonly inner: Tensor;
}

function asPiece(t: Tensor): Piece | undefined {
  const { operation, inputs } = t.node;
  if (operation.name !== "pad" || inputs.length !== 1 || operation.params.value !== 0) return undefined;
  const { before, after } = operation.params;
  const axes = before.map((_, i) => i).filter((i) => before[i]! + after[i]! > 0);
  if (axes.length !== 1) return undefined;
  const [axis] = axes as [number];
  return { axis, from: before[axis]!, to: t.shape[axis]! - after[axis]!, inner: inputs[0]! };
}

/** The sum of contributions. Disjoint slices of one axis (the parts of a split) are joined instead of padded and added. */
function addAll(list: readonly Tensor[]): Tensor {
  const pieces = list.map(asPiece);
  const axis = pieces.find((p, i) => p && pieces.some((q, k) => k !== i && q?.axis === p.axis))?.axis;
  if (axis === undefined) return list.reduce((a, b) => add(a, b));
  const ordered = pieces.filter((p) => p?.axis === axis).sort((p, q) => p!.from - q!.from) as Piece[];
  if (ordered.some((p, i) => i > 0 && p.from < ordered[i - 1]!.to)) return list.reduce((a, b) => add(a, b));
  const { shape, dtype, device } = list[0]!;
  const parts: Tensor[] = [];
  let at = 0;
  const gap = (to: number): void => {
    if (to > at)
      parts.push(
        zeros(
          shape.map((n, i) => (i === axis ? to - at : n)),
          { dtype, device },
        ),
      );
  };
  for (const p of ordered) {
    gap(p.from);
    parts.push(p.inner);
    at = p.to;
  }
  gap(shape[axis]!);
  const rest = list.filter((_, i) => pieces[i]?.axis !== axis);
  return [concat(parts, axis), ...rest].reduce((a, b) => add(a, b));
}

/** Cotangents of `wrt` given cotangents of `outputs`; undefined where nothing flows. */
function backward(
  outputs: readonly Tensor[],
  wrt: readonly Tensor[],
  seeds: readonly (Tensor | undefined)[],
): (Tensor | undefined)[] {
  const targets = new Set(wrt.map(keyOf));
  const parts = new Map<string, Tensor[]>();
  const accumulate = (t: Tensor, g: Tensor): void => {
    const list = parts.get(keyOf(t));
    if (list) list.push(g);
    else parts.set(keyOf(t), [g]);
  };
  const cotangentOf = (key: string): Tensor | undefined => {
    const list = parts.get(key);
    if (!list) return undefined;
    const total = addAll(list);
    parts.set(key, [total]);
    return total;
  };
  outputs.forEach((t, i) => seeds[i] && accumulate(t, seeds[i]));

  // Only nodes between the targets and the outputs matter.
  const order = topologicalOrder(outputs, (t) => targets.has(keyOf(t)) || isRealised(t));
  const leads = new Set<Node>();
  const active = (t: Tensor): boolean => targets.has(keyOf(t)) || leads.has(t.node);
  for (const node of order) if (node.inputs.some(active)) leads.add(node);

  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i]!;
    if (!leads.has(node)) continue;
    const given = node.outputs.map((_, k) => cotangentOf(`${node.id}.${k}`));
    if (given.every((g) => g === undefined)) continue;
    const needed = node.inputs.map((t) => active(t) && isFloat(t.dtype));
    if (!needed.some(Boolean)) continue;
    const rule = vjpRules[node.operation.name] as (args: VjpArgs<Primitive>) => (Tensor | undefined)[];
    const found = rule({
      inputs: node.inputs,
      outputs: node.outputs.map((_, k) => new Tensor(node, k)),
      params: node.operation.params as PrimitiveParams[Primitive],
      cotangents: given,
      needed,
      gradients: backward,
    });
    node.inputs.forEach((t, k) => {
      const g = found[k];
      if (g && needed[k]) accumulate(t, g);
    });
  }
  return wrt.map((t) => cotangentOf(keyOf(t)));
}

/**
 * Gradients of a scalar (or of several outputs with given cotangents) with respect to tensors of the recorded graph.
 * A tensor that the outputs do not depend on gets zeros.
 * @param seeds cotangent per output; default 1 for a scalar.
 */
export function gradients(
  outputs: Tensor | readonly Tensor[],
  wrt: readonly Tensor[],
  seeds?: readonly Tensor[],
): Tensor[] {
  const list = outputs instanceof Tensor ? [outputs] : outputs;
  for (const t of list) {
    if (!isFloat(t.dtype)) throw new DTypeError("gradients", "needs a float output", { got: t.dtype });
    if (!seeds && t.size !== 1) {
      throw new ShapeError("gradients", "needs a scalar or cotangents", {
        got: show(t.shape),
        hint: "Reduce the loss with sum() or mean(), or pass seeds.",
      });
    }
  }
  for (const t of wrt) {
    if (!isFloat(t.dtype))
      throw new DTypeError("gradients", "can only differentiate floats", { got: t.dtype });
  }
  const found = backward(list, wrt, seeds ?? list.map(onesLike));
  return wrt.map((t, i) => found[i] ?? zerosLike(t));
}

/**
 * The value of `fn` and its gradient with respect to the first argument (a tensor or a tree of tensors).
 * @example const [loss, g] = valueAndGrad((w: Tensor, x: Tensor) => x.matmul(w).square().mean())(w, x);
 */
export function valueAndGrad<A extends Tree, R extends readonly unknown[]>(
  fn: (x: A, ...rest: R) => Tensor,
): (x: A, ...rest: R) => [Tensor, A] {
  return (x, ...rest) => {
    const { leaves, structure } = flattenTree(x);
    // Fresh handles, so that a compiled or realised inner function is traced instead of run.
    const fresh = leaves.map((t) =>
      placeholder({ shape: t.shape, dtype: t.dtype }, t.device, "argument of grad"),
    );
    const loss = fn(unflattenTree(structure, fresh) as A, ...rest);
    if (!(loss instanceof Tensor) || loss.size !== 1) {
      throw new ShapeError("valueAndGrad", "the function must return a scalar tensor", {
        got: loss instanceof Tensor ? show(loss.shape) : typeof loss,
      });
    }
    const floats = fresh.filter((t) => isFloat(t.dtype));
    const slopes = gradients(loss, floats);
    let at = 0;
    const all = fresh.map((t) => (isFloat(t.dtype) ? slopes[at++]! : zerosLike(t)));
    const replace = new Map(fresh.map((t, i) => [keyOf(t), leaves[i]!]));
    const [value, ...g] = substitute([loss, ...all], replace);
    return [value!, unflattenTree(structure, g) as A];
  };
}

/** The gradient part of {@link valueAndGrad}. */
export function grad<A extends Tree, R extends readonly unknown[]>(
  fn: (x: A, ...rest: R) => Tensor,
): (x: A, ...rest: R) => A {
  const both = valueAndGrad(fn);
  return (x, ...rest) => both(x, ...rest)[1];
}
