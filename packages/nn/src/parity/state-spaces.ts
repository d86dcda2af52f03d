// State-space kernels and layers as state-spaces/s4 and H3 construct them.

import { ConfigError, random, stack, type Complex, type Tensor } from "@everlong/core";
import type { ParityModule, ParityModules, ParityRequest } from "../parity-entry.ts";
import { DiagonalSsm, type Discretization, type SsmSettings } from "../ssm/diagonal-ssm.ts";
import { INPUT_STARTS, SSM_STARTS, type SsmStart } from "../ssm/start.ts";
import { checkTransform } from "../ssm/transform.ts";
import { booleanOr, numberOr, required, stringOr, type Arguments } from "./arguments.ts";

/** A complex tensor with a last axis (re, im). */
export const pairs = (z: Complex): Tensor => stack([z.re, z.im], -1);

/** The original's name of a start. */
function startOf(name: string): SsmStart {
  const found = SSM_STARTS.find((s) => s === name || (s === "fourier" && name === "fout"));
  if (!found) throw new ConfigError("parity", `unknown start "${name}"`);
  return found;
}

/** Arguments of state-spaces/s4's kernels. */
export function ssmSettings(args: Arguments, start: string): SsmSettings {
  const disc = stringOr(args, "disc", "zoh");
  return {
    stateSize: numberOr(args, "d_state", 64),
    start: startOf(stringOr(args, "init", stringOr(args, "measure", start))),
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

/** Last parts of original names to ours. */
const NAMES: Readonly<Record<string, string>> = {
  inv_dt: "dt",
  log_dt: "dt",
  A_real: "a_real",
  A_imag: "a_imag",
  inv_A_real: "a_real",
  log_A_real: "a_real",
  B: "b",
  C: "c",
  P: "p",
  l_kernel: "length",
};

/** Renames the last part of a key. */
export function renameSsm(key: string): string {
  const parts = key.split(".");
  const last = parts.pop()!;
  return [...parts, NAMES[last] ?? last].join(".");
}

/** Rates that a case asks for, with the names of their outputs. */
function rates(json: ParityRequest["json"]): readonly (readonly [number, string])[] {
  const list = (json["rates"] ?? [1]) as readonly number[];
  return list.map((rate) => [
    rate,
    rate === 1 ? "k" : `k_rate${Number.isInteger(rate) ? rate.toFixed(1) : rate}`,
  ]);
}

function diagonalKernel({ args, json }: ParityRequest): ParityModule {
  const module = new DiagonalSsm({
    ...ssmSettings(args, "legs"),
    key: random.key(0),
    channels: required(args, "d_model"),
    outputs: numberOr(args, "channels", 1),
  });
  const length = required(json, "L");
  return {
    module,
    rename: renameSsm,
    call: () => Object.fromEntries(rates(json).map(([rate, name]) => [name, module.kernel(length, rate)])),
  };
}

export const stateSpaceModules: ParityModules = {
  "models.s4.s4.SSMKernelDiag": diagonalKernel,
};
