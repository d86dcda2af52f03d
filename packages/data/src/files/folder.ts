// Folders that are made one by one: Node's recursive mkdir never returns below /proc, and on a read-only disk it names the
// wrong reason (Node 24.21). Node's modules are loaded on first use, so that browser bundles can import this package.

import { DataError } from "@everlong/core";

/** Makes a folder with those above it; one that is there already stays as it is (Node only). @throws DataError with the system's reason */
export function makeFolder(folder: string): void {
  const { mkdirSync } = process.getBuiltinModule("node:fs");
  const path = process.getBuiltinModule("node:path");
  const missing: string[] = [];
  for (let at = path.resolve(folder); !isFolder(at) && at !== path.dirname(at); at = path.dirname(at))
    missing.unshift(at);
  for (const next of missing) {
    try {
      mkdirSync(next);
    } catch (cause) {
      // another process may have been first
      if (isFolder(next)) continue;
      throw new DataError(folder, "cannot make folder", { got: (cause as Error).message, cause });
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
