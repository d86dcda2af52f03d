// Agents as bytes: variables and replay in a safetensors file, everything else as JSON in its metadata.

import { DataError, tensor, type Variable } from "@everlong/core";
import { parseSafetensors, type StoredTensor, writeSafetensors } from "@everlong/data";
import type { Ring } from "./replay.ts";

/** What makes up an agent's state. */
export interface AgentParts {
  /** By name; f32 or i32. */
  readonly variables: ReadonlyMap<string, Variable>;
  readonly rings: ReadonlyMap<string, Ring>;
  /** JSON. */
  readonly facts: object;
}

/** Writes an agent's parts. */
export async function encodeState({ variables, rings, facts }: AgentParts): Promise<Uint8Array> {
  const tensors: Record<string, StoredTensor> = {};
  for (const [name, variable] of variables) {
    const data = await variable.value.data();
    const whole = variable.dtype === "i32";
    tensors[`variable.${name}`] = {
      dtype: whole ? "I32" : "F32",
      shape: [...variable.shape],
      data: whole ? Int32Array.from(data as Int32Array) : Float32Array.from(data as Float32Array),
    };
  }
  const ends: Record<string, { size: number; next: number }> = {};
  for (const [name, ring] of rings) {
    ends[name] = { size: ring.size, next: ring.next };
    for (const [part, data] of Object.entries(columnsOf(ring))) {
      const dtype = data instanceof Float32Array ? "F32" : "U8";
      tensors[`ring.${name}.${part}`] = { dtype, shape: [data.length], data };
    }
  }
  return writeSafetensors(tensors, {
    metadata: { facts: JSON.stringify(facts), rings: JSON.stringify(ends) },
  });
}

/** Puts bytes of {@link encodeState} back into variables and rings; returns the facts. */
export function decodeState(
  state: Uint8Array,
  into: { readonly variables: ReadonlyMap<string, Variable>; readonly ring?: (name: string) => Ring },
): unknown {
  const file = parseSafetensors(state, "agent state");
  for (const [name, variable] of into.variables) {
    const stored = file.get(`variable.${name}`);
    if (stored.shape.join() !== variable.shape.join()) {
      throw new DataError("agent state", `"${name}" has another shape`, {
        expected: `[${variable.shape.join(", ")}]`,
        got: `[${stored.shape.join(", ")}]`,
        hint: "The state belongs to an agent with other options.",
      });
    }
    const { device } = variable.current;
    variable.value = tensor(stored.data as Float32Array, variable.shape, { dtype: variable.dtype, device });
  }
  const ends = JSON.parse(file.header.metadata["rings"] ?? "{}") as Record<
    string,
    { size: number; next: number }
  >;
  for (const [name, { size, next }] of Object.entries(ends)) {
    const ring = into.ring?.(name);
    if (ring === undefined)
      throw new DataError("agent state", `has a replay "${name}" that this agent lacks`);
    [ring.size, ring.next] = [size, next];
    for (const [part, data] of Object.entries(columnsOf(ring))) {
      data.set(file.get(`ring.${name}.${part}`).data as Float32Array);
    }
  }
  return JSON.parse(file.header.metadata["facts"] ?? "{}");
}

function columnsOf(ring: Ring): Record<string, Float32Array | Uint8Array> {
  const { before, after, action, reward, terminated, task } = ring;
  return { before, after, action, reward, terminated, task };
}
