// The engine: its name, and V8's 256-bit revectorizer.

import { testPairing } from "@everlong/wasm";

const FLAG = "--experimental-wasm-revectorize";

/** Sets V8's flag where that is possible, and says whether pairs of vectors then run faster and give the same bits. */
export function tryWide(): boolean {
  if (typeof process !== "undefined" && process.getBuiltinModule) {
    try {
      process.getBuiltinModule("node:v8").setFlagsFromString(FLAG);
    } catch {
      return false;
    }
  }
  // In a browser only its command line sets the flag; the test finds out.
  return testPairing().paired;
}

export function engineName(): string {
  if (typeof process !== "undefined" && process.versions)
    return `node ${process.versions.node}, v8 ${process.versions.v8}`;
  return typeof navigator === "undefined" ? "unknown" : navigator.userAgent;
}
