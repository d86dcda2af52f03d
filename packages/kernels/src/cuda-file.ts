// Kernel sources that are files of their own (`<op>/kernel.cu`), read at first use. They lie in `src`, which is published beside
// the compiled modules.

import { readFileSync } from "node:fs";

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
