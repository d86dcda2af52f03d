// Kernels compiled when the package was built, for hosts without NVRTC: a file for each machine-code target.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, brotliDecompressSync, constants } from "node:zlib";
import { DataError, DeviceError } from "@everlong/core";
import { cudaFilesDigest, cudaPrelude, type CudaStep } from "@everlong/kernels/cuda";

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

/** A kernel as it is packed: the key by which the device knows it, and its machine code. */
export interface EmbeddedKernel {
  readonly key: string;
  readonly image: Uint8Array;
}

interface Index {
  /** {@link sourcesDigest} when the kernels were compiled. */
  readonly sources: string;
  /** What compiled them. */
  readonly compiler: string;
  readonly kernels: Readonly<Record<string, readonly [offset: number, bytes: number]>>;
  /** Of every kernel, the digest of its key. */
  readonly keys: readonly string[];
}

/** A digest of what all kernels begin with and of those that are files. */
export const sourcesDigest = (): string =>
  createHash("sha256").update(cudaPrelude).update(cudaFilesDigest()).digest("hex").slice(0, 32);

const keyDigest = (key: string): string => createHash("sha256").update(key).digest("hex").slice(0, 12);

/** Kernels by {@link embeddedName}, as a file's bytes: the length of the index, the index, the images; compressed. */
export function packKernels(
  kernels: ReadonlyMap<string, EmbeddedKernel>,
  compiler: string,
  sources: string,
): Uint8Array {
  const places: Record<string, readonly [offset: number, bytes: number]> = {};
  let offset = 0;
  for (const [name, { image }] of kernels) {
    places[name] = [offset, image.length];
    offset += image.length;
  }
  const packed = [...kernels.values()];
  const keys = packed.map(({ key }) => keyDigest(key));
  const index: Index = { sources, compiler, kernels: places, keys };
  const header = Buffer.from(JSON.stringify(index));
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.length);
  const bytes = Buffer.concat([length, header, ...packed.map(({ image }) => image)]);
  return brotliCompressSync(bytes, {
    params: { [constants.BROTLI_PARAM_LGWIN]: 24, [constants.BROTLI_PARAM_SIZE_HINT]: bytes.length },
  });
}

/** A file's index and images by {@link embeddedName}; undefined where there is no file. @throws DataError for a damaged one */
export function unpackKernels(
  path: string,
): { readonly index: Index; readonly images: ReadonlyMap<string, Uint8Array> } | undefined {
  let packed: Uint8Array;
  try {
    packed = readFileSync(path);
  } catch {
    return undefined;
  }
  try {
    const bytes = brotliDecompressSync(packed);
    const start = 4 + bytes.readUInt32LE();
    const index = JSON.parse(bytes.toString("utf8", 4, start)) as Index;
    const images = Object.entries(index.kernels ?? {}).map(
      ([name, [at, size]]) => [name, bytes.subarray(start + at, start + at + size)] as const,
    );
    return { index, images: new Map(images) };
  } catch (cause) {
    throw new DataError("cuda", `${path} holds no kernels`, { hint: "Install the package again.", cause });
  }
}

const warned = new Set<string>();
const REBUILD = '"npm run embed" compiles them anew';

/** The kernels of one target. */
export class EmbeddedKernels {
  readonly target: EmbeddedTarget;
  private readonly images: ReadonlyMap<string, Uint8Array>;
  private readonly keys: ReadonlySet<string>;

  private constructor(
    target: EmbeddedTarget,
    images: ReadonlyMap<string, Uint8Array>,
    keys: ReadonlySet<string>,
  ) {
    this.target = target;
    this.images = images;
    this.keys = keys;
  }

  /**
   * The kernels for a GPU, or undefined where the package was built without a compiler, or from other sources than it has now, which is
   * said.
   */
  static open(arch: number, folder?: string): EmbeddedKernels | undefined {
    const target = embeddedTarget(arch);
    const path = embeddedFile(target, folder);
    const found = unpackKernels(path);
    if (!found) return undefined;
    const { index, images } = found;
    if (index.sources !== sourcesDigest()) {
      if (!warned.has(path))
        console.warn(
          `[cuda] the kernels that the package brings for ${target} were compiled from other sources than it has now and are not used; ${REBUILD}.`,
        );
      warned.add(path);
      return undefined;
    }
    return new EmbeddedKernels(target, images, new Set(index.keys));
  }

  get count(): number {
    return this.images.size;
  }

  /** The image of a kernel's whole source; undefined where there is none, an error where there is one of another version. */
  find(source: string, { key, entry }: Pick<CudaStep["kernel"], "key" | "entry">): Uint8Array | undefined {
    const image = this.images.get(embeddedName(source));
    if (image || !this.keys.has(keyDigest(key))) return image;
    throw new DeviceError(
      "cuda",
      `kernel ${entry} that the package brings for ${this.target} was compiled from another source than it has now`,
      { hint: `Where the package is built, ${REBUILD}.` },
    );
  }
}
