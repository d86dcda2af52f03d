// The layer contract. A layer is a plain final class: parameters and buffers are Variables in its fields, sub-layers are
// fields or arrays of layers, and names are read off the fields. It is not: a base class, a registry, a mode switch
// (dropout works when a call brings a key).

import {
  after,
  ConfigError,
  ShapeError,
  Tensor,
  Variable,
  cast,
  nearest,
  type DType,
  type Shape,
} from "@everlong/core";

/** What an optimiser should do differently for one parameter; absent fields follow the optimiser. */
export interface ParameterHints {
  /** Decoupled weight decay in place of the optimiser's. */
  readonly weightDecay?: number;
  /** Base learning rate in place of the optimiser's; schedules still scale it. */
  readonly learningRate?: number;
}

const hints = new WeakMap<Variable, ParameterHints>();

/** A trainable variable, with hints for optimisers. */
export function parameter(value: Tensor, given: ParameterHints = {}): Variable {
  // The barrier tells constants that start a parameter from constants that a traced body may repeat for itself.
  const variable = new Variable(after(value, []), { name: "parameter" });
  if (Object.keys(given).length > 0) hints.set(variable, given);
  return variable;
}

/** A variable that belongs to the state but is not trained. */
export const buffer = (value: Tensor): Variable => new Variable(value, { name: "buffer", trainable: false });

/** A parameter, or a buffer when its own learning rate is 0, as the Hyena family registers tensors. */
export const parameterOrBuffer = (value: Tensor, given: ParameterHints): Variable =>
  given.learningRate === 0 ? buffer(value) : parameter(value, given);

/** Hints given to {@link parameter}. */
export const hintsOf = (variable: Variable): ParameterHints => hints.get(variable) ?? {};

/** Any object whose fields hold variables, layers, or arrays of them. */
export type Module = object;

/** A variable at every name under which it can be reached. */
export interface NamedVariable {
  readonly name: string;
  readonly variable: Variable;
  /** Further names of a shared variable. */
  readonly aliases: readonly string[];
}

/** `inProj` becomes `in_proj`, as PyTorch modules are named. */
const stateName = (field: string): string =>
  field.replaceAll(/(?<=[a-z0-9])[A-Z]/g, (c) => `_${c}`).toLowerCase();

/** Every variable of a module, in field order; a shared one once, under its first name. */
export function namedVariables(module: Module): NamedVariable[] {
  const found = new Map<Variable, { name: string; aliases: string[] }>();
  const open = new Set<object>();
  const walk = (value: unknown, path: string): void => {
    if (value instanceof Variable) {
      const known = found.get(value);
      if (known) known.aliases.push(path);
      else found.set(value, { name: path, aliases: [] });
      return;
    }
    if (typeof value !== "object" || value === null || value instanceof Tensor || ArrayBuffer.isView(value))
      return;
    // A module that holds itself would never end; shared ones are walked again for their aliases.
    if (open.has(value)) return;
    open.add(value);
    for (const [field, inner] of Object.entries(value)) {
      const step = Array.isArray(value) ? field : stateName(field);
      walk(inner, path === "" ? step : `${path}.${step}`);
    }
    open.delete(value);
  };
  walk(module, "");
  return [...found].map(([variable, at]) => ({ variable, ...at }));
}

/** Calls `fn` on every part of a module that is a `kind`, each once, in field order. */
export function visit<T extends object>(
  module: Module,
  kind: abstract new (...args: never[]) => T,
  fn: (part: T, index: number) => void,
): void {
  const seen = new Set<object>();
  let count = 0;
  const walk = (value: unknown): void => {
    if (typeof value !== "object" || value === null || value instanceof Tensor || value instanceof Variable)
      return;
    if (ArrayBuffer.isView(value) || seen.has(value)) return;
    seen.add(value);
    if (value instanceof kind) fn(value, count++);
    Object.values(value).forEach(walk);
  };
  walk(module);
}

/** Trainable variables by name. */
export const parameters = (module: Module): Map<string, Variable> =>
  new Map(namedVariables(module).flatMap((v) => (v.variable.trainable ? [[v.name, v.variable]] : [])));

/** Variables that are state but not trained, by name. */
export const buffers = (module: Module): Map<string, Variable> =>
  new Map(namedVariables(module).flatMap((v) => (v.variable.trainable ? [] : [[v.name, v.variable]])));

/** Number of trainable elements. */
export const parameterCount = (module: Module): number =>
  [...parameters(module).values()].reduce((n, v) => n + v.shape.reduce((a, b) => a * b, 1), 0);

/** Parameters and buffers by name, as tensors that can be saved. */
export const stateDict = (module: Module): Map<string, Tensor> =>
  new Map(namedVariables(module).map((v) => [v.name, v.variable.value]));

export interface LoadOptions {
  /** Missing and unexpected names are errors. Default true. */
  readonly strict?: boolean;
  /** Renames the names of the given tensors before they are matched; undefined drops one. */
  readonly rename?: (name: string) => string | undefined;
}

export interface LoadReport {
  /** Names of the module for which nothing was given. */
  readonly missing: readonly string[];
  /** Given names that the module does not have. */
  readonly unexpected: readonly string[];
}

/**
 * Sets variables from tensors of the same shapes (values are cast to the variable's dtype). Shared variables load from any
 * of their names. With `strict`, nothing is set unless everything fits.
 * @throws ConfigError for missing or unexpected names, ShapeError for a tensor of another shape.
 */
export function loadState(
  module: Module,
  tensors: Iterable<readonly [string, Tensor]> | Readonly<Record<string, Tensor>>,
  options: LoadOptions = {},
): LoadReport {
  const { strict = true, rename = (name: string): string => name } = options;
  const given = new Map<string, Tensor>();
  for (const [name, value] of Symbol.iterator in tensors ? tensors : Object.entries(tensors)) {
    const renamed = rename(name);
    if (renamed !== undefined) given.set(renamed, value);
  }
  const all = namedVariables(module);
  const names = all.flatMap((v) => [v.name, ...v.aliases]);
  const known = new Set(names);
  const unexpected = [...given.keys()].filter((name) => !known.has(name));
  const missing: string[] = [];
  const assignments: [Variable, Tensor][] = [];
  for (const { name, aliases, variable } of all) {
    const at = [name, ...aliases].find((n) => given.has(n));
    const value = at === undefined ? undefined : given.get(at);
    if (at === undefined || value === undefined) {
      missing.push(name);
      continue;
    }
    if (!sameShape(value.shape, variable.shape)) {
      throw new ShapeError("loadState", `"${at}" has another shape`, {
        expected: `[${variable.shape.join(", ")}]`,
        got: `[${value.shape.join(", ")}]`,
        hint: "The file comes from a model with other options.",
      });
    }
    assignments.push([variable, value]);
  }
  if (strict && missing.length + unexpected.length > 0) throw stateMismatch(missing, unexpected, names);
  for (const [variable, value] of assignments) variable.value = cast(value, variable.dtype as DType);
  return { missing, unexpected };
}

function stateMismatch(
  missing: readonly string[],
  unexpected: readonly string[],
  names: readonly string[],
): ConfigError {
  const list = (items: readonly string[]): string =>
    items.length > 6 ? `${items.slice(0, 6).join(", ")} and ${items.length - 6} more` : items.join(", ");
  const parts = [
    ...(missing.length > 0 ? [`missing ${list(missing)}`] : []),
    ...(unexpected.length > 0 ? [`unexpected ${list(unexpected)}`] : []),
  ];
  const near = unexpected[0] === undefined ? undefined : nearest(unexpected[0], names);
  return new ConfigError("loadState", "state and module differ", {
    got: parts.join("; "),
    hint: `${near === undefined ? "" : `"${unexpected[0]}" is close to "${near}". `}Pass { strict: false } to load what fits.`,
  });
}

const sameShape = (a: Shape, b: Shape): boolean => a.length === b.length && a.every((n, i) => n === b[i]);

/** What a call may bring along. */
export interface ForwardOptions {
  /** True where a position is real, `[B, T]` bool; outputs at real positions do not depend on the others. */
  readonly mask?: Tensor;
  /** Position numbers `[B, T]` or `[T]` i32 for rotary and positional embeddings. Default 0..T-1. */
  readonly positions?: Tensor;
  /** Random key `[2]` for dropout; without it nothing is dropped. */
  readonly key?: Tensor;
}

/** Maps `[..., T, D]` to `[..., T, D]`. */
export interface Layer {
  forward(x: Tensor, options?: ForwardOptions): Tensor;
}
