import { ConfigError } from "@everlong/core";
import { ABSTAIN } from "../votes/votes.ts";

/** What a labelling function answers: a class 0..K-1, or {@link ABSTAIN}. */
export type Vote = number;

/**
 * A labelling function: a rule that votes on some records and abstains on the rest.
 * `version` belongs to the cache key: raise it when the rule changes but its name does not.
 */
export interface LabelingFunction<Row> {
  readonly name: string;
  readonly version?: string;
  /** Returns or promises a class, or ABSTAIN. May throw: the row then counts as an abstention and is reported. */
  readonly vote: (row: Row) => Vote | Promise<Vote>;
}

/**
 * Names a rule.
 * @example const greets = labelingFunction("greets", (mail: Mail) => (/^hi\b/.test(mail.text) ? HAM : ABSTAIN));
 */
export function labelingFunction<Row>(
  name: string,
  vote: LabelingFunction<Row>["vote"],
  version?: string,
): LabelingFunction<Row> {
  if (name.trim() === "") throw new ConfigError("labeling-function", "a labelling function needs a name");
  return version === undefined ? { name, vote } : { name, vote, version };
}

/** Where a ready-made rule finds its text, and what it votes. */
export interface TextRule<Row> {
  readonly name: string;
  /** The class when the rule matches. */
  readonly label: Vote;
  readonly text: (row: Row) => string;
}

/** Votes when the lower-cased text contains one of the words as a substring (so `song` also matches `songs`). */
export function keywordFunction<Row>(
  rule: TextRule<Row> & { readonly words: readonly string[] },
): LabelingFunction<Row> {
  if (rule.words.length === 0)
    throw new ConfigError("labeling-function", `"${rule.name}" has no words to look for`);
  const words = rule.words.map((w) => w.toLowerCase());
  return labelingFunction(
    rule.name,
    (row) => {
      const text = rule.text(row).toLowerCase();
      return words.some((w) => text.includes(w)) ? rule.label : ABSTAIN;
    },
    `keyword:${rule.label}:${words.join("|")}`,
  );
}

/** Votes when the pattern is found. A sticky or global pattern is rejected: it would remember where it stopped. */
export function patternFunction<Row>(
  rule: TextRule<Row> & { readonly pattern: RegExp },
): LabelingFunction<Row> {
  if (rule.pattern.global || rule.pattern.sticky)
    throw new ConfigError("labeling-function", `"${rule.name}" has a stateful pattern`, {
      expected: "a pattern without the flags g and y",
      got: `/${rule.pattern.source}/${rule.pattern.flags}`,
    });
  return labelingFunction(
    rule.name,
    (row) => (rule.pattern.test(rule.text(row)) ? rule.label : ABSTAIN),
    `pattern:${rule.label}:${rule.pattern.source}:${rule.pattern.flags}`,
  );
}

/** Votes when a key of the record stands in a table (a gazetteer, a block list, a knowledge base). */
export function lookupFunction<Row, Key>(rule: {
  readonly name: string;
  readonly keys: (row: Row) => Iterable<Key>;
  readonly table: ReadonlyMap<Key, Vote>;
  readonly version?: string;
}): LabelingFunction<Row> {
  return labelingFunction(
    rule.name,
    (row) => {
      for (const key of rule.keys(row)) {
        const vote = rule.table.get(key);
        if (vote !== undefined) return vote;
      }
      return ABSTAIN;
    },
    rule.version ?? `lookup:${rule.table.size}`,
  );
}

/** Votes `above` when a model's score reaches `high`, `below` when it does not exceed `low`; between them it abstains. */
export function scoreFunction<Row>(rule: {
  readonly name: string;
  readonly score: (row: Row) => number | Promise<number>;
  readonly high?: number;
  readonly low?: number;
  readonly above?: Vote;
  readonly below?: Vote;
  readonly version?: string;
}): LabelingFunction<Row> {
  const { high = Infinity, low = -Infinity, above = ABSTAIN, below = ABSTAIN } = rule;
  return labelingFunction(
    rule.name,
    async (row) => {
      const value = await rule.score(row);
      if (Number.isNaN(value)) throw new ConfigError(rule.name, "the score is not a number", { got: "NaN" });
      if (value >= high) return above;
      return value <= low ? below : ABSTAIN;
    },
    rule.version ?? `score:${low}:${high}:${below}:${above}`,
  );
}
