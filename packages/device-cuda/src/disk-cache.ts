// Compiled kernels on disk. Several processes may share the folder: files appear whole, by rename, and carry a digest.

import { createHash, randomBytes } from "node:crypto";
import { lstatSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { homeFolder } from "./home-folder.ts";

const DIGEST_BYTES = 32;

const digest = (bytes: Uint8Array | string): Buffer => createHash("sha256").update(bytes).digest();

/** The folder for compiled kernels: `EVERLONG_CACHE`, else below the user's cache folder; users without a home share that for temporary files. */
export function cacheFolder(environment: NodeJS.ProcessEnv = process.env): string {
  const own = environment["EVERLONG_CACHE"];
  if (own) return join(own, "cuda");
  const home = homeFolder();
  const shared = join(tmpdir(), `everlong-${process.getuid?.() ?? "user"}`);
  return join(environment["XDG_CACHE_HOME"] || (home ? join(home, ".cache") : shared), "everlong", "cuda");
}

function ownerOf(path: string): number | undefined {
  try {
    const found = lstatSync(path);
    return found.isSymbolicLink() ? -1 : found.uid;
  } catch {
    return undefined;
  }
}

/** Whether others could have put files into a folder for temporary files: machine code that they wrote would run. */
function isForeign(folder: string): boolean {
  const top = join(tmpdir(), "everlong-");
  for (let path = folder; path.startsWith(top); path = dirname(path)) {
    const owner = ownerOf(path);
    if (owner !== undefined && owner !== process.getuid?.()) return true;
  }
  return false;
}

/** One by one: Node's recursive mkdir does not return where the system makes no folders (/proc). */
function makeFolders(path: string): void {
  try {
    mkdirSync(path);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "EEXIST") return;
    if (code !== "ENOENT" || dirname(path) === path) throw error;
    makeFolders(dirname(path));
    mkdirSync(path);
  }
}

function discard(path: string): void {
  try {
    rmSync(path);
  } catch {
    // It was never there, or nobody may remove it.
  }
}

export class DiskCache {
  private readonly folder: string;
  private readonly foreign: boolean;
  private usable = true;

  constructor(folder: string = cacheFolder()) {
    this.folder = folder;
    this.foreign = isForeign(folder);
    if (this.foreign) this.giveUp("it belongs to another user");
  }

  private giveUp(why: string): void {
    this.usable = false;
    console.warn(
      `[cuda] compiled kernels cannot be kept in ${this.folder} (${why}): every process compiles them anew. EVERLONG_CACHE names another folder.`,
    );
  }

  private path(key: string): string {
    return join(this.folder, `${digest(key).toString("hex").slice(0, 40)}.cubin`);
  }

  /** The image stored under `key`; undefined when there is none or it is damaged. */
  read(key: string): Uint8Array | undefined {
    if (this.foreign) return undefined;
    try {
      const bytes = readFileSync(this.path(key));
      const image = bytes.subarray(0, bytes.length - DIGEST_BYTES);
      return digest(image).equals(bytes.subarray(bytes.length - DIGEST_BYTES)) ? image : undefined;
    } catch {
      return undefined;
    }
  }

  /** Stores an image; a folder that cannot be written only costs time, which is said once. */
  write(key: string, image: Uint8Array): void {
    if (!this.usable) return;
    const path = this.path(key);
    const own = `${path}.${process.pid}.${randomBytes(4).toString("hex")}`;
    try {
      makeFolders(this.folder);
      writeFileSync(own, Buffer.concat([image, digest(image)]));
      renameSync(own, path);
    } catch (error) {
      discard(own);
      this.giveUp((error as Error).message);
    }
  }
}
