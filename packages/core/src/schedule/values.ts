// What the scheduler knows of a graph before it emits steps: the nodes in order, how often each value is used, and which
// side of a recompute barrier each node is on.

import { inline, isRealised, substitute, topologicalOrder, type Node } from "../graph.ts";
import { isMovement } from "../primitives.ts";
import { Tensor } from "../tensor.ts";

export const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;

/** Replaces every `recompute` node by its body. */
export function expandRecompute(outputs: readonly Tensor[], stop: (t: Tensor) => boolean): Tensor[] {
  let current = [...outputs];
  for (;;) {
    const node = topologicalOrder(current, stop).find((n) => n.operation.name === "recompute");
    if (!node || node.operation.name !== "recompute") return current;
    const { body } = node.operation.params;
    const n = body.params.length;
    const results = inline(body, node.inputs.slice(0, n), node.inputs.slice(n));
    current = substitute(current, new Map(results.map((t, i) => [`${node.id}.${i}`, t])));
  }
}

export interface Analysis {
  readonly order: readonly Node[];
  /** Number of steps that will read a value, counted through views. */
  readonly uses: ReadonlyMap<string, number>;
  /** Outputs of multi-output nodes that nobody reads are missing here. */
  readonly wanted: (node: Node, index: number) => boolean;
  /** Nodes behind different recompute barriers are never merged into one loop. */
  readonly epoch: ReadonlyMap<Node, number>;
}

export function analyse(outputs: readonly Tensor[], isInput: (t: Tensor) => boolean): Analysis {
  const order = topologicalOrder(outputs, (t) => isInput(t) || isRealised(t));
  const uses = new Map<string, number>();
  const use = (t: Tensor, n: number): void => void uses.set(keyOf(t), (uses.get(keyOf(t)) ?? 0) + n);
  for (const t of outputs) use(t, 1);
  for (let i = order.length - 1; i >= 0; i--) {
    const node = order[i]!;
    const { name } = node.operation;
    if (isMovement(name) || name === "barrier") {
      use(node.inputs[0]!, uses.get(`${node.id}.0`) ?? 0);
      for (const t of node.inputs.slice(1)) use(t, 1);
    } else {
      // One step reads a value once, however often its code names it.
      for (const t of new Map(node.inputs.map((x) => [keyOf(x), x])).values()) use(t, 1);
    }
  }
  const epoch = new Map<Node, number>();
  let next = 1;
  for (const node of order) {
    let e = 0;
    for (const t of node.inputs) e = Math.max(e, epoch.get(t.node) ?? 0);
    if (node.operation.name === "barrier" && node.inputs.length > 1) e = next++;
    epoch.set(node, e);
  }
  return { order, uses, epoch, wanted: (node, index) => uses.has(`${node.id}.${index}`) };
}
