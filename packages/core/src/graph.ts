// Nodes of the recorded graph, and traced functions (graphs) for scan, recompute, vmap and compile.

import type { Device, Buffer } from "./device.ts";
import type { Operation } from "./primitives.ts";
import type { TensorType } from "./op.ts";
import { Tensor } from "./tensor.ts";

let nextId = 1;

/** One recorded operation. It keeps its inputs until it is realised; then it keeps only its buffers. */
export class Node {
  readonly id: number = nextId++;
  readonly operation: Operation;
  readonly outputs: readonly TensorType[];
  readonly device: Device;
  #inputs: readonly Tensor[];
  #buffers: (Buffer | undefined)[] | undefined;
  /** The user's line, recorded when EVERLONG_DEBUG asks for it. */
  readonly site: string | undefined;
  /** Variables that hold a value of this node: a buffer may only be donated by the last of them. */
  holders = 0;

  constructor(
    operation: Operation,
    inputs: readonly Tensor[],
    outputs: readonly TensorType[],
    device: Device,
    site?: string,
  ) {
    this.operation = operation;
    this.#inputs = inputs;
    this.outputs = outputs;
    this.device = device;
    this.site = site;
  }

  /** Inputs; empty once realised. */
  get inputs(): readonly Tensor[] {
    return this.#inputs;
  }

  buffer(index: number): Buffer | undefined {
    return this.#buffers?.[index];
  }

  /** Gives output `index` its value. When all outputs that anyone can hold have one, the history is dropped. */
  setBuffer(index: number, buffer: Buffer): void {
    this.#buffers ??= this.outputs.map(() => undefined);
    this.#buffers[index] = buffer;
    if (this.#buffers.every((b) => b !== undefined)) this.#inputs = [];
  }

  /** Forgets output `index`'s buffer (it was freed or donated). */
  dropBuffer(index: number): void {
    if (this.#buffers) this.#buffers[index] = undefined;
  }
}

/** A traced function: placeholders, results, and outer tensors it closes over (lifted to inputs when used). */
export interface Graph {
  readonly params: readonly Tensor[];
  readonly results: readonly Tensor[];
  /** Outer tensors that the body reads. */
  readonly captures: readonly Tensor[];
}

/** A fresh argument of a traced function. */
export function placeholder(type: TensorType, device: Device, label: string): Tensor {
  return new Tensor(new Node({ name: "data", params: { label } }, [], [type], device), 0);
}

/** Nodes reachable from `roots`, inputs first; stops below `stop` (those are not entered nor listed). */
export function topologicalOrder(roots: readonly Tensor[], stop?: (t: Tensor) => boolean): Node[] {
  const order: Node[] = [];
  const state = new Map<Node, 1 | 2>();
  const stack: { node: Node; next: number }[] = [];
  const visit = (t: Tensor): void => {
    if (stop?.(t) || state.has(t.node)) return;
    state.set(t.node, 1);
    stack.push({ node: t.node, next: 0 });
  };
  for (const root of roots) {
    visit(root);
    while (stack.length > 0) {
      const top = stack[stack.length - 1]!;
      if (top.next < top.node.inputs.length) visit(top.node.inputs[top.next++]!);
      else {
        stack.pop();
        state.set(top.node, 2);
        order.push(top.node);
      }
    }
  }
  return order;
}

/** Whether a tensor's value is at hand. */
export const isRealised = (t: Tensor): boolean => t.node.buffer(t.index) !== undefined;

const isCheap = (node: Node): boolean => node.operation.name === "full" || node.operation.name === "iota";

/**
 * Traces `fn` on placeholders of the given types. What the results read but do not compute from the placeholders is
 * listed as captures (constants such as `full` and `iota` stay inside).
 */
export function trace(
  fn: (params: Tensor[]) => readonly Tensor[],
  types: readonly TensorType[],
  device: Device,
): Graph {
  const params = types.map((type, i) => placeholder(type, device, `arg${i}`));
  const results = fn(params);
  const order = topologicalOrder(results, isRealised);
  const inside = new Set<Node>(params.map((p) => p.node));
  for (const node of order) if (node.inputs.some((t) => inside.has(t.node))) inside.add(node);
  const captures: Tensor[] = [];
  const seen = new Set<string>();
  const capture = (t: Tensor): void => {
    const key = `${t.node.id}.${t.index}`;
    if (inside.has(t.node) || isCheapTree(t) || seen.has(key)) return;
    seen.add(key);
    captures.push(t);
  };
  for (const node of order) if (inside.has(node)) node.inputs.forEach(capture);
  results.forEach(capture);
  return { params, results, captures };
}

/** Constants and views of constants cost nothing to repeat inside a body. */
export function isCheapTree(t: Tensor): boolean {
  const { node } = t;
  if (isRealised(t)) return false;
  if (isCheap(node)) return true;
  const { name } = node.operation;
  const viewLike = name === "reshape" || name === "expand" || name === "permute" || name === "slice";
  return viewLike && node.inputs.length === 1 && isCheapTree(node.inputs[0]!);
}

/** Rebuilds `results` with some tensors replaced; parts that do not depend on a replaced tensor are shared. */
export function substitute(
  results: readonly Tensor[],
  replace: ReadonlyMap<string, Tensor>,
  options: { readonly copyAll?: boolean } = {},
): Tensor[] {
  const made = new Map<string, Tensor>(replace);
  const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;
  const stop = (t: Tensor): boolean => replace.has(keyOf(t)) || isRealised(t);
  for (const node of topologicalOrder(results, stop)) {
    const inputs = node.inputs.map((t) => made.get(keyOf(t)) ?? t);
    const changed = inputs.some((t, i) => t !== node.inputs[i]);
    if (!changed && !options.copyAll) continue;
    if (node.operation.name === "data") continue;
    const copy = new Node(node.operation, inputs, node.outputs, node.device, node.site);
    node.outputs.forEach((_, i) => {
      const key = `${node.id}.${i}`;
      if (!made.has(key)) made.set(key, new Tensor(copy, i));
    });
  }
  return results.map((t) => made.get(keyOf(t)) ?? t);
}

/** Puts tensors in place of a graph's placeholders (and, when given, of its captures). */
export function inline(
  graph: Graph,
  args: readonly Tensor[],
  captures: readonly Tensor[] = graph.captures,
): Tensor[] {
  const replace = new Map<string, Tensor>();
  graph.params.forEach((p, i) => replace.set(`${p.node.id}.${p.index}`, args[i]!));
  graph.captures.forEach((c, i) => replace.set(`${c.node.id}.${c.index}`, captures[i]!));
  return substitute(graph.results, replace);
}
