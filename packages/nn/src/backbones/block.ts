// One residual block of a backbone: x + layer(norm(x)).

import {
  add,
  after,
  cast,
  ConfigError,
  random,
  recompute,
  zerosLike,
  type DType,
  type Tensor,
} from "@everlong/core";
import { gaussian } from "../initial.ts";
import { visit, type ForwardOptions, type Layer, type Module } from "../layer.ts";
import { Linear } from "../layers/linear.ts";
import type { Mixer, MixerState, PrefillOptions } from "../mixer.ts";
import { makeNorm, type LayerNorm, type NormName, type RMSNorm } from "../layers/norm.ts";
import { findLayer } from "../registry.ts";
import type { LayerEntry, LayerShape, OptionValue } from "../registry-entry.ts";

/** Whether a layer mixes positions, and so may have a state. */
export const isSequenceMixer = (layer: Layer): layer is Mixer => "stateBytes" in layer;

const withoutSteps = (mixer: Mixer): ConfigError =>
  new ConfigError("generation", `${mixer.constructor.name} cannot be run one position at a time`, {
    hint: "Use forward on the whole sequence.",
  });

/** A layer of a model: a registry name or shorthand, with options, or a function that builds one. */
export type LayerSpec =
  | string
  | { readonly layer: string | LayerEntry; readonly options?: Readonly<Record<string, OptionValue>> }
  | ((shape: LayerShape) => Layer);

/** Builds what a spec names. */
export function buildLayer(spec: LayerSpec, shape: LayerShape): Layer {
  if (typeof spec === "function") return spec(shape);
  const { layer, options } = typeof spec === "string" ? { layer: spec, options: {} } : spec;
  return (typeof layer === "string" ? findLayer(layer) : layer).build(shape, options);
}

export interface BlockOptions extends LayerShape {
  readonly spec: LayerSpec;
  readonly norm: NormName;
  readonly eps: number;
  /** Compute the block again in the backward pass instead of keeping its intermediates. */
  readonly recompute: boolean;
  /** What the sum that runs past the layer is kept in; layers compute in the dtype of their parameters. Default: theirs. */
  readonly residualDtype?: DType | undefined;
}

/** Pre-norm residual block. */
export class Block {
  readonly norm: LayerNorm | RMSNorm;
  readonly mixer: Layer;
  readonly #recompute: boolean;
  readonly #residual: DType | undefined;

  constructor(options: BlockOptions) {
    const { spec, norm, eps, dim, key, maxLength } = options;
    this.norm = makeNorm(norm, { dim, eps, device: key.device });
    this.mixer = buildLayer(spec, { key, dim, maxLength });
    this.#recompute = options.recompute;
    this.#residual = options.residualDtype;
  }

  #normed(x: Tensor): Tensor {
    return this.norm.forward(cast(x, this.norm.weight.dtype));
  }

  #join(x: Tensor, y: Tensor): Tensor {
    return add(this.#residual ? cast(x, this.#residual) : x, y);
  }

  /** @param site number of the block, which separates its dropout from the others'. */
  forward(x: Tensor, options: ForwardOptions, site: number): Tensor {
    const inner = options.key ? { ...options, key: random.foldIn(options.key, site) } : options;
    const run = (t: Tensor): Tensor => this.#join(t, this.mixer.forward(this.#normed(t), inner));
    return this.#recompute ? recompute(run)(x) : run(x);
  }

  /** As {@link Mixer.prefill}, for channel mixers with an empty state. */
  prefill(x: Tensor, options: PrefillOptions): { x: Tensor; state: MixerState } {
    const { mixer } = this;
    if (!isSequenceMixer(mixer)) return { x: this.#join(x, mixer.forward(this.#normed(x))), state: {} };
    if (!mixer.prefill) throw withoutSteps(mixer);
    const { y, state } = mixer.prefill(this.#normed(x), options);
    return { x: this.#join(x, y), state };
  }

  /** One position `[B, D]`. */
  step(x: Tensor, state: MixerState): { x: Tensor; state: MixerState } {
    const { mixer } = this;
    if (!isSequenceMixer(mixer)) return { x: this.#join(x, mixer.forward(this.#normed(x))), state };
    if (!mixer.step) throw withoutSteps(mixer);
    const { y, state: next } = mixer.step(this.#normed(x), state);
    return { x: this.#join(x, y), state: next };
  }
}

/**
 * Sets the biases of all linear layers of a model to 0 and, with `std`, draws their weights from N(0, std): the
 * initialisation of GPT-2-like models.
 */
export function resetLinears(model: Module, draw?: { readonly key: Tensor; readonly std: number }): void {
  visit(model, Linear, (layer, i) => {
    if (layer.bias && !layer.keepBias) layer.bias.value = after(zerosLike(layer.bias.value), []);
    if (draw) layer.weight.value = gaussian(random.foldIn(draw.key, i), layer.weight.shape, draw.std);
  });
}
