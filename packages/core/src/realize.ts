// Running recorded graphs outside of compiled functions.

import type { Buffer, Device, Executable } from "./device.ts";
import type { TypedArray } from "./dtype.ts";
import { bufferOf, loadProgram, widen } from "./executor.ts";
import { isRealised, topologicalOrder } from "./graph.ts";
import { schedule } from "./schedule/schedule.ts";
import { Tensor } from "./tensor.ts";
import { flattenTree, type Tree } from "./tree.ts";

/** Programs of graphs seen before, by structure: an eager loop schedules its body once. */
const CACHE_SIZE = 256;
const cache = new Map<string, Executable>();
const objectIds = new WeakMap<object, number>();
let nextObjectId = 1;

function idOf(o: object): number {
  let id = objectIds.get(o);
  if (id === undefined) objectIds.set(o, (id = nextObjectId++));
  return id;
}

/** Text of parameters, with every number that JSON does not tell; graphs, ops and arrays are told by who they are. */
function textOf(value: unknown, key?: string): string {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") return Object.is(value, -0) ? "-0" : String(value);
  if (typeof value !== "object" || value === null) return String(value);
  if (key === "body" || key === "def" || key === "data") return `#${idOf(value)}`;
  if (Array.isArray(value)) return `[${value.map((v) => textOf(v)).join()}]`;
  let text = "{";
  for (const [k, v] of Object.entries(value)) text += `${k}:${textOf(v, k)},`;
  return `${text}}`;
}

/** Text that is equal for graphs that compute the same; also lists the graph's realised inputs. */
function fingerprint(outputs: readonly Tensor[], device: Device): { key: string; inputs: Tensor[] } {
  const inputs: Tensor[] = [];
  const names = new Map<string, string>();
  const nameOf = (t: Tensor): string => {
    const key = `${t.node.id}.${t.index}`;
    let name = names.get(key);
    if (name === undefined) {
      name = `i${inputs.push(t) - 1}:${t.dtype}${t.shape.join("x")}`;
      names.set(key, name);
    }
    return name;
  };
  const parts: string[] = [];
  topologicalOrder(outputs, isRealised).forEach((node, n) => {
    const { operation } = node;
    node.outputs.forEach((_, i) => names.set(`${node.id}.${i}`, `n${n}.${i}`));
    const args = node.inputs.map(nameOf).join();
    const params = textOf(operation.params);
    const types = node.outputs.map((t) => `${t.dtype}${t.shape.join("x")}`).join();
    parts.push(`${operation.name}${params}(${args})${types}`);
  });
  return { key: `${idOf(device)}|${parts.join(";")}|${outputs.map(nameOf).join()}`, inputs };
}

/** Computes what has no value yet. Work may still be in flight on return; `data()` waits for it. */
export function realize(...trees: readonly Tree[]): void {
  const wanted = flattenTree(trees).leaves.filter((t) => !isRealised(t));
  const byDevice = new Map<Device, Tensor[]>();
  for (const t of wanted) {
    // All outputs of a node at once, so that its history can go.
    const all = t.node.outputs.map((_, i) => new Tensor(t.node, i));
    byDevice.set(t.device, [...(byDevice.get(t.device) ?? []), ...all]);
  }
  for (const [device, tensors] of byDevice) run(device, tensors);
}

function run(device: Device, tensors: readonly Tensor[]): void {
  const outputs = [...new Map(tensors.map((t) => [`${t.node.id}.${t.index}`, t])).values()].filter(
    (t) => !isRealised(t),
  );
  if (outputs.length === 0) return;
  const { key, inputs } = fingerprint(outputs, device);
  let executable = cache.get(key);
  if (executable) {
    cache.delete(key);
  } else {
    executable = loadProgram(device, schedule(inputs, outputs), "an eager graph");
    if (cache.size >= CACHE_SIZE) {
      const [oldest, old] = cache.entries().next().value!;
      cache.delete(oldest);
      old.dispose();
    }
  }
  cache.set(key, executable);
  const results: Buffer[] = executable.run(inputs.map((t) => bufferOf(t, "realize")));
  outputs.forEach((t, i) => t.node.setBuffer(t.index, results[i]!));
}

/** A tensor's values on the host. */
export async function download(t: Tensor, options: { readonly widen?: boolean } = {}): Promise<TypedArray> {
  realize(t);
  const data = await t.device.download(bufferOf(t, "data"), t.dtype, t.size);
  return options.widen ? widen(t, data) : data;
}
