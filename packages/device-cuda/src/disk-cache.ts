// Compiled kernels on disk. Several processes may share the folder: files appear whole, by rename, and carry a digest.

import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const DIGEST_BYTES = 32;

const digest = (bytes: Uint8Array | string): Buffer => createHash("sha256").update(bytes).digest();

/** The folder for compiled kernels: `EVERLONG_CACHE`, else below the user's cache folder. */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const own = environment["EVERLONG_CACHE"];
  if (own) return join(own, "cuda");
  return join(environment["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "everlong", "cuda");
}

export class DiskCache {
  private readonly folder: string;
  private writable = true;

  constructor(folder: string = cacheFolder()) {
    this.folder = folder;
  }

  private path(key: string): string {
    return join(this.folder, `${digest(key).toString("hex").slice(0, 40)}.cubin`);
  }

  /** The image stored under `key`; undefined when there is none or it is damaged. */
  read(key: string): Uint8Array | undefined {
    try {
      const bytes = readFileSync(this.path(key));
      const image = bytes.subarray(0, bytes.length - DIGEST_BYTES);
      return digest(image).equals(bytes.subarray(bytes.length - DIGEST_BYTES)) ? image : undefined;
    } catch {
      return undefined;
    }
  }

  /** Stores an image; a folder that cannot be written only costs time. */
  write(key: string, image: Uint8Array): void {
    if (!this.writable) return;
    const path = this.path(key);
    const own = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
    try {
      mkdirSync(this.folder, { recursive: true });
      writeFileSync(own, Buffer.concat([image, digest(image)]));
      renameSync(own, path);
    } catch {
      this.writable = false;
      rmSync(own, { force: true });
    }
  }
}
