// A parity case on disk: `<case>.json` with constructor arguments and tolerances, `<case>.safetensors` with numbers.

import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { ConfigError, DataError } from "@everlong/core";
import { parseSafetensors, type StoredTensor } from "@everlong/data";

/** Binding tolerances: relative L2 per tensor; null = not compared. */
export interface Tolerances {
  readonly f32?: Readonly<Record<string, Tolerance>>;
  readonly f64?: Readonly<Record<string, Tolerance>>;
  /** For results that stand in the JSON itself. */
  readonly json?: number | null;
}
export type Tolerance = number | "exact" | null;

export interface ParityCase {
  readonly name: string;
  /** Class or function of the original, as the case names it. */
  readonly cls: string;
  readonly args: Readonly<Record<string, unknown>>;
  readonly json: Readonly<Record<string, unknown>>;
  readonly tol: Tolerances;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

/** Turns `hyena_*` into a test of names; several globs are separated by commas. */
export function globFilter(glob: string): (name: string) => boolean {
  const patterns = glob.split(",").map((g) => {
    const source = g.trim().replaceAll(/[.+^${}()|[\]\\]/g, String.raw`\$&`);
    return new RegExp(`^${source.replaceAll("*", ".*").replaceAll("?", ".")}$`);
  });
  return (name) => patterns.some((p) => p.test(name));
}

/** Names of the cases in a folder, sorted. */
export async function caseNames(folder: string, only: string): Promise<string[]> {
  let files: string[];
  try {
    files = await readdir(folder);
  } catch (cause) {
    throw new DataError("parity", `cannot read folder ${folder}`, { expected: "a folder of cases", cause });
  }
  const keep = globFilter(only);
  const names = files
    .filter((f) => f.endsWith(".json"))
    .map((f) => f.slice(0, -".json".length))
    .filter(keep)
    .sort();
  if (names.length === 0) {
    throw new ConfigError("parity", "no case matches", { got: `--only "${only}" in ${folder}` });
  }
  return names;
}

/** Reads one case. A case without tensors has an empty map. */
export async function loadCase(folder: string, name: string): Promise<ParityCase> {
  const path = join(folder, `${name}.json`);
  let json: Record<string, unknown>;
  try {
    json = JSON.parse(await readFile(path, "utf8")) as Record<string, unknown>;
  } catch (cause) {
    throw new DataError("parity", `${path} is not a JSON document`, { cause });
  }
  const bytes = await readFile(join(folder, `${name}.safetensors`)).catch(() => undefined);
  const tensors = bytes
    ? parseSafetensors(bytes, `${name}.safetensors`).all()
    : new Map<string, StoredTensor>();
  const { cls, args, tol } = json;
  return {
    name,
    cls: typeof cls === "string" ? cls : "",
    args: (args ?? {}) as Record<string, unknown>,
    json,
    tol: (tol ?? {}) as Tolerances,
    tensors,
  };
}
