// mad-lab's layers and backbones under their original constructor arguments and state names.

import { ConfigError, random, type Tensor } from "@everlong/core";
import type { LayerShape, Module, ParityModule, ParityModules, ParityRequest } from "@everlong/nn";
import { AutoEncoder, LanguageModel, tableFloat32 } from "@everlong/nn";
import { layerFor, type Arguments } from "./models.ts";
import { checkNames } from "./original-arguments.ts";
import { partCases, recurrentLayers } from "./parity-layers.ts";

type Rename = (key: string) => string | undefined;

const layerCase =
  (cls: string) =>
  ({ args }: ParityRequest): ParityModule => {
    const { build, rename } = layerFor(cls, args);
    const dim = Number(args["dim"]);
    const module = build({ key: random.key(0), dim, maxLength: Number(args["max_length"] ?? 0) });
    return { module, rename, call: ({ x }) => ({ y: module.forward(x!) }) };
  };

interface ModelArguments {
  readonly layers: readonly string[];
  readonly configs: readonly Arguments[];
  readonly norm: "layer" | "rms";
}

function modelArguments(args: Arguments): ModelArguments {
  checkNames("the model", args);
  const layers = args["layers"];
  const configs = args["layer_cfgs"];
  if (!Array.isArray(layers) || !Array.isArray(configs) || layers.length !== configs.length) {
    throw new ConfigError("parity", "layers and layer_cfgs do not fit together");
  }
  return {
    layers: layers.map(String),
    configs: configs as Arguments[],
    norm: /layer/i.test(JSON.stringify(args["norm"] ?? "RMSNorm")) ? "layer" : "rms",
  };
}

/** `3.1.w1.weight` of a list of norm-and-layer pairs to our names; what a layer drops is dropped, other keys are `outer`'s. */
function pairRename(prefix: string, renames: readonly Rename[], outer: Rename): Rename {
  return (key) => {
    const match = new RegExp(`^${prefix}\\.(\\d+)\\.([01])\\.(.*)$`).exec(key);
    if (!match) return outer(key);
    const [, index, part, rest] = match as unknown as [string, string, string, string];
    if (part === "0") return `layers.${index}.norm.${rest}`;
    const inner = renames[Number(index)]!(rest);
    return inner === undefined ? undefined : `layers.${index}.mixer.${inner}`;
  };
}

/** Renames whole prefixes. */
const prefixes =
  (map: Readonly<Record<string, string>>): Rename =>
  (key) => {
    const hit = Object.keys(map).find((p) => key === p || key.startsWith(`${p}.`));
    return hit === undefined ? key : map[hit]! + key.slice(hit.length);
  };

const specsOf = (
  cfg: ModelArguments,
): {
  specs: ((shape: LayerShape) => ReturnType<ReturnType<typeof layerFor>["build"]>)[];
  renames: Rename[];
} => {
  const made = cfg.layers.map((cls, i) => layerFor(cls, cfg.configs[i]!));
  return { specs: made.map((m) => m.build), renames: made.map((m) => m.rename) };
};

const run = (module: Module & { forward(ids: Tensor): Tensor }, rename: Rename): ParityModule => ({
  module,
  rename,
  call: (inputs) => ({ logits: module.forward((inputs["input_ids"] ?? inputs["inputs_ids"])!) }),
});

const positionsOf = (
  args: Arguments,
  shapes: ReadonlyMap<string, unknown>,
  key: string,
): "none" | "learned" | "sines" => {
  if (shapes.has(`state.${key}`)) return "learned";
  // Without a parameter in the state a table can only be the sine table, mad-lab's own default for the auto-encoder.
  return /sin/i.test(JSON.stringify(args["position_embeds"] ?? "")) ? "sines" : "none";
};

function languageModel({ args, shapes }: ParityRequest): ParityModule {
  const cfg = modelArguments(args);
  const { specs, renames } = specsOf(cfg);
  const model = new LanguageModel({
    key: random.key(0),
    vocabSize: Number(args["vocab_size"]),
    dim: Number(args["dim"] ?? 128),
    maxLength: Number(args["max_length"] ?? 1280),
    layers: specs,
    norm: cfg.norm,
    positions: positionsOf(args, shapes, "position_embeds"),
    tableMath: tableFloat32,
  });
  const outer = prefixes({
    token_embeds: "embedding",
    position_embeds: "positions",
    "unembed.0": "norm",
    "unembed.1": "head",
  });
  return run(model, pairRename("model", renames, outer));
}

function autoEncoder({ args, shapes }: ParityRequest): ParityModule {
  const cfg = modelArguments(args);
  const { specs, renames } = specsOf(cfg);
  const pool = args["global_pool"];
  const model = new AutoEncoder({
    key: random.key(0),
    vocabSize: Number(args["vocab_size"]),
    dim: Number(args["dim"] ?? 128),
    maxLength: Number(args["max_length"] ?? 1280),
    layers: specs,
    norm: cfg.norm,
    pool: pool === "avg" ? "mean" : pool === "cls" ? "cls" : "last",
    positions: positionsOf(args, shapes, "enc_position_embeds"),
    tableMath: tableFloat32,
  });
  const outer = prefixes({
    token_embeds: "embedding",
    enc_position_embeds: "positions",
    cls_token: "cls_token",
    "decoder.0": "decoder.0",
    "decoder.1": "decoder.1",
    // The original counts the activations between.
    "decoder.3": "decoder.2",
    "decoder.4": "decoder.3",
    "unembed.0": "norm",
    "unembed.1": "head",
  });
  return run(model, pairRename("encoder", renames, outer));
}

export const parityModules: ParityModules = {
  "mad.model.layers.Attention": layerCase("Attention"),
  "mad.model.layers.HyenaOperator": layerCase("HyenaOperator"),
  "mad.model.layers.Mlp": layerCase("Mlp"),
  "mad.model.layers.GLU": layerCase("GLU"),
  "mad.model.layers.SwiGLU": layerCase("SwiGLU"),
  ...Object.fromEntries(
    Object.keys(recurrentLayers).map((cls) => [`mad.model.layers.${cls}`, layerCase(cls)]),
  ),
  ...partCases,
  "mad.model.LanguageModel": languageModel,
  "mad.model.AutoEncoder": autoEncoder,
};
