// m2's BERT for masked tokens.

import { random } from "@everlong/core";
import { MonarchBert, renameMonarchBert } from "../backbones/monarch-bert.ts";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
import type { ActivationName } from "../layers/activation.ts";
import { booleanOr, checkArguments, numberOr, required, stringOr } from "./arguments.ts";

/** Names of transformers' activations. */
const HEAD_ACTIVATIONS: Readonly<Record<string, ActivationName>> = {
  gelu: "gelu",
  gelu_python: "gelu",
  gelu_new: "gelu-tanh",
  gelu_fast: "gelu-tanh",
  gelu_pytorch_tanh: "gelu-tanh",
  relu: "relu",
  relu2: "squared-relu",
  silu: "silu",
  swish: "silu",
  tanh: "tanh",
  sigmoid: "sigmoid",
  linear: "identity",
};

function maskedLanguageModel({ args }: ParityRequest): ParityModule {
  checkArguments(args, {
    used: [
      "vocab_size",
      "hidden_size",
      "num_hidden_layers",
      "intermediate_size",
      "max_position_embeddings",
      "type_vocab_size",
      "layer_norm_eps",
      "long_conv_l_max",
      "long_conv_kernel_learning_rate",
      "bidirectional",
      "residual_long_conv",
      "hyena_training_additions",
      "hyena_emb_dim",
      "hyena_filter_order",
      "hyena_w",
      "hyena_w_mod",
      "hyena_wd",
      "hyena_lr_pos_emb",
      "use_monarch_mlp",
      "monarch_mlp_nblocks",
      "use_positional_encodings",
      "use_glu_mlp",
      "pad_token_id",
    ],
    withoutEffect: [
      "num_attention_heads",
      "attention_probs_dropout_prob",
      "hidden_dropout_prob",
      "hyena_filter_dropout",
      "use_flash_mm",
      "use_flash_fft",
      "alibi_starting_size",
      "initializer_range",
    ],
    only: {
      monarch_mixer_sequence_mixing: [true],
      hidden_act: Object.keys(HEAD_ACTIVATIONS),
    },
  });
  const maxLength = numberOr(args, "max_position_embeddings", 512);
  const module = new MonarchBert({
    key: random.key(0),
    vocabSize: required(args, "vocab_size"),
    dim: required(args, "hidden_size"),
    maxLength: numberOr(args, "long_conv_l_max", maxLength),
    layers: required(args, "num_hidden_layers"),
    inner: required(args, "intermediate_size"),
    blocks: booleanOr(args, "use_monarch_mlp", false) ? numberOr(args, "monarch_mlp_nblocks", 4) : "dense",
    gated: booleanOr(args, "use_glu_mlp", true),
    paddingToken: numberOr(args, "pad_token_id", 0),
    segments: numberOr(args, "type_vocab_size", 2),
    positions: booleanOr(args, "use_positional_encodings", false),
    normEps: numberOr(args, "layer_norm_eps", 1e-12),
    headActivation: HEAD_ACTIVATIONS[stringOr(args, "hidden_act", "gelu")]!,
    bidirectional: booleanOr(args, "bidirectional", true),
    residualConv: booleanOr(args, "residual_long_conv", false),
    inputNorm: booleanOr(args, "hyena_training_additions", false),
    filter: {
      embeddingDim: numberOr(args, "hyena_emb_dim", 3),
      width: numberOr(args, "hyena_filter_order", 64),
      frequency: numberOr(args, "hyena_w", 10),
      frequencyScale: numberOr(args, "hyena_w_mod", 1),
      weightDecay: numberOr(args, "hyena_wd", 0.1),
      positionLearningRate: numberOr(args, "hyena_lr_pos_emb", 1e-5),
      learningRate: numberOr(args, "long_conv_kernel_learning_rate", 1e-3),
    },
  });
  return {
    module,
    rename: renameMonarchBert,
    call: ({ input_ids }) => ({ logits: module.forward(input_ids!), hidden: module.hidden(input_ids!) }),
  };
}

export const monarchBertModules: ParityModules = {
  "src.bert_layers.BertForMaskedLM": maskedLanguageModel,
};
