import { ConfigError, nearest } from "@everlong/core";
import type { z } from "zod";

/**
 * Checks a value read from a file.
 *
 * @param op what the value is, for messages: a file name
 * @throws ConfigError with the place, what is expected there and, for an unknown key, the nearest known one
 */
export function parseStrict<T>(op: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const issue = deepest(result.error.issues);
  const place = issue.path.length > 0 ? issue.path.map(String).join(" > ") : "the document";
  if (issue.code === "unrecognized_keys") {
    const key = issue.keys[0]!;
    const known = knownKeys(schema, issue.path);
    const near = nearest(key, known);
    throw new ConfigError(op, `unknown key "${key}" in ${place}`, {
      ...(known.length > 0 ? { expected: known.join(", ") } : {}),
      ...(near === undefined ? {} : { hint: `Did you mean "${near}"?` }),
    });
  }
  throw new ConfigError(op, `${place} is wrong`, {
    expected: expectation(issue),
    got: shorten(at(value, issue.path)),
  });
}

type Issue = z.core.$ZodIssue;

// a union fails with one list of issues per member: the one that got furthest says what is meant
function deepest(issues: readonly Issue[]): Issue {
  let best = issues[0]!;
  if (best.code === "invalid_union") {
    const members = best.errors
      .filter((list) => list.length > 0)
      .map((list) => deepest(list))
      .sort((a, b) => b.path.length - a.path.length);
    const inner = members[0];
    if (inner !== undefined && inner.path.length > 0) {
      best = { ...inner, path: [...best.path, ...inner.path] };
    }
  }
  return best;
}

function expectation(issue: Issue): string {
  switch (issue.code) {
    case "invalid_type":
      return issue.expected === "int"
        ? "an integer"
        : `${/^[aeiou]/.test(issue.expected) ? "an" : "a"} ${issue.expected}`;
    case "invalid_value":
      return `one of ${issue.values.map(String).join(", ")}`;
    case "too_small":
      return `at least ${issue.minimum}`;
    case "too_big":
      return `at most ${issue.maximum}`;
    default:
      return issue.message;
  }
}

function at(value: unknown, path: readonly PropertyKey[]): unknown {
  let here = value;
  for (const key of path) here = (here as Record<PropertyKey, unknown> | undefined)?.[key];
  return here;
}

function knownKeys(schema: unknown, path: readonly PropertyKey[]): string[] {
  let here = schema as
    | { def?: Record<string, unknown>; shape?: Record<string, unknown>; element?: unknown }
    | undefined;
  const unwrap = (): void => {
    while (here?.def !== undefined && "innerType" in here.def) here = here.def["innerType"] as typeof here;
  };
  for (const key of path) {
    unwrap();
    here = (typeof key === "number" ? here?.element : here?.shape?.[String(key)]) as typeof here;
  }
  unwrap();
  return Object.keys(here?.shape ?? {});
}

function shorten(value: unknown): string {
  const text = JSON.stringify(value) ?? "nothing";
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
