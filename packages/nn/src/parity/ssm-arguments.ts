// Arguments of state-spaces/s4's kernels, and of H3's, which are their predecessor's.

import { ConfigError } from "@everlong/core";
import type { Discretization, SsmSettings } from "../ssm/settings.ts";
import { INPUT_STARTS, SSM_STARTS, type SsmStart } from "../ssm/start.ts";
import { checkTransform } from "../ssm/transform.ts";
import { booleanOr, numberOr, stringOr, type Arguments, type SharedArguments } from "./arguments.ts";

/** Of the kernels; what only starts parameters is known but has no effect on a stored state. */
export const SSM_ARGUMENTS: SharedArguments = {
  used: [
    "d_state",
    "init",
    "measure",
    "disc",
    "B_init",
    "normalize",
    "dt_min",
    "dt_max",
    "dt_tie",
    "dt_transform",
    "dt_fast",
    "real_transform",
    "imag_transform",
    "is_real",
    "rank",
    "deterministic",
    "bandlimit",
    "n_ssm",
  ],
  withoutEffect: [
    "lr",
    "wd",
    "verbose",
    "backend",
    "scaling",
    "diagonal",
    "random_real",
    "random_imag",
    "real_random",
    "imag_random",
    "real_scale",
    "imag_scale",
    "B_random",
    "B_scale",
    "P_scale",
    "B_clip",
    "diagonalize_precision",
    "measure_args",
  ],
};

/** Other names of starts, and those that start parameters no other way than by their stored values. */
const SYNONYMS: Readonly<Record<string, SsmStart>> = {
  fout: "fourier",
  "diag-linear": "diag-lin",
  "diag-inverse": "diag-inv",
  "diag-inverse2": "diag-inv2",
  "diag-quadratic": "diag-quad",
  "diag-random": "diag-rand",
  "diag-hippo": "diag-legs",
};

/** A start of one name, of a random low-rank part (`dplr-*`) or of several in equal parts; the state replaces all of them. */
function startOf(args: Arguments, otherwise: string): SsmStart {
  const given = args["init"] ?? args["measure"] ?? otherwise;
  if (Array.isArray(given)) {
    for (const name of given) startOf({ init: name }, otherwise);
    return "diag-lin";
  }
  if (typeof given !== "string")
    throw new ConfigError("parity", 'argument "init" cannot be used', {
      expected: "a name or a list of names",
      got: JSON.stringify(given),
    });
  const name = given.replace(/^dplr(?=-|$)/, "diag");
  const found = SSM_STARTS.find((s) => s === (SYNONYMS[name] ?? name));
  if (!found) throw new ConfigError("parity", `unknown start "${name}"`);
  return found;
}

/** Arguments of state-spaces/s4's kernels. */
export function ssmSettings(args: Arguments, start: string): SsmSettings {
  const disc = stringOr(args, "disc", "zoh");
  return {
    stateSize: numberOr(args, "d_state", 64),
    start: startOf(args, start),
    inputStart: INPUT_STARTS.find((s) => s === args["B_init"]) ?? "constant",
    normalize: booleanOr(args, "normalize", false),
    discretization: disc as Discretization,
    minStep: numberOr(args, "dt_min", 1e-3),
    maxStep: numberOr(args, "dt_max", 0.1),
    tieSteps: booleanOr(args, "dt_tie", true),
    deterministic: booleanOr(args, "deterministic", false),
    stepTransform: checkTransform("parity", stringOr(args, "dt_transform", "exp")),
    realTransform: checkTransform("parity", stringOr(args, "real_transform", "exp")),
    imagTransform: checkTransform("parity", stringOr(args, "imag_transform", "none")),
    fastSteps: booleanOr(args, "dt_fast", false),
    real: booleanOr(args, "is_real", false),
    rank: numberOr(args, "rank", 1),
    compat: true,
    ...(typeof args["bandlimit"] === "number" ? { bandlimit: args["bandlimit"] } : {}),
    ...(typeof args["n_ssm"] === "number" ? { copies: args["n_ssm"] } : {}),
  };
}

/** DSS's kernel is rounded to float32 whatever its parameters are. */
export const roundsKernel = (args: Arguments): boolean => args["disc"] === "dss";

export const isDiagonal = (args: Arguments): boolean =>
  ["diag", "s4d"].includes(stringOr(args, "mode", stringOr(args, "kernel", "dplr")));

/** Settings of a kernel with a low-rank part, which the original samples bilinearly whatever it is told. */
export function dplrSettings(args: Arguments): Omit<SsmSettings, "discretization" | "real"> {
  const { discretization: _, real: __, ...rest } = ssmSettings(args, "legs");
  return rest;
}
