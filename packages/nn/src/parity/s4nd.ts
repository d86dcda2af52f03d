// S4ND as state-spaces/s4 constructs it.

import { permute, random, type Tensor } from "@everlong/core";
import { S4nd, type S4ndOptions } from "../mixers/s4nd.ts";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
import { DplrSsm } from "../ssm/dplr-ssm.ts";
import { roundHalfEven } from "../ssm/rounding.ts";
import { activationOr, booleanOr, checkArguments, numberOr, required, type Arguments } from "./arguments.ts";
import { SSM_ARGUMENTS, dplrSettings, isDiagonal, roundsKernel, ssmSettings } from "./ssm-arguments.ts";
import { renameS4With } from "./state-spaces.ts";
import { WeightNormed } from "./weight-normed.ts";

function s4nd(request: ParityRequest): ParityModule {
  const { args, json, shapes, numbers } = request;
  checkArguments(args, {
    used: [
      ...SSM_ARGUMENTS.used,
      "d_model",
      "l_max",
      "dim",
      "out_channels",
      "channels",
      "bidirectional",
      "activation",
      "final_act",
      "transposed",
      "trank",
      "linear",
      "contract_version",
      "mode",
      "kernel",
      "weight_norm",
    ],
    // `ln` and `hyper_act` are taken and never read.
    withoutEffect: [
      ...SSM_ARGUMENTS.withoutEffect,
      "initializer",
      "dropout",
      "tie_dropout",
      "return_state",
      "ln",
      "hyper_act",
    ],
  });
  const axes = numberOr(args, "dim", 2);
  const given = args["l_max"];
  const lengths = Array.isArray(given)
    ? (given as (number | null)[])
    : Array.from({ length: axes }, () => (typeof given === "number" ? given : null));
  const rank = numberOr(args, "trank", 1);
  const transposed = booleanOr(args, "transposed", true);
  const resolutions = (json["resolutions"] ?? [{ rate: 1 }]) as readonly Arguments[];
  // The length that each axis's stored read-out suits after all resolutions.
  const suited = lengths.map((limit, axis) => {
    const stored = numbers?.(`state.kernel.${axis}.l_kernel`);
    if (stored?.length === 1) return stored[0]!;
    let known = limit ?? 0;
    for (const [i, resolution] of resolutions.entries()) {
      const shape = shapes.get(`in.x${i}`) ?? shapes.get("in.x")!;
      const rate = numberOr(resolution, "rate", 1);
      const time = shape[axis + (transposed ? 2 : 1)]!;
      const length = limit == null ? time : Math.min(time, roundHalfEven(limit / rate));
      if (known === 0) known = roundHalfEven(rate * length);
      while (roundHalfEven(rate * length) > known) known *= 2;
    }
    return known;
  });
  const kernels = suited.values();
  const options: S4ndOptions = {
    key: random.key(0),
    dim: required(args, "d_model"),
    axes: lengths.length,
    channels: numberOr(args, "channels", 1),
    rank,
    bidirectional: booleanOr(args, "bidirectional", true),
    kernelLengths: lengths,
    form: booleanOr(args, "linear", true) ? "convolution" : "layer",
    activation: activationOr(args, "activation", "gelu"),
    outputActivation: activationOr(args, "final_act", "identity"),
    ssm: ssmSettings(args, "legs"),
    ...(typeof args["out_channels"] === "number" ? { outChannels: args["out_channels"] } : {}),
    ...(rank > 1 && numberOr(args, "contract_version", 0) === 1 ? { compat: "unsummed-rank" as const } : {}),
  };
  const module = isDiagonal(args)
    ? new S4nd(options)
    : new S4nd(
        options,
        (made) => new DplrSsm({ ...dplrSettings(args), ...made, truncatedLength: kernels.next().value! }),
      );
  const channelsLast = (t: Tensor): Tensor =>
    transposed ? permute(t, [0, ...Array.from({ length: t.rank - 2 }, (_, i) => i + 2), 1]) : t;
  const channelsFirst = (t: Tensor): Tensor =>
    transposed ? permute(t, [0, t.rank - 1, ...Array.from({ length: t.rank - 2 }, (_, i) => i + 1)]) : t;
  const normed =
    booleanOr(args, "weight_norm", false) && module.outputLinear
      ? new WeightNormed(module.outputLinear)
      : undefined;
  return {
    module: normed ? { skip: module.skip, kernel: module.kernel, outputLinear: normed } : module,
    rename: renameS4With(args),
    float32Inside: roundsKernel(args),
    call: (inputs) => {
      normed?.apply();
      const out: Record<string, Tensor> = {};
      for (const [i, resolution] of resolutions.entries()) {
        const rate = numberOr(resolution, "rate", 1);
        const x = channelsLast(inputs[`x${i}`] ?? inputs["x"]!);
        out[`y${i}`] = channelsFirst(module.forward(x, {}, rate));
        for (const [axis, kernel] of module.kernel.entries()) {
          const limit = lengths[axis];
          const time = x.shape[axis + 1]!;
          const length = limit == null ? time : Math.min(time, roundHalfEven(limit / rate));
          out[`kernel${i}_axis${axis}`] = kernel.kernel(length, rate);
        }
      }
      return out;
    },
  };
}

export const s4ndModules: ParityModules = {
  "src.models.sequence.modules.s4nd.S4ND": s4nd,
};
