// Gradient control, recomputation and loops over time.

import { ShapeError } from "../errors.ts";
import { trace } from "../graph.ts";
import type { TensorType } from "../op.ts";
import { record, record1 } from "../record.ts";
import { sameShape, show } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { flattenTree, unflattenTree, type Tree } from "../tree.ts";

/** The same value; gradients do not pass. */
export const stopGradient = (x: Tensor): Tensor => record1("barrier", { gradient: "stop" }, [x]);

/** `x`, computed after the `later` tensors exist; keeps recomputation from running early. */
export const after = (x: Tensor, later: readonly Tensor[]): Tensor =>
  record1("barrier", { gradient: "pass" }, [x, ...later]);

const typeOf = (t: Tensor): TensorType => ({ shape: t.shape, dtype: t.dtype });

/**
 * Runs `fn` so that its intermediates are computed again in the backward pass instead of being kept (activation
 * checkpointing, Chen et al. 2016). Values and gradients are the same.
 */
export function recompute<A extends readonly Tree[], R extends Tree>(
  fn: (...args: A) => R,
): (...args: A) => R {
  return (...args) => {
    const { leaves, structure } = flattenTree(args as Tree);
    let resultStructure: unknown;
    const graph = trace(
      (params) => {
        const out = flattenTree(fn(...(unflattenTree(structure, params) as unknown as A)));
        resultStructure = out.structure;
        return out.leaves;
      },
      leaves.map(typeOf),
      leaves[0]!.device,
    );
    const outputs = record("recompute", { body: graph }, [...leaves, ...graph.captures]);
    return unflattenTree(resultStructure as never, outputs) as R;
  };
}

/**
 * A loop over the leading axis: `fn(carry, x_t) -> [carry, y_t]` for each step of `xs` (`[T, ...]` each).
 * Returns the last carry and the stacked outputs. One compiled body whatever the length; differentiable.
 * @param xs tree of tensors with the same leading size, or the number of steps.
 */
export function scan<C extends Tree, X extends Tree, Y extends Tree>(
  fn: (carry: C, x: X) => readonly [C, Y],
  init: C,
  xs: X | number,
  options: { readonly reverse?: boolean } = {},
): [C, Y] {
  const carry = flattenTree(init);
  const sequence = typeof xs === "number" ? { leaves: [] as Tensor[], structure: null } : flattenTree(xs);
  const length = typeof xs === "number" ? xs : sequence.leaves[0]?.shape[0];
  if (length === undefined || sequence.leaves.some((t) => t.shape[0] !== length)) {
    throw new ShapeError("scan", "sequences differ in length", {
      got: sequence.leaves.map((t) => show(t.shape)).join(", "),
    });
  }
  const device = (carry.leaves[0] ?? sequence.leaves[0])!.device;
  let outStructure: unknown;
  const types = [
    ...carry.leaves.map(typeOf),
    ...sequence.leaves.map((t) => ({ shape: t.shape.slice(1), dtype: t.dtype })),
  ];
  const body = trace(
    (params) => {
      const c = unflattenTree(carry.structure, params.slice(0, carry.leaves.length)) as C;
      const x = (
        sequence.structure === null
          ? null
          : unflattenTree(sequence.structure, params.slice(carry.leaves.length))
      ) as X;
      const [next, y] = fn(c, x);
      const nextLeaves = flattenTree(next).leaves;
      const out = flattenTree(y);
      outStructure = out.structure;
      nextLeaves.forEach((t, i) => {
        const was = carry.leaves[i];
        if (
          nextLeaves.length !== carry.leaves.length ||
          !was ||
          !sameShape(t.shape, was.shape) ||
          t.dtype !== was.dtype
        ) {
          throw new ShapeError("scan", "the carry changes its type", {
            expected: was ? `${was.dtype}${show(was.shape)}` : `${carry.leaves.length} tensors`,
            got: `${t.dtype}${show(t.shape)}`,
          });
        }
      });
      return [...nextLeaves, ...out.leaves];
    },
    types,
    device,
  );
  const outputs = record(
    "scan",
    {
      body,
      length,
      carries: carry.leaves.length,
      sequences: sequence.leaves.length,
      reverse: options.reverse ?? false,
    },
    [...carry.leaves, ...sequence.leaves, ...body.captures],
    device,
  );
  return [
    unflattenTree(carry.structure, outputs.slice(0, carry.leaves.length)) as C,
    unflattenTree(outStructure as never, outputs.slice(carry.leaves.length, body.results.length)) as Y,
  ];
}
