// numpy's .npz: a zip archive of .npy files.

import { ConfigError, DataError, nearest } from "@everlong/core";
import { unzipSync, zipSync } from "fflate";
import { type NpyArray, parseNpy, writeNpy } from "./npy.ts";

/** Arrays of an .npz archive; each is unpacked when asked for. */
export class Npz {
  readonly #bytes: Uint8Array;
  readonly #op: string;
  readonly #files: Map<string, string>;

  constructor(bytes: Uint8Array, op = "npz") {
    this.#bytes = bytes;
    this.#op = op;
    const files: string[] = [];
    this.#unzip((file) => {
      files.push(file);
      return false;
    });
    this.#files = new Map(files.map((file) => [file.replace(/\.npy$/, ""), file]));
  }

  /** Names without ".npy", in the order of the archive. */
  get names(): string[] {
    return [...this.#files.keys()];
  }

  /** One array. @throws ConfigError for an unknown name, DataError when it is damaged or no .npy file */
  get(name: string): NpyArray {
    const file = this.#files.get(name);
    if (file === undefined) {
      const near = nearest(name, this.names);
      const hint = near === undefined ? {} : { hint: `Did you mean "${near}"?` };
      throw new ConfigError(this.#op, `no array "${name}" among ${this.#files.size}`, hint);
    }
    const found = this.#unzip((other) => other === file)[file];
    if (found === undefined) throw new DataError(this.#op, `array "${name}" cannot be unpacked`);
    return parseNpy(found, `${this.#op}: ${name}`);
  }

  #unzip(wanted: (file: string) => boolean): Record<string, Uint8Array> {
    try {
      return unzipSync(this.#bytes, { filter: (file) => wanted(file.name) });
    } catch (cause) {
      throw new DataError(this.#op, "not a whole .npz archive", {
        got: (cause as Error).message,
        hint: "Was it downloaded completely?",
        cause,
      });
    }
  }
}

/**
 * Opens .npz bytes.
 *
 * @param op named in errors; pass the file's path where there is one
 * @throws DataError when the bytes are no whole zip archive
 */
export function parseNpz(bytes: Uint8Array, op = "npz"): Npz {
  return new Npz(bytes, op);
}

/** Writes arrays as .npz bytes, uncompressed as `numpy.savez` does. The same arrays give the same bytes. */
export function writeNpz(arrays: Readonly<Record<string, NpyArray>>): Uint8Array<ArrayBuffer> {
  const files = Object.entries(arrays).map(([name, array]) => [`${name}.npy`, writeNpy(array)] as const);
  return zipSync(Object.fromEntries(files), {
    level: 0,
    mtime: new Date(1980, 0, 1),
  }) as Uint8Array<ArrayBuffer>;
}
