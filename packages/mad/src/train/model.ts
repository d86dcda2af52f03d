// The model that a task's protocol asks for, and its sizes.

import { ConfigError, random } from "@everlong/core";
import {
  AutoEncoder,
  LanguageModel,
  isSequenceMixer,
  parameterCount,
  type ChannelMixer,
  type LayerSpec,
  type NormName,
} from "@everlong/nn";
import type { ModelFacts } from "../benchmark/result.ts";
import { findTask } from "../tasks/registry.ts";
import type { TaskOptions } from "../tasks/options.ts";

/** What decides a model besides its layers. */
export interface ModelSettings {
  readonly task: string;
  /** Every option of the task. */
  readonly options: Partial<TaskOptions>;
  readonly layers: readonly LayerSpec[];
  readonly dim: number;
  readonly norm: NormName;
  readonly seed: number;
  /** Longest sequence that layers are made for. */
  readonly maxLength: number;
}

/** Ids of a task's tokens run below its vocabulary size. */
export function vocabularyOf(options: Partial<TaskOptions>): number {
  if (options.vocabSize === undefined) throw new ConfigError("mad model", "the task has no vocabSize");
  return options.vocabSize;
}

/** The language model, or the auto-encoder for tasks that compress. */
export function makeModel(s: ModelSettings): LanguageModel | AutoEncoder {
  const { dim, norm, maxLength, layers } = s;
  const shape = { key: random.key(s.seed), vocabSize: vocabularyOf(s.options), dim, maxLength, layers, norm };
  return findTask(s.task).backbone === "autoencoder" ? new AutoEncoder(shape) : new LanguageModel(shape);
}

/** Sizes of a model for sequences of `time` tokens. */
export function modelFacts(model: LanguageModel | AutoEncoder, time: number): ModelFacts {
  const layers = model.layers.map((block) => block.mixer);
  const mixers = layers.filter(isSequenceMixer);
  const state = (t: number): number => mixers.reduce((sum, m) => sum + m.stateBytes(t) / 4, 0);
  const hasFlops = (layer: object): layer is ChannelMixer => "flops" in layer;
  const flops = layers.filter(hasFlops).reduce((sum, l) => sum + l.flops(time), 0);
  const logits = 2 * time * model.dim * model.vocabSize;
  const decoder = "decoder" in model ? 4 * time * model.dim ** 2 : 0;
  return {
    parameters: parameterCount(model),
    layerParameters: model.layers.reduce((sum, block) => sum + parameterCount(block), 0),
    stateElements: state(time),
    fixedState: state(2 * time) === state(time),
    flopsPerToken: (flops + logits + decoder) / time,
  };
}
