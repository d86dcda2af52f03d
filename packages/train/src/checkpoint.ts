// Checkpoints: everything from which a run goes on as if it had not stopped, in one safetensors file.

import {
  ConfigError,
  DataError,
  DTYPES,
  ShapeError,
  tensor,
  type DType,
  type Tensor,
  type Variable,
} from "@everlong/core";
import {
  openSafetensors,
  saveSafetensors,
  type SafetensorsDType,
  type SafetensorsFile,
  type StoredTensor,
} from "@everlong/data";
import { namedVariables, type Module } from "@everlong/nn";
import type { Optimizer } from "./optimizer.ts";

const FORMAT = "everlong-checkpoint-1";
const OPTIMIZER = "optimizer.";

const STORED: { readonly [D in DType]: SafetensorsDType } = {
  f32: "F32",
  f64: "F64",
  f16: "F16",
  bf16: "BF16",
  i32: "I32",
  u8: "U8",
  bool: "BOOL",
};

/** What a run's checkpoint holds. */
export interface CheckpointParts {
  readonly model: Module;
  readonly optimizer: Optimizer;
}

/** A model with its optimiser or alone, or variables by name, such as those of a sweep. */
export type Checkpointed<V = Variable> =
  | CheckpointParts
  | { readonly model: Module }
  | ReadonlyMap<string, V>;

/** What may be kept beside the tensors: plain JSON. */
export type CheckpointInfo = Readonly<Record<string, unknown>>;

/** Every variable of a run under its name in the file. */
function variablesOf<V>(parts: Checkpointed<V>): ReadonlyMap<string, V | Variable> {
  if (!("model" in parts)) return parts;
  return new Map([
    ...namedVariables(parts.model).map((v) => [`model.${v.name}`, v.variable] as const),
    ...("optimizer" in parts ? [...parts.optimizer.state] : []).map(
      ([name, v]) => [`${OPTIMIZER}${name}`, v] as const,
    ),
  ]);
}

/**
 * Writes a model, with its optimiser if given (or the named variables) to `path`. The file appears only when it is complete, so a run killed
 * while writing keeps its last checkpoint. Tensors of a model and optimiser are named `model.<name>` and `optimizer.<name>`.
 * @param info returned by {@link loadCheckpoint}
 */
export async function saveCheckpoint(
  path: string,
  parts: Checkpointed<{ readonly value: Tensor }>,
  info: CheckpointInfo = {},
): Promise<void> {
  const tensors = new Map<string, StoredTensor>();
  for (const [name, { value }] of variablesOf(parts)) {
    tensors.set(name, { dtype: STORED[value.dtype], shape: [...value.shape], data: await value.data() });
  }
  await saveSafetensors(path, tensors, { metadata: { format: FORMAT, info: JSON.stringify(info) } });
}

/**
 * Restores model and optimiser (or the named variables), made with the options of those saved. Nothing is set unless everything fits, dtypes
 * included: the run goes on with the same bits. A model alone is read from a run's checkpoint too, without the optimiser.
 * @returns the info given when saving
 * @throws DataError for a file that is no checkpoint, ConfigError or ShapeError when names, dtypes or shapes differ
 */
export async function loadCheckpoint(path: string, parts: Checkpointed): Promise<CheckpointInfo> {
  await using file = await openSafetensors(path);
  const info = infoOf(path, file);
  const variables = variablesOf(parts);
  const present = new Set(file.names);
  const missing = [...variables.keys()].filter((name) => !present.has(name));
  const isModelAlone = "model" in parts && !("optimizer" in parts);
  const unexpected = file.names.filter(
    (name) => !variables.has(name) && !(isModelAlone && name.startsWith(OPTIMIZER)),
  );
  if (missing.length + unexpected.length > 0) {
    const list = (what: string, names: readonly string[]): string[] =>
      names.length > 0 ? [`${what} ${names.slice(0, 6).join(", ")}${names.length > 6 ? ", ..." : ""}`] : [];
    throw new ConfigError("loadCheckpoint", "checkpoint and run differ", {
      got: [...list("missing", missing), ...list("unexpected", unexpected)].join("; "),
      hint: "Make model and optimizer with the options of the run that saved it.",
    });
  }
  const values: [Variable, Tensor][] = [];
  for (const [name, variable] of variables) {
    values.push([variable, restored(name, await file.read(name), variable)]);
  }
  for (const [variable, value] of values) variable.value = value;
  return info;
}

/** The info that a checkpoint was saved with. @throws DataError for a file that is no checkpoint */
export async function checkpointInfo(path: string): Promise<CheckpointInfo> {
  await using file = await openSafetensors(path);
  return infoOf(path, file);
}

function infoOf(path: string, { header: { metadata } }: SafetensorsFile): CheckpointInfo {
  if (metadata?.["format"] !== FORMAT) {
    throw new DataError("loadCheckpoint", `${path} is not a checkpoint`, {
      expected: `format "${FORMAT}"`,
      got: metadata?.["format"] === undefined ? "no format" : `"${metadata["format"]}"`,
    });
  }
  return JSON.parse(metadata["info"] ?? "{}") as CheckpointInfo;
}

function restored(name: string, stored: StoredTensor, like: Variable): Tensor {
  const { dtype, shape, current } = like;
  if (stored.dtype !== STORED[dtype]) {
    throw new ConfigError("loadCheckpoint", `"${name}" has another dtype`, {
      expected: STORED[dtype],
      got: stored.dtype,
    });
  }
  if (stored.shape.length !== shape.length || stored.shape.some((n, i) => n !== shape[i])) {
    throw new ShapeError("loadCheckpoint", `"${name}" has another shape`, {
      expected: `[${shape.join(", ")}]`,
      got: `[${stored.shape.join(", ")}]`,
    });
  }
  // The same dtype is stored in the same typed array.
  const data = DTYPES[dtype].array(stored.data.length);
  data.set(stored.data as ArrayLike<number>);
  return tensor(data, shape, { dtype, device: current.device });
}
