// Monarch Mixer's layers as m2 constructs them.

import { random } from "@everlong/core";
import { BlockDiagonalLinear } from "../layers/block-diagonal-linear.ts";
import { MonarchMixer } from "../mixers/monarch-mixer.ts";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
import { booleanOr, checkArguments, numberOr, required } from "./arguments.ts";

function mixer({ args }: ParityRequest): ParityModule {
  checkArguments(args, {
    used: [
      "d_model",
      "l_max",
      "bidirectional",
      "residual_long_conv",
      "hyena_training_additions",
      "hyena_emb_dim",
      "hyena_filter_order",
      "hyena_w",
      "hyena_w_mod",
      "hyena_wd",
      "hyena_lr_pos_emb",
      "hyena_kernel_lr",
    ],
    withoutEffect: ["dropout", "hyena_filter_dropout"],
  });
  const module = new MonarchMixer({
    key: random.key(0),
    dim: required(args, "d_model"),
    maxLength: numberOr(args, "l_max", 128),
    bidirectional: booleanOr(args, "bidirectional", false),
    residualConv: booleanOr(args, "residual_long_conv", false),
    inputNorm: booleanOr(args, "hyena_training_additions", false),
    filter: {
      embeddingDim: numberOr(args, "hyena_emb_dim", 3),
      width: numberOr(args, "hyena_filter_order", 16),
      frequency: numberOr(args, "hyena_w", 10),
      frequencyScale: numberOr(args, "hyena_w_mod", 1),
      weightDecay: numberOr(args, "hyena_wd", 0.1),
      positionLearningRate: numberOr(args, "hyena_lr_pos_emb", 1e-5),
      learningRate: numberOr(args, "hyena_kernel_lr", 1e-3),
    },
  });
  return { module, call: ({ u, x }) => ({ y: module.forward((u ?? x)!) }) };
}

function blockDiagonal({ args }: ParityRequest): ParityModule {
  checkArguments(args, {
    used: ["in_features", "out_features", "bias", "nblocks", "shuffle"],
    withoutEffect: ["device", "dtype"],
  });
  const module = new BlockDiagonalLinear({
    key: random.key(0),
    inputs: required(args, "in_features"),
    outputs: required(args, "out_features"),
    blocks: numberOr(args, "nblocks", 4),
    bias: booleanOr(args, "bias", true),
    shuffle: booleanOr(args, "shuffle", false),
  });
  return { module, call: ({ x }) => ({ y: module.forward(x!) }) };
}

export const monarchModules: ParityModules = {
  "src.mm.monarch_mixer_sequence_mixer.MonarchMixerSequenceMixing": mixer,
  "src.mm.blockdiag_linear.BlockdiagLinear": blockDiagonal,
};
