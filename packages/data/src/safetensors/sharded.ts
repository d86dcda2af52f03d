// Models split over several safetensors files with one JSON index ("model.safetensors.index.json").

import { ConfigError, DataError, nearest } from "@everlong/core";
import { readFileBytes } from "../files/random-access-file.ts";
import { openSafetensors, type SafetensorsFile, type StoredTensor } from "./reader.ts";

/** What an index file says. */
export interface ShardIndex {
  /** Tensor name -> file name, relative to the index. */
  readonly files: ReadonlyMap<string, string>;
  /** The index's `metadata` object as it stands (e.g. total_size). */
  readonly metadata: Readonly<Record<string, unknown>>;
}

/**
 * Checks the JSON text of a shard index.
 *
 * @throws DataError for invalid JSON, no `weight_map`, or file names that leave the index's folder
 */
export function parseShardIndex(text: string, op = "safetensors index"): ShardIndex {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new DataError(op, "index is not valid JSON", { cause });
  }
  const { weight_map: map, metadata = {} } = (value ?? {}) as Record<string, unknown>;
  if (!isRecord(map) || !isRecord(metadata)) {
    throw new DataError(op, "not a safetensors index", { expected: 'an object with "weight_map"' });
  }
  const files = new Map<string, string>();
  for (const [name, file] of Object.entries(map)) {
    if (typeof file !== "string" || file === "" || /[\\/]|^\.\.?$|\0/.test(file)) {
      throw new DataError(op, `tensor "${name}" has an unusable file`, {
        expected: "a file name in the index's folder",
        got: JSON.stringify(file),
      });
    }
    files.set(name, file);
  }
  return { files, metadata };
}

/** A sharded model on disk. Shards are opened on first use and stay open until `close`. */
export class ShardedSafetensors {
  readonly path: string;
  readonly index: ShardIndex;
  readonly #folder: string;
  readonly #shards: Map<string, Promise<SafetensorsFile>> = new Map();

  constructor(path: string, folder: string, index: ShardIndex) {
    this.path = path;
    this.index = index;
    this.#folder = folder;
  }

  /** Tensor names in the order of the index. */
  get names(): string[] {
    return [...this.index.files.keys()];
  }

  /**
   * Reads one tensor from its shard.
   *
   * @throws ConfigError for an unknown name; DataError when the shard is absent, malformed, or lacks the tensor
   */
  async read(name: string): Promise<StoredTensor> {
    const file = this.index.files.get(name);
    if (file === undefined) {
      const near = nearest(name, this.names);
      throw new ConfigError(
        this.path,
        `no tensor "${name}" among ${this.index.files.size}`,
        near === undefined ? {} : { hint: `Did you mean "${near}"?` },
      );
    }
    const shard = await this.#shard(file);
    if (!shard.header.tensors.has(name)) {
      throw new DataError(shard.path, `the index promises a tensor "${name}" that the shard does not hold`);
    }
    return shard.read(name);
  }

  async close(): Promise<void> {
    const shards = await Promise.allSettled(this.#shards.values());
    this.#shards.clear();
    for (const shard of shards) if (shard.status === "fulfilled") await shard.value.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #shard(file: string): Promise<SafetensorsFile> {
    let shard = this.#shards.get(file);
    if (shard === undefined) {
      shard = openSafetensors(`${this.#folder}/${file}`);
      this.#shards.set(file, shard);
    }
    return shard;
  }
}

/** Opens a sharded model by the path of its index (Node only). @throws DataError as {@link parseShardIndex} */
export async function openShardedSafetensors(indexPath: string): Promise<ShardedSafetensors> {
  const path = await import("node:path");
  const text = new TextDecoder().decode(await readFileBytes(indexPath));
  return new ShardedSafetensors(indexPath, path.dirname(indexPath), parseShardIndex(text, indexPath));
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
