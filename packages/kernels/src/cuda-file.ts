// Kernel sources that are files of their own (`<op>/kernel.cu`), read at first use. They lie in `src`, which is published beside
// the compiled modules.

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";

const texts = new Map<string, string>();

/** The text of `src/<path>`. */
export function cudaFile(path: string): string {
  let text = texts.get(path);
  if (text === undefined) {
    text = readFileSync(new URL(`../src/${path}`, import.meta.url), "utf8");
    texts.set(path, text);
  }
  return text;
}

/** A digest of all sources that are files: what was compiled when it was another is of another version. */
export function cudaFilesDigest(): string {
  const hash = createHash("sha256");
  const paths = readdirSync(new URL("../src/", import.meta.url), { recursive: true, encoding: "utf8" });
  for (const path of paths.filter((p) => p.endsWith(".cu")).toSorted())
    hash.update(`${path}\n${cudaFile(path)}\n`);
  return hash.digest("hex").slice(0, 32);
}
