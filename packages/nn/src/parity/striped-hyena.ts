// Filters of StripedHyena 2 as savanna constructs them.

import { random, reshape, transpose, unsqueeze, type Tensor } from "@everlong/core";
import { DecayedFilter, ModalFilter, type DecayPreset } from "../filters/striped-filter.ts";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
import { booleanOr, checkArguments, numberOr, required, stringOr } from "./arguments.ts";

/** Taps that a case stores. */
const lengthOf = ({ shapes }: ParityRequest): number => shapes.get("out.h")!.at(-1)!;

function decayed(request: ParityRequest): ParityModule {
  const { args } = request;
  checkArguments(args, {
    used: ["d_model", "L_cache", "decay_preset"],
    // The preset wins over given rates; the rest only starts the taps.
    withoutEffect: ["log_r_min", "log_r_max", "unit_passthrough", "small_init"],
    only: { num_decay_repeats: [1] },
  });
  const module = new DecayedFilter({
    key: random.key(0),
    groups: required(args, "d_model"),
    width: required(args, "L_cache"),
    decay: stringOr(args, "decay_preset", "strong") as DecayPreset,
    scale: booleanOr(args, "small_init", true) ? 1e-5 : 1,
  });
  return { module, call: () => ({ h: transpose(module.forward(lengthOf(request))) }) };
}

function modal(request: ParityRequest): ParityModule {
  const { args } = request;
  checkArguments(args, {
    used: ["d_model", "order", "gamma_min", "gamma_max"],
    withoutEffect: ["L_cache", "lr"],
  });
  const module = new ModalFilter({
    key: random.key(0),
    groups: required(args, "d_model"),
    modes: numberOr(args, "order", 64),
    minStep: numberOr(args, "gamma_min", 0.01),
    maxStep: numberOr(args, "gamma_max", 0.1),
  });
  const taps = (): Tensor => transpose(module.forward(lengthOf(request)));
  return {
    module,
    float32Inside: true,
    rename: (key) => (key === "t" ? undefined : key.toLowerCase()),
    call: () => ({ h: reshape(unsqueeze(taps(), 0), request.shapes.get("out.h")!) }),
  };
}

const PARAMETRIZATION = "savanna.model.operators.hyena.parametrization";

export const stripedHyenaModules: ParityModules = {
  [`${PARAMETRIZATION}.explicit.ExplicitSingleDecayFilter`]: decayed,
  [`${PARAMETRIZATION}.implicit_modal.ImplicitModalFilter`]: modal,
};
