// Which elementwise values get a buffer of their own, and which are computed again inside the loops that read them.

import type { Node } from "../graph.ts";
import { isElementwise, isMovement } from "../primitives.ts";
import { debugFlag } from "../settings.ts";
import { Tensor } from "../tensor.ts";
import type { Draft } from "./draft.ts";
import { keyOf, type Analysis } from "./values.ts";

/** More instructions or buffers than this in one loop spill registers; the value gets a buffer instead. */
export const MAX_CODE = 64;
export const MAX_ARGS = 12;
const CHEAP_BINARY = new Set(["add", "sub", "mul", "and", "or", "max", "min"]);

export class Fusion {
  readonly #draft: Draft;
  readonly #uses: Analysis["uses"];
  readonly #roots: ReadonlySet<string>;
  /** Instructions that inlining a value would add to a loop. */
  readonly #weight = new Map<string, number>();

  constructor(draft: Draft, uses: Analysis["uses"], roots: ReadonlySet<string>) {
    this.#draft = draft;
    this.#uses = uses;
    this.#roots = roots;
  }

  /** Called once per elementwise or movement node, in topological order. */
  weigh(node: Node): void {
    let sum = isElementwise(node.operation.name) ? 1 : 0;
    for (const t of node.inputs) if (!this.#draft.has(t)) sum += this.#weight.get(keyOf(t)) ?? 0;
    this.#weight.set(`${node.id}.0`, sum);
  }

  /** An elementwise value gets its own buffer when several steps read it, or when it is an output. */
  mustStore(node: Node): boolean {
    const t = new Tensor(node, 0);
    if (this.#roots.has(keyOf(t))) return true;
    if (node.operation.name === "full" || node.operation.name === "iota") return false;
    // Looking for the first NaN, every operation is a step of its own, so that its line can be named.
    if (debugFlag("nan")) return true;
    // Long chains are cut here, in order, so that emitting never recurses deep.
    if ((this.#weight.get(keyOf(t)) ?? 0) > MAX_CODE) return true;
    return (this.#uses.get(keyOf(t)) ?? 0) > 1 && !this.#isCheap(t);
  }

  /** Light arithmetic on indices and constants (masks) is repeated rather than stored. */
  #isCheap(t: Tensor): boolean {
    const { operation, inputs } = t.node;
    if (this.#draft.has(t) || (this.#weight.get(keyOf(t)) ?? 0) > 8) return false;
    const { name } = operation;
    if (name === "full" || name === "iota") return true;
    const light =
      isMovement(name) ||
      name === "barrier" ||
      name === "cast" ||
      name === "compare" ||
      name === "select" ||
      (operation.name === "binary" && CHEAP_BINARY.has(operation.params.fn));
    return light && inputs.every((i) => this.#isCheap(i));
  }

  /** A value that may be computed once per repetition without loss. */
  isLight(t: Tensor): boolean {
    if (this.#draft.has(t)) return true;
    const { name } = t.node.operation;
    if (name === "full" || name === "iota") return true;
    if (isMovement(name) || name === "barrier" || name === "cast") return this.isLight(t.node.inputs[0]!);
    return false;
  }
}
