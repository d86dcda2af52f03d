// Trees: nested arrays and plain objects with tensors as leaves, as functions take and return them.

import { ConfigError } from "./errors.ts";
import { Tensor } from "./tensor.ts";

export type Tree = Tensor | null | undefined | readonly Tree[] | { readonly [key: string]: Tree };

/** Where the leaves of a tree stand. */
export type Structure =
  | { readonly kind: "leaf" }
  | { readonly kind: "none"; readonly value: null | undefined }
  | { readonly kind: "list"; readonly items: readonly Structure[] }
  | { readonly kind: "record"; readonly keys: readonly string[]; readonly items: readonly Structure[] };

export function flattenTree(tree: Tree): { leaves: Tensor[]; structure: Structure } {
  const leaves: Tensor[] = [];
  const walk = (t: Tree): Structure => {
    if (t instanceof Tensor) {
      leaves.push(t);
      return { kind: "leaf" };
    }
    if (t === null || t === undefined) return { kind: "none", value: t };
    if (Array.isArray(t)) return { kind: "list", items: t.map(walk) };
    if (typeof t !== "object") {
      throw new ConfigError("tree", "a leaf is not a tensor", {
        expected: "tensors in arrays and objects",
        got: typeof t,
      });
    }
    const keys = Object.keys(t);
    return { kind: "record", keys, items: keys.map((k) => walk((t as Record<string, Tree>)[k])) };
  };
  const structure = walk(tree);
  return { leaves, structure };
}

export function unflattenTree(structure: Structure, leaves: readonly Tensor[]): Tree {
  let at = 0;
  const build = (s: Structure): Tree => {
    switch (s.kind) {
      case "leaf":
        return leaves[at++]!;
      case "none":
        return s.value;
      case "list":
        return s.items.map(build);
      case "record":
        return Object.fromEntries(s.keys.map((k, i) => [k, build(s.items[i]!)]));
    }
  };
  return build(structure);
}

/** Applies `fn` to every leaf. */
export function mapTree(fn: (t: Tensor) => Tensor, tree: Tree): Tree {
  const { leaves, structure } = flattenTree(tree);
  return unflattenTree(structure, leaves.map(fn));
}
