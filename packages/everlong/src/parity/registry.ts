// Everything that can repeat a case of an original system, collected from the packages.

import { parity as labelCases } from "@everlong/labels";
import { parity as lifelongCases } from "@everlong/lifelong";
import { parity as madCases, parityModules as madModules } from "@everlong/mad";
import { parityModules as nnModules, type ParityModules } from "@everlong/nn";
import type { ParityCase } from "./case.ts";
import { hippoCase } from "./hippo-case.ts";
import type { Result } from "./compare.ts";

/** Results of a case that needs no device: tensors by full name, and parts of its document. */
export interface DataResult {
  readonly tensors: ReadonlyMap<string, Result>;
  readonly json?: unknown;
}
type DataRun = (c: ParityCase) => DataResult | ReadonlyMap<string, Result>;

const dataCases = {
  ...madCases,
  ...labelCases,
  ...lifelongCases,
  "models.s4.s4.transition": hippoCase,
} as unknown as Readonly<Record<string, DataRun>>;
const modules: ParityModules = { ...nnModules, ...madModules };

/** A case's class as registries name it: whole, or up to its first space. */
function find<T>(registry: Readonly<Record<string, T>>, cls: string): T | undefined {
  return registry[cls] ?? registry[cls.split(" ")[0]!];
}

export function dataRun(cls: string): ((c: ParityCase) => DataResult) | undefined {
  const run = find(dataCases, cls);
  if (!run) return undefined;
  return (c) => {
    const result = run(c);
    return result instanceof Map ? { tensors: result } : (result as DataResult);
  };
}

export const moduleBuilder = (cls: string): ParityModules[string] | undefined => find(modules, cls);
