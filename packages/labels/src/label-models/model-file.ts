import { DataError } from "@everlong/core";
import type { Votes } from "../votes/votes.ts";
import type { LabelModel, ModelState } from "./label-model.ts";
import { createLabelModel } from "./registry.ts";

/** A fitted label model as it stands in a file. */
export interface ModelFile {
  readonly format: "everlong-label-model/1";
  readonly model: string;
  readonly options: object;
  readonly classes: number;
  readonly functions: readonly string[];
  readonly state: ModelState;
}

/** JSON text of a fitted model with the names of its functions. */
export function writeModel(name: string, options: object, model: LabelModel, votes: Votes): string {
  const file: ModelFile = {
    format: "everlong-label-model/1",
    model: name,
    options,
    classes: votes.classes,
    functions: votes.names,
    state: model.state(),
  };
  return `${JSON.stringify(file)}\n`;
}

/** Reads a model. @throws DataError for foreign files. */
export function readModel(text: string, file = "model"): ModelFile & { readonly fitted: LabelModel } {
  let parsed: Partial<ModelFile>;
  try {
    parsed = JSON.parse(text) as Partial<ModelFile>;
  } catch (problem) {
    throw new DataError(file, "this is no JSON", { cause: problem });
  }
  if (parsed.format !== "everlong-label-model/1" || !parsed.model || !parsed.state)
    throw new DataError(file, "this is no label model", {
      expected: 'format "everlong-label-model/1"',
      got: String(parsed.format),
    });
  const whole = parsed as ModelFile;
  return { ...whole, fitted: createLabelModel(whole.model, whole.options).restore(whole.state) };
}

/** @throws DataError when votes come from other functions than the model's. */
export function requireSameFunctions(model: ModelFile, votes: Votes, file = "votes"): void {
  if (votes.functions !== model.functions.length || votes.classes > model.classes)
    throw new DataError(file, "the votes do not fit the model", {
      expected: `${model.functions.length} functions and ${model.classes} classes`,
      got: `${votes.functions} and ${votes.classes}`,
    });
}
