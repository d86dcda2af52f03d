// The language models of safari and hyena-dna, and the standalone HyenaDNA model: pre-norm blocks of a mixer and an MLP.

import { ConfigError, div, mean, random, tensor, type Tensor } from "@everlong/core";
import { LanguageModel } from "../backbones/language-model.ts";
import type { LayerSpec } from "../backbones/block.ts";
import type { LayerShape } from "../registry-entry.ts";
import { Mlp } from "../channel/mlp.ts";
import { Linear } from "../layers/linear.ts";
import { SequenceHead, type Readout } from "../layers/sequence-head.ts";
import type { Hyena } from "../mixers/hyena.ts";
import type { ParityModule, ParityRequest } from "../parity-entry.ts";
import {
  booleanOr,
  checkArguments,
  numberOr,
  required,
  stringOr,
  type Arguments,
  type KnownArguments,
  type SharedArguments,
} from "./arguments.ts";
import { originalAttention } from "./attention.ts";
import { prefixMask } from "./prefix-mask.ts";
import { fullHyena, isDna, standaloneHyena } from "./hyena.ts";

type MakeHyena = (layer: Arguments, key: Tensor) => Hyena;

/** Arguments of a language model beside those of its layers. */
export const MODEL_ARGUMENTS: SharedArguments & Pick<KnownArguments, "only"> = {
  used: [
    "d_model",
    "n_layer",
    "d_inner",
    "vocab_size",
    "attn_layer_idx",
    "attn_cfg",
    "max_position_embeddings",
    "layer_norm_epsilon",
    "residual_in_fp32",
    "pad_vocab_size_multiple",
  ],
  withoutEffect: [
    "resid_dropout",
    "embed_dropout",
    "dropout_cls",
    "initializer_cfg",
    "fused_mlp",
    "fused_dropout_add_ln",
    "sequence_parallel",
    "checkpoint_mixer",
    "checkpoint_mlp",
    "use_flashfftconv",
    "device",
    "dtype",
  ],
  only: { process_group: [null] },
};

/** A nested record among the arguments. */
function record(args: Arguments, name: string): Arguments {
  const value = args[name] ?? {};
  if (typeof value !== "object" || Array.isArray(value))
    throw new ConfigError("parity", `"${name}" must be a record`);
  return value as Arguments;
}

/** The backbone with the embedding as output map; every block of the original is two of ours, or one without MLPs. */
function backbone(args: Arguments, makeHyena: MakeHyena, embedDim = false): LanguageModel {
  const dim = required(args, "d_model");
  const layer: Arguments = { d_model: dim, ...record(args, "layer") };
  const attention = originalAttention(args, dim, embedDim);
  const layers = Array.from({ length: required(args, "n_layer") }, (_, i): LayerSpec[] => [
    ({ key }) => attention(i, key) ?? makeHyena(layer, key),
    ...(booleanOr(args, "identity_mlp", false)
      ? []
      : [({ key }: LayerShape) => new Mlp({ key, dim, inner: numberOr(args, "d_inner", 4 * dim) })]),
  ]).flat();
  const positions = numberOr(args, "max_position_embeddings", 0);
  const multiple = numberOr(args, "pad_vocab_size_multiple", 1);
  return new LanguageModel({
    key: random.key(0),
    vocabSize: Math.ceil(required(args, "vocab_size") / multiple) * multiple,
    dim,
    maxLength: positions > 0 ? positions : required(layer, "l_max"),
    layers,
    norm: "layer",
    normEps: numberOr(args, "layer_norm_epsilon", 1e-5),
    positions: positions > 0 ? "learned" : "none",
    tied: true,
    ...(booleanOr(args, "residual_in_fp32", false) ? { residualDtype: "f32" } : {}),
  });
}

/**
 * Original names to ours; modules under gradient checkpointing have a `layer` in between.
 * @param parts of ours that make one block
 */
export function renameLanguageModel(key: string, parts = 2): string | undefined {
  if (key.startsWith("lm_head.")) return undefined;
  const outer: Readonly<Record<string, string>> = {
    "backbone.embeddings.word_embeddings.": "embedding.",
    "backbone.ln_f.": "norm.",
  };
  for (const [prefix, ours] of Object.entries(outer))
    if (key.startsWith(prefix)) return ours + key.slice(prefix.length);
  if (key === "backbone.embeddings.position_embeddings.weight") return "positions";
  const match = /^backbone\.layers\.(\d+)\.(norm1|norm2|mixer|mlp)\.(?:layer\.)?(.*)$/.exec(key);
  if (!match) return key;
  const [, index, part, rest] = match as unknown as [string, string, string, string];
  const at = parts * Number(index) + (part === "norm2" || part === "mlp" ? 1 : 0);
  if (part === "norm1" || part === "norm2") return `layers.${at}.norm.${rest}`;
  const inner = rest
    .replace(/^Wqkv\./, "wqkv.")
    .replace(/^fc1\./, "fc.")
    .replace(/^fc2\./, "proj.");
  return `layers.${at}.mixer.${inner}`;
}

/** The registry name of the layers; the standalone model builds Hyena whatever it says. */
function checkLayerName(args: Arguments): void {
  const name = record(args, "layer")["_name_"] ?? "hyena";
  if (name === "hyena") return;
  throw new ConfigError("parity", 'unsupported: argument "layer._name_"', {
    expected: '"hyena"',
    got: JSON.stringify(name),
  });
}

/** The language-model head of safari and hyena-dna. */
export function longConvLanguageModel({ args, json }: ParityRequest): ParityModule {
  const dna = isDna(json);
  checkArguments(args, {
    ...MODEL_ARGUMENTS,
    used: [...MODEL_ARGUMENTS.used, "layer", ...(dna ? ["identity_mlp"] : [])],
  });
  checkLayerName(args);
  const model = backbone(args, (layer, key) => fullHyena(layer, dna, key, "layer"));
  const parts = booleanOr(args, "identity_mlp", false) ? 1 : 2;
  return {
    module: model,
    rename: (key) => renameLanguageModel(key, parts),
    call: ({ input_ids }) => ({ logits: model.forward(input_ids!) }),
  };
}

/** hyena-dna's standalone model: hidden states, or classes from the mean over all positions. */
export function hyenaDnaModel({ args }: ParityRequest): ParityModule {
  checkArguments(args, {
    ...MODEL_ARGUMENTS,
    used: [...MODEL_ARGUMENTS.used, "layer", "use_head", "n_classes"],
  });
  const model = backbone(args, (layer, key) => standaloneHyena(layer, 0.05, key, "layer"), true);
  if (!booleanOr(args, "use_head", false)) {
    // Two passes, as the stored numbers were made: where the residual is rounded, so is the gradient of each pass alone.
    const call: ParityModule["call"] = ({ input_ids }) => ({
      hidden: model.hidden(input_ids!),
      logits: model.forward(input_ids!),
    });
    return { module: model, rename: renameLanguageModel, call };
  }
  const head = new Linear({ key: random.key(1), inputs: model.dim, outputs: numberOr(args, "n_classes", 2) });
  return {
    module: { model, head },
    rename: (key) => {
      if (key.startsWith("head.output_transform.")) return key.replace("output_transform.", "");
      const name = renameLanguageModel(key);
      return name === undefined ? undefined : `model.${name}`;
    },
    call: ({ input_ids }) => ({ logits: head.forward(mean(model.hidden(input_ids!), 1)) }),
  };
}

/**
 * Means of several positions as the original divides them, along the features: an error there unless there are as many
 * features as positions.
 */
class MisplacedMean {
  readonly outputTransform: Linear | undefined;
  readonly #positions: number;

  /** @param positions 0 for all */
  constructor(args: Arguments, positions: number) {
    this.#positions = positions;
    const outputs = args["d_output"];
    if (typeof outputs === "number")
      this.outputTransform = new Linear({ key: random.key(0), inputs: required(args, "d_model"), outputs });
  }

  forward(x: Tensor, options: { readonly mask?: Tensor }): Tensor {
    const time = x.shape[1]!;
    const count = this.#positions === 0 ? time : this.#positions;
    if (options.mask || (count !== 1 && x.shape[2] !== count))
      throw new ConfigError("parity", 'unsupported: argument "mode" pool over several positions', {
        expected: `${count} features`,
        got: `${x.shape[2]}`,
      });
    const sums = new SequenceHead({ key: random.key(0), dim: count, readout: "sum", positions: count });
    const counts = Array.from({ length: count }, (_, i) => time - count + 1 + i);
    const read = div(sums.forward(x), tensor(counts, { dtype: x.dtype, device: x.device }));
    return this.outputTransform ? this.outputTransform.forward(read) : read;
  }
}

/** The original's slices end where inputs do: at most as many positions as there are. */
const slicedLength = (shapes: ParityRequest["shapes"], length: number): number =>
  Math.min(length, shapes.get("in.x")?.[1] ?? length);

/** hyena-dna's decoder: several variants in one case, each with a state of its own. */
export function sequenceDecoder({ args, json, shapes }: ParityRequest): ParityModule {
  checkArguments(args, { used: ["d_model", "d_output", "l_output", "mode", "use_lengths", "lengths"] });
  const variants = (json["variants"] ?? [{ i: 0, ...args }]) as readonly Arguments[];
  const heads = variants.map((v): SequenceHead | MisplacedMean => {
    const length = v["l_output"];
    const mode = stringOr(v, "mode", "last");
    if (mode === "pool" && length !== 0 && length !== 1)
      return new MisplacedMean(args, numberOr(v, "l_output", 0));
    return new SequenceHead({
      key: random.key(0),
      dim: required(args, "d_model"),
      ...(typeof args["d_output"] === "number" ? { outputs: args["d_output"] } : {}),
      readout: mode === "pool" ? "mean" : (mode as Readout),
      positions: typeof length !== "number" ? "all" : length === 0 ? "one" : slicedLength(shapes, length),
    });
  });
  return {
    module: heads,
    call: ({ x }) =>
      Object.fromEntries(
        variants.map((v, i) => {
          const lengths = v["lengths"];
          const mask = Array.isArray(lengths) ? prefixMask(lengths.map(Number), x!) : undefined;
          return [`${numberOr(v, "i", i)}`, heads[i]!.forward(x!, mask ? { mask } : {})];
        }),
      ),
  };
}
