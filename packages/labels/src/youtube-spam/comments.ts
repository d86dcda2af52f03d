import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { DataError } from "@everlong/core";
import type { LabelingFunction } from "../functions/labeling-function.ts";
import { keywordFunction, labelingFunction, patternFunction } from "../functions/labeling-function.ts";
import { ABSTAIN, Votes } from "../votes/votes.ts";

/** A YouTube comment. */
export interface Comment {
  readonly text: string;
}

/** One split of the YouTube Spam Collection as Epoxy published it. */
export interface CommentSplit {
  readonly rows: readonly Comment[];
  /** 1 = spam; empty for the training split. */
  readonly labels: Int16Array;
  /** Votes of the ten published functions; absent for `valid`. */
  readonly votes: Votes | undefined;
}

const HAM = 0;
const SPAM = 1;
const text = (row: Comment): string => row.text;

/** The seven published labelling functions that read the text alone (the other three need language models of their time). */
export const commentFunctions: readonly LabelingFunction<Comment>[] = [
  keywordFunction({ name: "my", label: SPAM, text, words: ["my"] }),
  keywordFunction({ name: "subscribe", label: SPAM, text, words: ["subscribe"] }),
  keywordFunction({ name: "link", label: SPAM, text, words: ["http"] }),
  keywordFunction({ name: "please", label: SPAM, text, words: ["please", "plz"] }),
  keywordFunction({ name: "song", label: HAM, text, words: ["song"] }),
  patternFunction({ name: "check_out", label: SPAM, text, pattern: /check.*out/i }),
  labelingFunction(
    "short",
    // a byte order mark is a letter here, as it was for the published votes
    (row) => (row.text.split(/[^\S\uFEFF]+/).filter((word) => word !== "").length < 5 ? HAM : ABSTAIN),
    "fewer than 5 words",
  ),
];

/** The names of all ten published functions, in the order of their columns. */
export const publishedFunctionNames: readonly string[] = [
  ...commentFunctions.map((fn) => fn.name),
  "person",
  "polarity",
  "subjectivity",
];

/** Reads a split that ships with this package: 1,586 unlabelled comments, 100 dev and 250 test ones. */
export async function readComments(split: "train" | "valid" | "test"): Promise<CommentSplit> {
  const file = fileURLToPath(new URL(`../../fixtures/youtube-spam/${split}.jsonl`, import.meta.url));
  const lines = (await readFile(file, "utf8")).trim().split("\n");
  const parsed = lines.map((line) => JSON.parse(line) as { text: string; label?: number; votes?: number[] });
  const first = parsed[0];
  if (!first) throw new DataError(file, "the file is empty");
  return {
    rows: parsed.map((row) => ({ text: row.text })),
    labels: Int16Array.from(parsed.flatMap((row) => (row.label === undefined ? [] : [row.label]))),
    votes: first.votes
      ? Votes.fromSigned(
          parsed.flatMap((row) => row.votes!),
          [parsed.length, first.votes.length],
          publishedFunctionNames,
        )
      : undefined,
  };
}
