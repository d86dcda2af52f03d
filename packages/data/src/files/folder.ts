// Folders that are made one by one: Node's recursive mkdir never returns below /proc, and on a read-only disk it names the
// wrong reason (Node 24.21). Node's modules are loaded on first use, so that browser bundles can import this package.

import { DataError } from "@everlong/core";

/** Makes a folder with those above it; one that is there already stays as it is (Node only). @throws DataError with the system's reason */
export function makeFolder(path: string): void {
  const { mkdirSync } = process.getBuiltinModule("node:fs");
  const { dirname, resolve } = process.getBuiltinModule("node:path");
  const missing: string[] = [];
  for (let at = resolve(path); !isFolder(at) && at !== dirname(at); at = dirname(at)) missing.unshift(at);
  for (const folder of missing) {
    try {
      mkdirSync(folder);
    } catch (cause) {
      // another process may have been first
      if (isFolder(folder)) continue;
      throw new DataError(path, "cannot make folder", { got: (cause as Error).message, cause });
    }
  }
}

function isFolder(path: string): boolean {
  try {
    return process.getBuiltinModule("node:fs").statSync(path).isDirectory();
  } catch {
    return false;
  }
}
