// Every error a user can meet. Message form: `[op] what is wrong: expected X, got Y. Hint.`

/** Typed facts carried by an {@link EverlongError}, for programs that handle it. */
export interface ErrorFacts {
  /** What the operation needed. */
  readonly expected?: string;
  /** What it was given. */
  readonly got?: string;
  /** What the user can do about it; a full sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** Base of every error thrown by Everlong. */
export class EverlongError extends Error {
  /** The operation, command or file that failed. */
  readonly op: string;
  readonly expected: string | undefined;
  readonly got: string | undefined;
  readonly hint: string | undefined;

  constructor(op: string, what: string, facts: ErrorFacts = {}) {
    const { expected, got, hint } = facts;
    const parts = [expected && `expected ${expected}`, got && `got ${got}`].filter(Boolean);
    const detail = parts.length > 0 ? `: ${parts.join(", ")}` : "";
    super(
      `[${op}] ${what}${detail}.${hint ? ` ${hint}` : ""}`,
      facts.cause === undefined ? undefined : { cause: facts.cause },
    );
    this.name = new.target.name;
    this.op = op;
    this.expected = expected;
    this.got = got;
    this.hint = hint;
  }
}

/** Shapes that do not fit together. */
export class ShapeError extends EverlongError {}
/** A dtype an operation or device does not take. */
export class DTypeError extends EverlongError {}
/** A device that is absent, lacks an op, or is out of memory. */
export class DeviceError extends EverlongError {}
/** A wrong or unknown option. */
export class ConfigError extends EverlongError {}
/** A malformed, truncated or foreign file or record. */
export class DataError extends EverlongError {}
/** A value that should be finite and is not, or an undefined numeric result. */
export class NumericError extends EverlongError {}

/** Guards what only a bug in Everlong can break. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (!condition) throw new EverlongError("internal", message);
}

/**
 * Throws a {@link ConfigError} for keys of `options` outside `known`, naming the nearest known key.
 * Unknown options are errors everywhere in Everlong: a silently ignored one costs a day.
 */
export function checkOptions(op: string, options: object, known: readonly string[]): void {
  for (const key of Object.keys(options)) {
    if (known.includes(key)) continue;
    const near = nearest(key, known);
    throw new ConfigError(op, `unknown option "${key}"`, {
      expected: known.length > 0 ? `one of ${known.join(", ")}` : "no options",
      ...(near ? { hint: `Did you mean "${near}"?` } : {}),
    });
  }
}

/** Throws a {@link ConfigError} for a size that is no whole number of at least 1. */
export function checkSizes(op: string, sizes: Readonly<Record<string, number>>): void {
  for (const [name, size] of Object.entries(sizes)) {
    if (Number.isInteger(size) && size >= 1) continue;
    throw new ConfigError(op, `${name} has a wrong value`, {
      expected: "a whole number of at least 1",
      got: String(size),
    });
  }
}

/** The entry of `known` closest to `word` by edit distance, if it is close at all. */
export function nearest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  // of three letters, two other ones are another word
  const most = word.length <= 3 ? 1 : Math.max(2, Math.floor(word.length / 3));
  let bestDistance = most + 1;
  for (const candidate of known) {
    const d = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (d < bestDistance) [best, bestDistance] = [candidate, d];
  }
  return best;
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}
