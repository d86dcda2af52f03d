import { ConfigError } from "@everlong/core";
import type { CurriculumEntry } from "./curriculum.ts";
import { DEMO_CURRICULUM } from "./demo.ts";
import { TELLA_CURRICULA } from "./m21.ts";

const entries: CurriculumEntry[] = [...TELLA_CURRICULA, DEMO_CURRICULUM];

/** Every registered curriculum. */
export function curricula(): readonly CurriculumEntry[] {
  return entries;
}

/** Adds a curriculum. @throws ConfigError if another one has its name */
export function registerCurriculum(entry: CurriculumEntry): void {
  const known = entries.find(({ name }) => name === entry.name);
  if (known === entry) return;
  if (known !== undefined) throw new ConfigError("curricula", `"${entry.name}" is already registered`);
  entries.push(entry);
}
