// The handle that users hold: one output of one node. Its methods are attached in methods.ts.

import type { Device } from "./device.ts";
import type { DType } from "./dtype.ts";
import type { Node } from "./graph.ts";

/**
 * An immutable array on a device, or the promise of one: operations record nodes, and nothing runs until a value is asked
 * for (`await t.data()`, `realize`, the end of a compiled function).
 */
// oxlint-disable-next-line typescript/no-unsafe-declaration-merging -- the methods are declared where they are attached
export class Tensor {
  readonly node: Node;
  /** Which output of the node. */
  readonly index: number;

  constructor(node: Node, index: number) {
    this.node = node;
    this.index = index;
  }

  get shape(): readonly number[] {
    return this.node.outputs[this.index]!.shape;
  }
  get dtype(): DType {
    return this.node.outputs[this.index]!.dtype;
  }
  get device(): Device {
    return this.node.device;
  }
  /** Number of axes. */
  get rank(): number {
    return this.shape.length;
  }
  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((a, b) => a * b, 1);
  }

  /** Frees the value now instead of when the garbage collector finds it; for `using`. */
  [Symbol.dispose](): void {
    const buffer = this.node.buffer(this.index);
    if (!buffer) return;
    this.node.dropBuffer(this.index);
    buffer.free();
  }

  toString(): string {
    return `Tensor(${this.dtype}[${this.shape.join(", ")}] on ${this.device.name})`;
  }
}
