// The command line that gives certain values, for pages that say how they were made.

import { kebab, type Field, type FieldValues } from "./fields.ts";

/** A word as a shell reads it. */
function quoted(word: string): string {
  if (/^[\w@%+=:,./-]+$/.test(word)) return word;
  return /["$`\\!]/.test(word) ? `'${word.replaceAll("'", `'\\''`)}'` : `"${word}"`;
}

/** Flags and words of one option; none for a value that is not given. */
export function optionWords(name: string, value: unknown): string[] {
  if (value === undefined) return [];
  if (typeof value === "boolean") return [`--${value ? "" : "no-"}${kebab(name)}`];
  return [`--${kebab(name)}`, ...[value].flat().map(String)];
}

/** Flags and words of the values that are no defaults, and of the fields in `always`. */
export function fieldWords(
  fields: readonly Field[],
  values: FieldValues,
  { always = [], never = [] }: { readonly always?: readonly string[]; readonly never?: readonly string[] },
): string[] {
  const same = (f: Field): boolean => JSON.stringify(values[f.name]) === JSON.stringify(f.default);
  return fields
    .filter((f) => always.includes(f.name) || !(never.includes(f.name) || same(f)))
    .flatMap((f) => optionWords(f.name, values[f.name]));
}

/** `everlong mad ...` with these words, on the device of the environment. */
export function commandLine(
  words: readonly string[],
  { device = "cpu" }: Readonly<Record<string, string>>,
): string {
  const name = /^(cuda|reference)/.exec(device)?.[0];
  return ["everlong", ...(name ? ["--device", name] : []), "mad", ...words.map(quoted)].join(" ");
}
