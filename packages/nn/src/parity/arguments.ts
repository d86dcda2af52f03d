// Reading constructor arguments as cases store them: Python names, nulls for defaults.

import { ConfigError } from "@everlong/core";

export type Arguments = Readonly<Record<string, unknown>>;

const wrong = (name: string, value: unknown, expected: string): ConfigError =>
  new ConfigError("parity", `argument "${name}" cannot be used`, { expected, got: JSON.stringify(value) });

/** A number, or the default where the argument is absent or null. */
export function numberOr(args: Arguments, name: string, otherwise: number): number {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== "number") throw wrong(name, value, "a number");
  return value;
}

export function booleanOr(args: Arguments, name: string, otherwise: boolean): boolean {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== "boolean") throw wrong(name, value, "true or false");
  return value;
}

export function stringOr(args: Arguments, name: string, otherwise: string): string {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (typeof value !== "string") throw wrong(name, value, "a string");
  return value;
}

/** The name of an activation; null is the originals' other name of none. */
export const activationOr = (args: Arguments, name: string, otherwise: string): string =>
  args[name] === null ? "identity" : stringOr(args, name, otherwise);

/** A number that must be there. */
export function required(args: Arguments, name: string): number {
  const value = args[name];
  if (typeof value !== "number") throw wrong(name, value, "a number");
  return value;
}

/** Two numbers. */
export function pairOr(
  args: Arguments,
  name: string,
  otherwise: readonly [number, number],
): readonly [number, number] {
  const value = args[name];
  if (value === undefined || value === null) return otherwise;
  if (!Array.isArray(value) || value.length !== 2) throw wrong(name, value, "two numbers");
  return [Number(value[0]), Number(value[1])];
}

/** What a case passes to the call beside its inputs, a record or Python's text of one, reduced to its numbers. */
export interface CallNumbers {
  /** Real positions of each row. */
  readonly lengths: readonly number[] | undefined;
  readonly rate: number;
}

/** @throws ConfigError `unsupported: ...` for anything but `lengths` and `rate` */
export function callNumbers(json: Arguments): CallNumbers {
  const given = json["call_kwargs"] ?? {};
  const text = typeof given === "string" ? given : JSON.stringify(given);
  const after = (name: string, value: RegExp): string | undefined =>
    new RegExp(`['"]?${name}['"]?\\s*[:=]\\s*${value.source}`).exec(text)?.[1];
  for (const [, name] of text.matchAll(/([a-z_]\w*)['"]?\s*[:=]/gi))
    if (name !== "lengths" && name !== "rate")
      throw new ConfigError("parity", `unsupported: argument "${name}" of the call`, { got: text });
  const lengths = after("lengths", /["']?([^\]]*\]|-?\d+)/);
  const rate = after("rate", /["']?([\d.e+-]+)/i);
  return {
    lengths: lengths?.match(/\d+/g)?.map(Number) ?? (lengths === undefined ? undefined : []),
    rate: rate === undefined ? 1 : Number(rate),
  };
}

/** What is known about the constructor arguments of an original class. */
export interface KnownArguments {
  /** Those that are read. */
  readonly used: readonly string[];
  /** Those that choose kernels, devices or training behaviour: any value gives the same function in evaluation. */
  readonly withoutEffect?: readonly string[];
  /** Those of which only some values are available. */
  readonly only?: Readonly<Record<string, readonly unknown[]>>;
}

/** Arguments that several classes share. */
export type SharedArguments = Required<Pick<KnownArguments, "used" | "withoutEffect">>;

/** @throws ConfigError `unsupported: ...` for an argument that would be ignored, or a value that is not available */
export function checkArguments(args: Arguments, known: KnownArguments, inside = ""): void {
  const { used, withoutEffect = [], only = {} } = known;
  const path = (name: string): string => (inside === "" ? name : `${inside}.${name}`);
  for (const [name, value] of Object.entries(args)) {
    if (used.includes(name) || withoutEffect.includes(name)) continue;
    const allowed = only[name];
    if (!allowed) {
      throw new ConfigError("parity", `unsupported: argument "${path(name)}"`, {
        got: JSON.stringify(value),
      });
    }
    if (value === null || allowed.includes(value)) continue;
    throw new ConfigError("parity", `unsupported: argument "${path(name)}"`, {
      expected: allowed.map((v) => JSON.stringify(v)).join(" or "),
      got: JSON.stringify(value),
    });
  }
}
