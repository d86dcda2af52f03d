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
