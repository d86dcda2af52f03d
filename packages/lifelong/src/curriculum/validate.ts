import { ConfigError } from "@everlong/core";
import { sameSpaces } from "../environments/environment.ts";
import { environmentEntry, resolveParameters } from "../environments/registry.ts";
import type { Environment } from "../environments/environment.ts";
import type { Curriculum, TaskVariant } from "./curriculum.ts";

/** What a valid curriculum shows besides being valid. */
export interface CurriculumCheck {
  /** Spaces that all its environments share. */
  readonly observationSpace: Environment["observationSpace"];
  readonly actionSpace: Environment["actionSpace"];
  readonly warnings: readonly string[];
}

/**
 * Checks that no level is empty, task blocks have one task, lengths are positive, parameters fit their environments
 * and all environments share their spaces.
 *
 * @throws ConfigError with the place
 */
export function validateCurriculum(curriculum: Curriculum): CurriculumCheck {
  const op = `curriculum ${curriculum.name}`;
  const warnings: string[] = [];
  const made = new Map<string, Environment>();
  let first: { environment: Environment; place: string } | null = null;
  const fail = (place: string, what: string, facts: { expected?: string; got?: string } = {}): never => {
    throw new ConfigError(op, place === "" ? what : `${place} ${what}`, facts);
  };
  if (curriculum.blocks.length === 0) fail("", "has no blocks");
  for (const [b, block] of curriculum.blocks.entries()) {
    if (block.taskBlocks.length === 0) fail(`block ${b + 1}`, "is empty");
    for (const [t, { task, variants }] of block.taskBlocks.entries()) {
      const where = `block ${b + 1}, task block ${t + 1}`;
      if (variants.length === 0) fail(where, "is empty");
      for (const [v, variant] of variants.entries()) {
        const place = `${where}, variant ${v + 1}`;
        if (variant.task !== task) fail(place, "is of another task", { expected: task, got: variant.task });
        if (!(Number.isInteger(variant.length.count) && variant.length.count > 0)) {
          fail(place, "has no length", { expected: "a positive integer", got: String(variant.length.count) });
        }
        const previous = variants[v - 1];
        if (previous?.variant === variant.variant && warnings.length === 0) {
          warnings.push(`${place} repeats the label ${task}_${variant.variant} of the one before`);
        }
        const environment = makeOnce(op, place, variant, made);
        first ??= { environment, place };
        if (!sameSpaces(first.environment, environment)) {
          fail(place, `has other spaces than ${first.place}`, {
            expected: spaces(first.environment),
            got: spaces(environment),
          });
        }
      }
    }
  }
  const { observationSpace, actionSpace } = first!.environment;
  return { observationSpace, actionSpace, warnings };
}

function makeOnce(
  op: string,
  place: string,
  variant: TaskVariant,
  made: Map<string, Environment>,
): Environment {
  const id = JSON.stringify([variant.environment, variant.parameters]);
  let environment = made.get(id);
  if (environment === undefined) {
    try {
      const entry = environmentEntry(variant.environment);
      environment = entry.make(resolveParameters(entry, variant.parameters));
    } catch (cause) {
      throw new ConfigError(
        op,
        `${place} has no environment: ${(cause as Error).message.replace(/\.$/, "")}`,
        { cause },
      );
    }
    made.set(id, environment);
  }
  return environment;
}

function spaces({ observationSpace, actionSpace }: Environment): string {
  return `observations ${observationSpace.dtype}[${observationSpace.shape.join(", ")}], ${actionSpace.n} actions`;
}
