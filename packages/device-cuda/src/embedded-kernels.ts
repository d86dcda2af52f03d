// Kernels compiled when the package was built, for hosts without NVRTC: a file for each machine-code target.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";
import { DataError } from "@everlong/core";

/** Targets that are built. PTX is what GPUs newer than all of them are given: the driver compiles it. */
export const EMBEDDED_TARGETS = ["sm_80", "sm_90a", "compute_80"] as const;
export type EmbeddedTarget = (typeof EMBEDDED_TARGETS)[number];

/** Beside the sources and beside the built package alike. */
const FOLDER = fileURLToPath(new URL("../dist/embedded/", import.meta.url));

/** The target whose machine code a GPU of compute capability `arch` / 10 runs. */
export function embeddedTarget(arch: number): EmbeddedTarget {
  if (arch === 90) return "sm_90a";
  return arch < 90 ? "sm_80" : "compute_80";
}

/** Kernels are found by all of their source, so that one of another version is never taken. */
export const embeddedName = (source: string): string =>
  createHash("sha256").update(source).digest("hex").slice(0, 32);

export const embeddedFile = (target: EmbeddedTarget, folder: string = FOLDER): string =>
  join(folder, `${target}.kernels`);

/** Images by {@link embeddedName}, as a file's bytes: the length of the index, the index, the images; compressed. */
export function packKernels(images: ReadonlyMap<string, Uint8Array>): Uint8Array {
  const index: Record<string, readonly [offset: number, bytes: number]> = {};
  let offset = 0;
  for (const [name, image] of images) {
    index[name] = [offset, image.length];
    offset += image.length;
  }
  const header = Buffer.from(JSON.stringify(index));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  const bytes = Buffer.concat([length, header, ...images.values()]);
  return brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
}

/** The kernels of one target. */
export class EmbeddedKernels {
  readonly target: EmbeddedTarget;
  private readonly images: ReadonlyMap<string, Uint8Array>;

  private constructor(target: EmbeddedTarget, images: ReadonlyMap<string, Uint8Array>) {
    this.target = target;
    this.images = images;
  }

  /** The kernels for a GPU, or undefined where the package was built without a compiler. */
  static open(arch: number, folder?: string): EmbeddedKernels | undefined {
    const target = embeddedTarget(arch);
    const path = embeddedFile(target, folder);
    let packed: Uint8Array;
    try {
      packed = readFileSync(path);
    } catch {
      return undefined;
    }
    try {
      const bytes = brotliDecompressSync(packed);
      const start = 4 + bytes.readUInt32LE();
      const index = JSON.parse(bytes.toString("utf8", 4, start)) as Record<string, [number, number]>;
      const images = Object.entries(index).map(
        ([name, [at, size]]) => [name, bytes.subarray(start + at, start + at + size)] as const,
      );
      return new EmbeddedKernels(target, new Map(images));
    } catch (cause) {
      throw new DataError("cuda", `${path} holds no kernels`, { hint: "Install the package again.", cause });
    }
  }

  get count(): number {
    return this.images.size;
  }

  /** The image of a kernel's whole source. */
  find(source: string): Uint8Array | undefined {
    return this.images.get(embeddedName(source));
  }
}
