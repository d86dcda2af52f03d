// Architectures as text: mad-lab's "mH-Sg-mA-Sg", names in place of shorthands, repetition and options.

import { checkOptions, ConfigError, nearest } from "@everlong/core";
import { channelMixers, findLayer, mixers, type LayerEntry, type OptionValue } from "@everlong/nn";
import type { Architecture } from "../train/architecture.ts";

/** A layer of an architecture, with its entry found and its options checked. */
export interface ResolvedLayer {
  readonly entry: LayerEntry;
  /** The options that were given. */
  readonly options: Readonly<Record<string, OptionValue>>;
}

/** Layers of an architecture in order. */
export function resolveLayers(
  architecture: Architecture,
  more: readonly LayerEntry[] = [],
): readonly ResolvedLayer[] {
  return architecture.layers.map((spec) => {
    const { layer, options = {} } = typeof spec === "string" ? { layer: spec } : spec;
    const entry = typeof layer === "string" ? findLayer(layer, more) : layer;
    checkOptions(entry.name, options, Object.keys(entry.options));
    return { entry, options };
  });
}

const optionText = (options: Readonly<Record<string, OptionValue>>): string => {
  const pairs = Object.entries(options)
    .filter(([, v]) => v !== undefined)
    .map(([k, v]) => `${k}=${Array.isArray(v) ? v.join(":") : String(v)}`);
  return pairs.length > 0 ? `(${pairs.toSorted().join(",")})` : "";
};

/** `mH-Sg-mA-Sg`, as mad-lab names models; options follow in brackets: `Mb(stateSize=8)`. */
export const shorthandOf = (layers: readonly ResolvedLayer[]): string =>
  layers.map(({ entry, options }) => entry.shorthand + optionText(options)).join("-");

/** Where words of a name end: at hyphens between shorthands, not at those within layer names or brackets. */
function words(text: string, more: readonly LayerEntry[]): string[] {
  const spaced = text.trim().split(/[\s,]+(?![^(]*\))/);
  return spaced.flatMap((part) => {
    const parts = part.split(/-(?![^(]*\))/);
    const found: string[] = [];
    for (let at = 0; at < parts.length;) {
      // the longest run of parts that is one layer's name
      let take = parts.length - at;
      while (take > 1 && !isLayer(parts.slice(at, at + take).join("-"), more)) take--;
      found.push(parts.slice(at, at + take).join("-"));
      at += take;
    }
    // a misspelt name with hyphens is one word, so that the message can say what it resembles
    const known = [...more, ...mixers, ...channelMixers].map((e) => e.name);
    const misspelt = !found.every((word) => isLayer(word, more)) && nearest(bare(part), known) !== undefined;
    return misspelt ? [part] : found;
  });
}

const bare = (word: string): string => word.replace(/\([^()]*\)$/, "").replace(/^\d+\*/, "");

function isLayer(word: string, more: readonly LayerEntry[]): boolean {
  try {
    findLayer(bare(word), more);
    return true;
  } catch {
    return false;
  }
}

function optionValue(entry: LayerEntry, name: string, text: string): OptionValue {
  checkOptions(entry.name, { [name]: text }, Object.keys(entry.options));
  const { default: fallback, choices } = entry.options[name]!;
  if (text === "null" && fallback === null) return null;
  if (Array.isArray(fallback)) return text.split(":").map(Number);
  if (typeof fallback === "boolean") {
    if (text === "true" || text === "false") return text === "true";
    throw new ConfigError(entry.name, `option "${name}" must be true or false`, { got: text });
  }
  const number = Number(text);
  if (
    typeof fallback === "number" ||
    (fallback === null && !choices && text !== "" && !Number.isNaN(number))
  ) {
    if (text !== "" && Number.isFinite(number)) return number;
    throw new ConfigError(entry.name, `option "${name}" must be a number`, { got: text });
  }
  return text;
}

/**
 * Reads `mH-Sg-mA-Sg`, `hyena swiglu mamba swiglu`, `2*Mb-Sg`, `Mb(stateSize=8,expand=1)-Sg`, in any mixture.
 *
 * @param more layers beside the registered ones
 * @throws ConfigError for a word that is no layer, naming the nearest, and for wrong options
 */
export function parseArchitecture(text: string, more: readonly LayerEntry[] = []): Architecture {
  const layers = words(text, more).flatMap((word) => {
    const match = /^(?:(\d+)\*)?([^()]+)(?:\((.*)\))?$/.exec(word);
    if (!match) {
      throw new ConfigError("mad architecture", `cannot read "${word}"`, {
        expected: "a layer, N*layer or layer(option=value,...)",
      });
    }
    const [, count = "1", name, given] = match;
    const entry = findLayer(name!, more);
    const pairs = (given ?? "").split(",").filter(Boolean);
    const options = Object.fromEntries(
      pairs.map((pair) => {
        const [key = "", value] = pair.split("=", 2);
        if (value === undefined) {
          throw new ConfigError("mad architecture", `options of "${name}" are name=value`, { got: pair });
        }
        return [key.trim(), optionValue(entry, key.trim(), value.trim())];
      }),
    );
    return Array.from({ length: Number(count) }, () => ({ layer: entry.name, options }));
  });
  if (layers.length === 0) throw new ConfigError("mad architecture", "no layers", { got: `"${text}"` });
  const made: Architecture = { name: "", layers };
  return { name: shorthandOf(resolveLayers(made, more)), layers: made.layers };
}
