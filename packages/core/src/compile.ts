// compile: traces a function once per signature and replays its program.

import type { Buffer, Device, Executable } from "./device.ts";
import { ConfigError } from "./errors.ts";
import { bufferOf, holding, loadProgram } from "./executor.ts";
import { isRealised, placeholder, topologicalOrder, type Node } from "./graph.ts";
import type { TensorType } from "./op.ts";
import { realize } from "./realize.ts";
import { record1 } from "./record.ts";
import { bytesOf } from "./rules/shape.ts";
import { schedule } from "./schedule/schedule.ts";
import { defaultDevice } from "./settings.ts";
import { sameShape } from "./shape.ts";
import { Tensor } from "./tensor.ts";
import { Variable, isShared, isTracing, withVariableTracer } from "./variable.ts";

/** What a compiled function takes besides tensors; such values are baked into the trace. */
export type Static = string | number | boolean | null | undefined;
export type Argument = Tensor | Static | readonly Argument[] | { readonly [key: string]: Argument };

export interface Compiled<A extends readonly Argument[], R> {
  (...args: A): R;
  /** Traces made so far. */
  readonly traces: number;
  /** The printed plan of every trace: kernels, bytes, flops, peak memory. */
  plan(): string;
  /** Gives back the memory of all traces. */
  dispose(): void;
}

export interface CompileOptions {
  /** For messages and plans. Default: the function's name. */
  readonly name?: string;
}

interface Trace {
  readonly executable: Executable;
  readonly device: Device;
  /** Where each program input comes from. */
  readonly sources: readonly (
    | { readonly arg: number }
    | { readonly variable: Variable }
    | { readonly constant: Tensor }
  )[];
  readonly types: readonly TensorType[];
  readonly results: number;
  readonly written: readonly Variable[];
  readonly donated: readonly (number | undefined)[];
  readonly build: (leaves: readonly Tensor[]) => unknown;
  readonly summary: string;
}

const keyOf = (t: Tensor): string => `${t.node.id}.${t.index}`;
/** Constants above this many bytes are computed in every run instead of being kept. */
const FOLD_BYTES = 64 * 2 ** 20;

/**
 * Traces `fn` once per signature (tree of arguments, shapes, dtypes, static values) and replays it. Variables that `fn`
 * reads are inputs; the ones it assigns are updated, their old buffers donated. Plain numbers among the arguments are part
 * of the signature: one that changes on every call retraces, with a warning; hold it in a Variable instead.
 */
export function compile<A extends readonly Argument[], R>(
  fn: (...args: A) => R,
  options: CompileOptions = {},
): Compiled<A, R> {
  const traces = new Map<string, Trace>();
  const shapesSeen = new Map<string, number>();
  const name = options.name ?? (fn.name || "compiled function");
  let warned = false;
  /** The trace of the last call that took nothing but tensors: its signature need not be written again for others like them. */
  let last: { readonly trace: Trace; readonly given: readonly TensorType[] } | undefined;

  const call = (...args: A): R => {
    if (last && !isTracing() && areLike(args, last.given, last.trace.device))
      return replay(last.trace, args) as R;
    const leaves: Tensor[] = [];
    const signature = describe(args, leaves);
    // Inside another trace this is an ordinary function.
    if (isTracing() || leaves.some(isPlaceholder)) return fn(...args);
    const device = leaves[0]?.device ?? defaultDevice();
    const key = `${device.name}|${signature.text}`;
    let made = traces.get(key);
    if (!made) {
      const sameShapes = (shapesSeen.get(signature.shapes) ?? 0) + 1;
      shapesSeen.set(signature.shapes, sameShapes);
      if (sameShapes === 4 && !warned) {
        warned = true;
        console.warn(
          `[compile] ${name} was traced ${sameShapes} times for different plain numbers or strings. Hold what changes in a Variable.`,
        );
      }
      made = makeTrace(name, fn as (...a: readonly Argument[]) => unknown, args, leaves, device);
      traces.set(key, made);
    }
    if (leaves.length > 0 && leaves.length === args.length && leaves.every((t, i) => t === args[i]))
      last = { trace: made, given: leaves.map(({ shape, dtype }) => ({ shape, dtype })) };
    return replay(made, leaves) as R;
  };
  const methods = {
    plan: () => [...traces.values()].map((t) => `${t.summary}\n${t.executable.describe()}`).join("\n\n"),
    dispose: () => {
      for (const t of traces.values()) t.executable.dispose();
      traces.clear();
      last = undefined;
    },
  };
  Object.defineProperty(call, "traces", { get: () => traces.size });
  return Object.assign(call, methods) as Compiled<A, R>;
}

const isPlaceholder = (t: Tensor): boolean =>
  !isRealised(t) && topologicalOrder([t], isRealised).some((n) => n.operation.name === "data");

/** Whether arguments are tensors of the given types on `device` that have their values. */
const areLike = (
  args: readonly Argument[],
  given: readonly TensorType[],
  device: Device,
): args is readonly Tensor[] =>
  args.length === given.length &&
  args.every((t, i) => {
    if (!(t instanceof Tensor) || !isRealised(t) || t.device !== device) return false;
    const { shape, dtype } = given[i]!;
    return t.dtype === dtype && sameShape(t.shape, shape);
  });

/** Signature of arguments; `shapes` leaves static values out. */
function describe(args: Argument, leaves: Tensor[]): { text: string; shapes: string } {
  if (args instanceof Tensor) {
    leaves.push(args);
    const text = `${args.dtype}[${args.shape.join()}]`;
    return { text, shapes: text };
  }
  if (Array.isArray(args)) {
    const parts = args.map((a) => describe(a, leaves));
    return { text: `(${parts.map((p) => p.text).join()})`, shapes: `(${parts.map((p) => p.shapes).join()})` };
  }
  if (args !== null && typeof args === "object") {
    const parts = Object.entries(args).map(([k, a]) => [k, describe(a, leaves)] as const);
    return {
      text: `{${parts.map(([k, p]) => `${k}:${p.text}`).join()}}`,
      shapes: `{${parts.map(([k, p]) => `${k}:${p.shapes}`).join()}}`,
    };
  }
  if (typeof args === "function") {
    throw new ConfigError("compile", "cannot take a function as an argument", {
      hint: "Close over it instead.",
    });
  }
  const text = Object.is(args, -0) ? "-0" : String(args);
  return { text: `${typeof args}:${text}`, shapes: typeof args };
}

/** Puts tensors into a tree in the order they were found. */
function refill(args: unknown, next: () => Tensor): unknown {
  if (args instanceof Tensor) return next();
  if (Array.isArray(args)) return args.map((a) => refill(a, next));
  if (args !== null && typeof args === "object" && Object.getPrototypeOf(args) === Object.prototype) {
    return Object.fromEntries(Object.entries(args).map(([k, a]) => [k, refill(a, next)]));
  }
  return args;
}

function collect(tree: unknown, out: Tensor[]): void {
  const walk = (t: unknown): void => {
    if (t instanceof Tensor) out.push(t);
    else if (Array.isArray(t)) t.forEach(walk);
    else if (t !== null && typeof t === "object" && Object.getPrototypeOf(t) === Object.prototype)
      Object.values(t).forEach(walk);
  };
  walk(tree);
}

function makeTrace(
  name: string,
  fn: (...args: readonly Argument[]) => unknown,
  args: readonly Argument[],
  leaves: readonly Tensor[],
  device: Device,
): Trace {
  const params = leaves.map((t, i) =>
    placeholder({ shape: t.shape, dtype: t.dtype }, device, `argument ${i} of ${name}`),
  );
  const reads = new Map<Variable, Tensor>();
  const writes = new Map<Variable, Tensor>();
  let at = 0;
  const inner = refill(args, () => params[at++]!) as readonly Argument[];
  const result = withVariableTracer(
    {
      read(variable) {
        const written = writes.get(variable);
        if (written) return written;
        let stand = reads.get(variable);
        if (!stand) {
          stand = placeholder(
            { shape: variable.shape, dtype: variable.dtype },
            variable.current.device,
            variable.name,
          );
          reads.set(variable, stand);
        }
        return stand;
      },
      write(variable, value) {
        writes.set(variable, value);
      },
    },
    () => fn(...inner),
  );
  if (result instanceof Promise) {
    throw new ConfigError(name, "a compiled function cannot be async", {
      hint: "Await values outside of it.",
    });
  }
  const found: Tensor[] = [];
  collect(result, found);
  const written = [...writes].filter(([v, t]) => reads.get(v) !== t);
  const outputs = [...found, ...written.map(([, t]) => t)];
  if (outputs.length === 0)
    throw new ConfigError(name, "computes nothing", { expected: "a tensor result or an assigned variable" });

  const constants = foldConstants(outputs, new Set([...params, ...reads.values()].map(keyOf)));
  const sources: Trace["sources"][number][] = [];
  const inputs: Tensor[] = [];
  const used = reachable(outputs);
  const take = (t: Tensor, source: Trace["sources"][number]): void => {
    if (!used.has(keyOf(t))) return;
    inputs.push(t);
    sources.push(source);
  };
  params.forEach((p, arg) => take(p, { arg }));
  reads.forEach((p, variable) => take(p, { variable }));
  constants.forEach((t) => take(t, { constant: t }));

  const readIndex = new Map<Variable, number>();
  sources.forEach((s, i) => "variable" in s && readIndex.set(s.variable, i));
  const donate = [...found.map(() => undefined), ...written.map(([v]) => readIndex.get(v))];
  const program = schedule(inputs, outputs, { donate });
  const executable = loadProgram(device, program, name);
  const bytes = outputs.reduce((sum, t) => sum + bytesOf(t), 0);
  return {
    executable,
    device,
    sources,
    types: outputs.map((t) => ({ shape: t.shape, dtype: t.dtype })),
    results: found.length,
    written: written.map(([v]) => v),
    donated: program.donated,
    build: (tensors) => {
      let k = 0;
      return refill(result, () => tensors[k++]!);
    },
    summary: `${name}: ${program.steps.length} steps, peak temporary memory ${program.arenaBytes} bytes, results ${bytes} bytes`,
  };
}

/** Every tensor the outputs read, by key. */
function reachable(outputs: readonly Tensor[]): Set<string> {
  const keys = new Set(outputs.map(keyOf));
  for (const node of topologicalOrder(outputs, isRealised)) for (const t of node.inputs) keys.add(keyOf(t));
  return keys;
}

/** Realises what does not depend on an argument or a variable, and lists it with the outer tensors in use. */
function foldConstants(outputs: readonly Tensor[], params: ReadonlySet<string>): Tensor[] {
  const varying = new Set<Node>();
  const order = topologicalOrder(outputs, isRealised);
  for (const node of order) {
    if (params.has(`${node.id}.0`) || node.inputs.some((t) => varying.has(t.node))) varying.add(node);
  }
  const constants = new Map<string, Tensor>();
  const note = (t: Tensor): void => {
    if (varying.has(t.node) || constants.has(keyOf(t))) return;
    if (isRealised(t)) constants.set(keyOf(t), t);
    else if (!isTrivial(t) && bytesOf(t) <= FOLD_BYTES) constants.set(keyOf(t), t);
  };
  for (const node of order) if (varying.has(node)) node.inputs.forEach(note);
  outputs.forEach(note);
  realize([...constants.values()]);
  // What was not folded may itself stand on realised tensors.
  for (const node of topologicalOrder(outputs, isRealised)) {
    for (const t of node.inputs) if (isRealised(t)) constants.set(keyOf(t), t);
  }
  return [...constants.values()];
}

/** Fills and index ramps fuse into their readers for nothing. */
function isTrivial(t: Tensor): boolean {
  const { name } = t.node.operation;
  if (name === "full" || name === "iota") return true;
  const view =
    name === "reshape" || name === "expand" || name === "permute" || name === "slice" || name === "cast";
  return view && !isRealised(t) && isTrivial(t.node.inputs[0]!);
}

function replay(trace: Trace, leaves: readonly Tensor[]): unknown {
  const { sources, donated, results, written } = trace;
  const tensors = sources.map((s) =>
    "arg" in s ? leaves[s.arg]! : "variable" in s ? s.variable.current : s.constant,
  );
  for (const t of tensors) if (!isRealised(t)) realize(t);
  const buffers = tensors.map((t) => bufferOf(t, "compile"));
  const needed = keepDonatedApart(buffers, tensors, trace);
  const outputs = trace.executable.run(buffers);
  const made = outputs.map((b, i) => holding(b, trace.types[i]!, trace.device));
  written.forEach((variable, k) => {
    const old = variable.current;
    const buffer = old.node.buffer(old.index);
    const keep = isShared(old) || needed.has(old.node);
    variable.replace(made[results + k]!);
    if (!buffer || keep) return;
    old.node.dropBuffer(old.index);
    // A donated buffer lives on under the output's name.
    if (donated[results + k] === undefined) buffer.free();
  });
  return trace.build(made);
}

/**
 * A buffer that will be overwritten is a copy wherever somebody else needs it. Returns the nodes whose old value stays
 * in use.
 */
function keepDonatedApart(
  buffers: Buffer[],
  tensors: readonly Tensor[],
  { sources, donated }: Trace,
): Set<Node> {
  const needed = new Set<Node>();
  const copy = (t: Tensor): Buffer => {
    const again = record1("reshape", { shape: t.shape }, [t]);
    realize(again);
    return bufferOf(again, "compile");
  };
  const given = new Map<Buffer, number>();
  for (const b of buffers) given.set(b, (given.get(b) ?? 0) + 1);
  for (const d of donated) {
    if (d === undefined) continue;
    const t = tensors[d]!;
    if (given.get(buffers[d]!) === 1 && !isShared(t)) continue;
    needed.add(t.node);
    buffers[d] = copy(t);
  }
  // An argument or a constant may be the tensor of a variable that is replaced without being read.
  tensors.forEach((t, i) => "variable" in sources[i]! || needed.add(t.node));
  return needed;
}
