import { createHash } from "node:crypto";
import { readFile, readdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DataError } from "@everlong/core";
import { makeFolder } from "@everlong/data";
import type { LabelingFunction, Vote } from "./labeling-function.ts";

/** Remembers votes by function name, function version and record. */
export interface VoteCache<Row> {
  get(fn: LabelingFunction<Row>, row: Row): Vote | undefined;
  set(fn: LabelingFunction<Row>, row: Row, vote: Vote): void;
  /** Writes what is new. */
  flush(): Promise<void>;
}

/**
 * Votes in a folder, one JSON file per function and version. Without a `version`, the source text of the function stands for it, so editing
 * a rule forgets its votes; a rule that depends on variables around it needs an explicit version.
 * @param key what identifies a record; default its JSON text
 */
export async function openVoteCache<Row>(
  folder: string,
  key: (row: Row) => string = (row) => JSON.stringify(row),
): Promise<VoteCache<Row>> {
  makeFolder(folder);
  const files = new Map<string, { votes: Map<string, Vote>; dirty: boolean }>();
  const hash = (text: string): string => createHash("sha256").update(text).digest("base64url").slice(0, 22);
  const keys = new WeakMap<object, string>();
  const rowKey = (row: Row): string => {
    if (typeof row !== "object" || row === null) return hash(key(row));
    let known = keys.get(row);
    if (known === undefined) keys.set(row, (known = hash(key(row))));
    return known;
  };
  const paths = new WeakMap<LabelingFunction<Row>, string>();
  const path = (fn: LabelingFunction<Row>): string => {
    let known = paths.get(fn);
    if (known === undefined) {
      const version = fn.version ?? fn.vote.toString();
      const readable = fn.name.replaceAll(/[^\w-]+/g, "_").slice(0, 40);
      known = join(folder, `${readable}-${hash(`${fn.name}\n${version}`)}.json`);
      paths.set(fn, known);
    }
    return known;
  };
  const read = async (file: string): Promise<Map<string, Vote>> => {
    try {
      return new Map(Object.entries(JSON.parse(await readFile(file, "utf8")) as Record<string, Vote>));
    } catch (problem) {
      throw new DataError("vote-cache", `cannot read ${file}`, {
        expected: "the JSON that Everlong wrote",
        hint: "Delete the file: its votes will be computed again.",
        cause: problem,
      });
    }
  };
  for (const file of await readdir(folder))
    if (file.endsWith(".json"))
      files.set(join(folder, file), { votes: await read(join(folder, file)), dirty: false });
  return {
    get: (fn, row) => files.get(path(fn))?.votes.get(rowKey(row)),
    set: (fn, row, vote) => {
      const file = path(fn);
      let entry = files.get(file);
      if (!entry) files.set(file, (entry = { votes: new Map(), dirty: true }));
      entry.votes.set(rowKey(row), vote);
      entry.dirty = true;
    },
    flush: async () => {
      for (const [file, entry] of files) {
        if (!entry.dirty) continue;
        const draft = `${file}.part`;
        await writeFile(draft, JSON.stringify(Object.fromEntries(entry.votes)));
        await rename(draft, file);
        entry.dirty = false;
      }
    },
  };
}
