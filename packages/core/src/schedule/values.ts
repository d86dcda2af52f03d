// What the scheduler knows of a graph before it emits steps: the nodes in order, how often each value is used, and which
// side of a recompute barrier each node is on.

import type { FusedStep, Operand } from "../device.ts";
import { inline, isRealised, Node, topologicalOrder } from "../graph.ts";
import type { TensorType } from "../op.ts";
import { typesOfExample } from "../rules/shape.ts";
import { contiguousView } from "../view.ts";
import { vmap } from "../vmap.ts";
import { isMovement } from "../primitives.ts";
import { Tensor } from "../tensor.ts";

export const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;

/** A fused step (of one example) on contiguous operands, to ask a device whether it has a kernel. */
function asStep(node: Node): FusedStep | undefined {
  if (node.operation.name !== "fused") return undefined;
  const operand = (t: TensorType, buffer: number): Operand => ({
    buffer,
    dtype: t.dtype,
    view: contiguousView(t.shape),
  });
  const { def, params, examples } = node.operation.params;
  const inputs = typesOfExample(node.inputs, examples).map(operand);
  const outputs = examples
    ? node.outputs.map(({ shape, dtype }) => ({ shape: shape.slice(1), dtype }))
    : node.outputs;
  return {
    kind: "fused",
    def,
    params,
    inputs,
    outputs: outputs.map((t, i) => operand(t, inputs.length + i)),
  };
}

/** What a node is computed as instead: the body of `recompute`, the primitives of a fused op without a kernel. */
function replacement(node: Node, inputs: readonly Tensor[]): Tensor[] | undefined {
  const { operation } = node;
  if (operation.name === "recompute") {
    const { body } = operation.params;
    const n = body.params.length;
    return inline(body, inputs.slice(0, n), inputs.slice(n));
  }
  const step = asStep(node);
  if (!step?.def.decompose || node.device.supports(step) === true) return undefined;
  const decompose = (...of: readonly Tensor[]): Tensor[] => step.def.decompose!(of, step.params as never);
  const examples = operation.name === "fused" ? operation.params.examples : undefined;
  return examples
    ? vmap(decompose, { inAxes: examples.mapped.map((m) => (m ? 0 : null)) })(...inputs)
    : decompose(...inputs);
}

/** Replaces `recompute` nodes by their bodies and fused ops that the device lacks by their primitives, at any depth. */
export function expandNodes(outputs: readonly Tensor[], stop: (t: Tensor) => boolean): Tensor[] {
  const made = new Map<string, Tensor>();
  const now = (t: Tensor): Tensor => made.get(keyOf(t)) ?? t;
  const done = (t: Tensor): boolean => stop(t) || made.has(keyOf(t));
  const expand = (roots: readonly Tensor[]): void => {
    for (const node of topologicalOrder(roots, done)) {
      const inputs = node.inputs.map(now);
      const instead = replacement(node, inputs);
      if (instead) {
        expand(instead);
        instead.forEach((t, i) => made.set(`${node.id}.${i}`, now(t)));
      } else if (inputs.some((t, i) => t !== node.inputs[i])) {
        const copy = new Node(node.operation, inputs, node.outputs, node.device, node.site);
        node.outputs.forEach((_, i) => made.set(`${node.id}.${i}`, new Tensor(copy, i)));
      }
    }
  };
  expand(outputs);
  return outputs.map(now);
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
