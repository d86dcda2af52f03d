// What several subcommands read from their flags.

import { accessSync, constants, existsSync, statSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { InvalidArgumentError, Option } from "commander";
import { ConfigError } from "@everlong/core";
import { labelModels } from "../label-models/registry.ts";
import type { VoteNotation } from "../votes/vote-files.ts";

/** A list of numbers, separated by commas. */
export function numberList(text: string): number[] {
  const list = text.split(",").map((part) => Number(part.trim()));
  if (list.some((x) => Number.isNaN(x)))
    throw new InvalidArgumentError(`expected numbers separated by commas, got "${text}"`);
  return list;
}

/** A whole number of at least 1. */
export function positiveInteger(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1)
    throw new InvalidArgumentError(`expected a whole number of at least 1, got "${text}"`);
  return value;
}

/** A file that can be written: checked before the work, not after it. */
export function outputFile(text: string): string {
  const file = resolve(text);
  const folder = dirname(file);
  if (!existsSync(folder)) throw new InvalidArgumentError(`there is no folder ${folder}`);
  const taken = existsSync(file);
  if (taken && !statSync(file).isFile()) throw new InvalidArgumentError(`${file} is not a file`);
  try {
    accessSync(taken ? file : folder, constants.W_OK);
  } catch {
    throw new InvalidArgumentError(`${file} cannot be written`);
  }
  return text;
}

/** `--signed`: votes are written -1, 0, +1. */
export const signedOption = (): Option =>
  new Option("--signed", "votes are written -1, 0 (abstain), +1 instead of classes from 0 with -1");

/** `--model NAME`, from the registry. */
export const modelOption = (): Option =>
  new Option(
    "--model <name>",
    `label model: ${labelModels.map((m) => `${m.name} (${m.about})`).join("; ")}`,
  ).default("flyingsquid");

/** `--model-options JSON`. */
export const modelOptionsOption = (): Option =>
  new Option("--model-options <json>", 'options of the model, for example {"solve":"mean"}')
    .default({})
    .argParser(jsonObject);

/** `--class-balance a,b`. */
export const balanceOption = (): Option =>
  new Option("--class-balance <list>", "P(Y) of every class, for example 0.6,0.4").argParser(numberList);

/** The notation of a command's votes. */
export const notation = (signed: boolean | undefined): VoteNotation => (signed ? "signed" : "classes");

function jsonObject(text: string): object {
  try {
    const parsed = JSON.parse(text) as unknown;
    if (typeof parsed === "object" && parsed !== null) return parsed;
  } catch {
    // told below
  }
  throw new ConfigError("label", "model options must be a JSON object", { got: text });
}
