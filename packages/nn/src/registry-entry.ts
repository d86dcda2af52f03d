// What a registry says about a layer: names, options with defaults and their meaning, and how to build one. CLI help,
// forms and the tests over every entry are made from it.

import { ConfigError, checkOptions, type Tensor } from "@everlong/core";
import type { ChannelMixer, Mixer } from "./mixer.ts";

export type OptionValue = number | string | boolean | null | readonly number[];

/** One option of a layer. */
export interface OptionSpec {
  readonly default: OptionValue;
  /** A phrase for help texts. */
  readonly doc: string;
  /** Allowed values, where they are few. */
  readonly choices?: readonly OptionValue[];
}

export type OptionSpecs = { readonly [name: string]: OptionSpec };

/** Values of options, complete and of the defaults' types. */
export type OptionsOf<S extends OptionSpecs> = { readonly [K in keyof S]: Widened<S[K]["default"]> };
type Widened<V> = V extends number
  ? number
  : V extends string
    ? string
    : V extends boolean
      ? boolean
      : V extends readonly number[]
        ? readonly number[]
        : OptionValue;

/** What every layer of a model shares. */
export interface LayerShape {
  /** Key of the initial values. */
  readonly key: Tensor;
  readonly dim: number;
  readonly maxLength: number;
}

export interface LayerEntry<L = Mixer | ChannelMixer> {
  /** Lower-case with hyphens, as in mad-lab where it has the layer. */
  readonly name: string;
  /** mad-lab's shorthand in architecture names; own ones for layers it lacks. */
  readonly shorthand: string;
  readonly kind: "sequence" | "channel";
  /** One sentence. */
  readonly summary: string;
  /** The paper. */
  readonly source: string;
  readonly options: OptionSpecs;
  readonly build: (shape: LayerShape, options?: Readonly<Record<string, OptionValue>>) => L;
}

interface Definition<S extends OptionSpecs, L> extends Omit<LayerEntry<L>, "options" | "build" | "kind"> {
  readonly options: S;
  readonly build: (shape: LayerShape, options: OptionsOf<S>) => L;
}

function define<S extends OptionSpecs, L>(
  kind: "sequence" | "channel",
  definition: Definition<S, L>,
): LayerEntry<L> {
  return {
    ...definition,
    kind,
    build: (shape, given = {}) => {
      checkOptions(definition.name, given, Object.keys(definition.options));
      const values = Object.entries(definition.options).map(([name, spec]) => {
        const value = given[name] ?? spec.default;
        if (spec.choices && !spec.choices.includes(value)) {
          throw new ConfigError(definition.name, `option "${name}" has an unknown value`, {
            expected: spec.choices.join(", "),
            got: String(value),
          });
        }
        if (spec.default !== null && value !== null && typeof value !== typeof spec.default) {
          throw new ConfigError(definition.name, `option "${name}" has the wrong type`, {
            expected: typeof spec.default,
            got: typeof value,
          });
        }
        return [name, value];
      });
      return definition.build(shape, Object.fromEntries(values) as OptionsOf<S>);
    },
  };
}

/** A sequence mixer for the registry. */
export const defineMixer = <const S extends OptionSpecs>(
  definition: Definition<S, Mixer>,
): LayerEntry<Mixer> => define("sequence", definition);

/** A channel mixer for the registry. */
export const defineChannelMixer = <const S extends OptionSpecs>(
  definition: Definition<S, ChannelMixer>,
): LayerEntry<ChannelMixer> => define("channel", definition);
