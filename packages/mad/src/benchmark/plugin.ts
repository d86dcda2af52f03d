// Layers from a user's own file: whatever `defineMixer` and `defineChannelMixer` values a module exports. TypeScript runs
// through Node's type stripping.

import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { ConfigError } from "@everlong/core";
import { channelMixers, mixers, type LayerEntry } from "@everlong/nn";

/** A loaded plugin. */
export interface Plugin {
  /** Absolute path of the file. */
  readonly path: string;
  /** Of the file's bytes: results with another version of the plugin are other results. */
  readonly hash: string;
  readonly entries: readonly LayerEntry[];
}

const ENDINGS = [".ts", ".mts", ".js", ".mjs"];

const isEntry = (value: unknown): value is LayerEntry => {
  const v = value as Partial<LayerEntry> | null;
  return (
    typeof v === "object" &&
    v !== null &&
    typeof v.name === "string" &&
    typeof v.build === "function" &&
    (v.kind === "sequence" || v.kind === "channel") &&
    typeof v.options === "object"
  );
};

const wrong = (path: string, what: string, hint: string, cause?: unknown): ConfigError =>
  new ConfigError("mad plugin", `${path} ${what}`, { hint, ...(cause === undefined ? {} : { cause }) });

/** What to advise for an error that the module's evaluation threw. */
function adviceFor(error: unknown): string {
  const { code, message = String(error) } = error as { code?: string; message?: string };
  const first = message.split("\n")[0]!;
  if (code === "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX")
    return `${first}. Node strips types and nothing else: no enum, namespace or parameter properties.`;
  if (code === "ERR_MODULE_NOT_FOUND")
    return `${first}. Relative imports name files with their ending, and packages must be installed beside the plugin.`;
  return `It says: ${first}`;
}

/**
 * Loads layers from a file. Export what `defineMixer({...})` and `defineChannelMixer({...})` of @everlong/nn return, under
 * any names, or lists of them.
 *
 * @throws ConfigError for a missing file, a file that does not run, exports no layer, or one whose name is taken
 */
export async function loadPlugin(file: string): Promise<Plugin> {
  const path = resolve(file);
  if (!existsSync(path)) throw wrong(path, "does not exist", "--plugin takes the path of a module.");
  if (!ENDINGS.includes(extname(path)))
    throw wrong(path, "is no module", `Its name must end in ${ENDINGS.join(", ")}.`);
  let exported: Record<string, unknown>;
  try {
    exported = (await import(pathToFileURL(path).href)) as Record<string, unknown>;
  } catch (error) {
    throw wrong(path, "cannot be loaded", adviceFor(error), error);
  }
  const entries = Object.values(exported).flat().filter(isEntry);
  if (entries.length === 0) {
    const names = Object.keys(exported);
    const got = names.length > 0 ? `It exports ${names.join(", ")}. ` : "It exports nothing. ";
    throw wrong(
      path,
      "exports no layer",
      `${got}Export the value of defineMixer({...}) or defineChannelMixer({...}) from @everlong/nn.`,
    );
  }
  const taken = new Map<string, string>();
  for (const e of [...mixers, ...channelMixers]) {
    taken.set(e.name, e.name);
    taken.set(e.shorthand, e.name);
  }
  for (const entry of entries) {
    for (const word of [entry.name, entry.shorthand]) {
      const other = taken.get(word);
      if (other !== undefined && other !== entry.name)
        throw wrong(path, `names a layer "${word}", which is taken by "${other}"`, "Choose another.");
      if (other !== undefined && [...mixers, ...channelMixers].some((e) => e.name === other))
        throw wrong(path, `names a layer "${word}", which is built in`, "Choose another.");
      if (!/^[A-Za-z][\w-]*$/.test(word))
        throw wrong(path, `names a layer "${word}"`, "Names and shorthands are letters, digits and hyphens.");
    }
    taken.set(entry.name, entry.name);
    taken.set(entry.shorthand, entry.name);
  }
  return { path, hash: createHash("sha256").update(readFileSync(path)).digest("hex"), entries };
}

/** Loads several plugins; their names must not meet. */
export async function loadPlugins(files: readonly string[]): Promise<readonly Plugin[]> {
  const plugins: Plugin[] = [];
  const owners = new Map<string, string>();
  for (const file of files) {
    const plugin = await loadPlugin(file);
    for (const { name, shorthand } of plugin.entries) {
      for (const word of new Set([name, shorthand])) {
        const owner = owners.get(word);
        if (owner !== undefined && owner !== plugin.path)
          throw wrong(plugin.path, `names a layer "${word}", which ${owner} names too`, "Choose another.");
        owners.set(word, plugin.path);
      }
    }
    plugins.push(plugin);
  }
  return plugins;
}
