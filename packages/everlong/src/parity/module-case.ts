// Running a module case: loads the original's state, runs ours, compares outputs and the gradients of sum(out * probe).

import {
  DataError,
  add,
  cast,
  gradients,
  isFloat,
  mul,
  realize,
  sum,
  tensor,
  type Device,
  type DType,
  type Tensor,
} from "@everlong/core";
import type { StoredTensor } from "@everlong/data";
import { loadState, namedVariables, type ParityModules } from "@everlong/nn";
import type { ParityCase, Tolerance } from "./case.ts";
import { compareTensor, storedValues, type Deviation, type Result } from "./compare.ts";

const STORED_DTYPE: Readonly<Record<string, DType>> = {
  F64: "f64",
  F32: "f32",
  F16: "f16",
  BF16: "bf16",
  I64: "i32",
  I32: "i32",
  U8: "u8",
  BOOL: "bool",
};

/** A case's tensor on a device; on the reference device floats are float64, elsewhere as stored (f64 becomes f32). */
export function onDevice(t: StoredTensor, device: Device): Tensor {
  const natural = STORED_DTYPE[t.dtype] ?? "i32";
  const dtype =
    isFloat(natural) && (device.defaultFloat === "f64" || natural === "f64") ? device.defaultFloat : natural;
  const wide = Float64Array.from(storedValues(t));
  return tensor(wide, t.shape, { dtype, device });
}

const strip = (prefix: string, tensors: ReadonlyMap<string, StoredTensor>): [string, StoredTensor][] =>
  [...tensors].filter(([n]) => n.startsWith(prefix)).map(([n, t]) => [n.slice(prefix.length), t]);

/** The tolerance table of a device: float64 devices have their own, except for cases in half precision. */
export const tolerancesFor = (c: ParityCase, device: Device): Readonly<Record<string, Tolerance>> => {
  const wide = device.defaultFloat === "f64" ? c.tol.f64 : undefined;
  return (wide && Object.keys(wide).length > 0 ? wide : c.tol.f32) ?? {};
};

/** The stored tensor to compare with: the float64 one where there is one. */
function reference(c: ParityCase, name: string): StoredTensor | undefined {
  const wide = name.replace(/^out\./, "out64.").replace(/^grad_/, "grad64_");
  return c.tensors.get(wide) ?? c.tensors.get(name);
}

async function toResult(t: Tensor): Promise<Result> {
  const plain = t.dtype === "bf16" || t.dtype === "f16" ? cast(t, t.device.defaultFloat) : t;
  return { shape: t.shape, data: await plain.data() };
}

/** Calls the module; what it does not find among the inputs is the case's fault, not the program's. */
function called(
  call: (inputs: Readonly<Record<string, Tensor>>) => Readonly<Record<string, Tensor>>,
  inputs: Readonly<Record<string, Tensor>>,
): Readonly<Record<string, Tensor>> {
  try {
    return call(inputs);
  } catch (cause) {
    if (!(cause instanceof TypeError)) throw cause;
    const names = Object.keys(inputs).map((name) => `in.${name}`);
    throw new DataError("parity", "the inputs do not fit the class", {
      got: names.join(", ") || "no inputs",
      cause,
    });
  }
}

/** Runs a case on the default device, which must be `device`. */
export async function runModuleCase(
  c: ParityCase,
  build: ParityModules[string],
  device: Device,
): Promise<Deviation[]> {
  const shapes = new Map([...c.tensors].map(([n, t]) => [n, t.shape]));
  const numbers = (name: string): Float64Array | undefined => {
    const stored = c.tensors.get(name);
    return stored && storedValues(stored);
  };
  const {
    module,
    call,
    float32Inside,
    rename = (key: string): string => key,
  } = build({ args: c.args, json: c.json, shapes, numbers });
  if (module) {
    const later = strip("state.", c.tensors);
    // Cases in which forwards change the state store where it began.
    const began = later.length > 0 ? later : strip("state_initial.", c.tensors);
    const state = began.map(([key, t]) => [key, onDevice(t, device)] as const);
    loadState(module, state, { rename });
  }
  const inputs = Object.fromEntries(strip("in.", c.tensors).map(([name, t]) => [name, onDevice(t, device)]));
  const outputs = called(call, inputs);

  // Gradients that a case names otherwise than by a probe, and later states, come from the builder itself.
  const results = new Map<string, Tensor>(
    Object.entries(outputs).map(([name, t]) => [
      name.startsWith("grad_") || /^state_\w+\./.test(name) ? name : `out.${name}`,
      t,
    ]),
  );
  const probed = strip("probe.", c.tensors).flatMap(([name, probe]) => {
    const out = outputs[name];
    return out
      ? [sum(mul(cast(out, device.defaultFloat), cast(onDevice(probe, device), device.defaultFloat)))]
      : [];
  });
  if (probed.length > 0) {
    const loss = probed.reduce((a, b) => add(a, b));
    const wrt = new Map<string, Tensor>();
    for (const [name] of strip("grad_in.", c.tensors)) wrt.set(`grad_in.${name}`, inputs[name]!);
    const variables = new Map(
      (module ? namedVariables(module) : []).flatMap((v) =>
        [v.name, ...v.aliases].map((n) => [n, v.variable] as const),
      ),
    );
    for (const [key] of strip("grad_param.", c.tensors)) {
      const variable = variables.get(rename(key) ?? key);
      if (variable) wrt.set(`grad_param.${key}`, variable.value);
    }
    const names = [...wrt.keys()];
    gradients(loss, [...wrt.values()]).forEach((g, i) => results.set(names[i]!, g));
  }
  const tolerances = tolerancesFor(c, device);
  const wanted = Object.keys(tolerances).filter((n) => results.has(n));
  realize(wanted.map((n) => results.get(n)!));
  const deviations: Deviation[] = [];
  for (const [name, tolerance] of Object.entries(tolerances)) {
    const stored = reference(c, name);
    if (!stored) continue;
    const ours = results.get(name);
    const float32 = c.tol.f32?.[name];
    // An original that computes in float32 inside has no further digits to compare with.
    const coarse = float32Inside && device.defaultFloat === "f64" && float32 !== undefined;
    const found = compareTensor(name, ours && (await toResult(ours)), stored, coarse ? float32 : tolerance);
    deviations.push(
      coarse && !found.note ? { ...found, note: "the original computes in float32 inside" } : found,
    );
  }
  return deviations;
}
