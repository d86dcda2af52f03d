// Small files that appear complete or not at all. Node's modules are loaded on first use, so that browser bundles can import
// this package.

import { DataError } from "@everlong/core";
import { makeFolder } from "./folder.ts";

/**
 * Writes a file that appears under its name only when it is complete, in a folder that is made if need be (Node only). What
 * is no regular file, as `/dev/stdout`, is written straight.
 *
 * @throws DataError when the disk does not take it; what stood there before is kept
 */
export function writeWhole(path: string, content: string | Uint8Array): void {
  const fs = process.getBuiltinModule("node:fs");
  makeFolder(process.getBuiltinModule("node:path").dirname(path));
  let draft: string | undefined;
  try {
    const target = targetOf(path);
    if (target === undefined) {
      fs.writeFileSync(path, content);
      return;
    }
    draft = `${target}.${process.pid}.${crypto.randomUUID().slice(0, 8)}.tmp`;
    const file = fs.openSync(draft, "wx");
    try {
      fs.writeFileSync(file, content);
      fs.fsyncSync(file);
    } finally {
      fs.closeSync(file);
    }
    fs.renameSync(draft, target);
  } catch (cause) {
    if (draft !== undefined) fs.rmSync(draft, { force: true });
    const { code, message } = cause as NodeJS.ErrnoException;
    throw new DataError(path, "cannot write file", {
      got: message,
      ...(code === "ENOSPC" ? { hint: "The disk is full; nothing that was there is lost." } : {}),
      cause,
    });
  }
}

/** The file behind links; undefined for what is there and is no regular file. */
function targetOf(path: string): string | undefined {
  const { realpathSync, statSync } = process.getBuiltinModule("node:fs");
  const there = statSync(path, { throwIfNoEntry: false });
  if (!there) return path;
  if (there.isDirectory()) throw new Error(`${path} is a folder`);
  return there.isFile() ? realpathSync(path) : undefined;
}
