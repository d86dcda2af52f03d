// Everything that can repeat a case of an original system, collected from the packages.

import type { ParityRun } from "@everlong/data";
import { parity as labelCases } from "@everlong/labels";
import { parity as lifelongCases } from "@everlong/lifelong";
import { parity as madCases, parityModules as madModules } from "@everlong/mad";
import { parityModules as nnModules, type ParityModules } from "@everlong/nn";
import { hippoCase } from "./hippo-case.ts";

const dataCases: Readonly<Record<string, ParityRun>> = {
  ...madCases,
  ...labelCases,
  ...lifelongCases,
  "models.s4.s4.transition": hippoCase,
};
const modules: ParityModules = { ...nnModules, ...madModules };

/** A case's class as registries name it: whole, or up to its first space. */
function find<T>(registry: Readonly<Record<string, T>>, cls: string): T | undefined {
  return registry[cls] ?? registry[cls.split(" ")[0]!];
}

export const dataRun = (cls: string): ParityRun | undefined => find(dataCases, cls);

export const moduleBuilder = (cls: string): ParityModules[string] | undefined => find(modules, cls);
