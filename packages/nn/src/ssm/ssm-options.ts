// Options of state spaces as registries offer them.

import type { OptionSpec } from "../registry-entry.ts";
import type { SsmSettings } from "./settings.ts";
import { SSM_STARTS } from "./start.ts";

/** Values of the options that {@link ssmOptionSpecs} describes. */
export interface SsmOptionValues {
  readonly stateSize: number;
  readonly start: string;
  readonly discretization: string;
  readonly minStep: number;
  readonly maxStep: number;
  readonly ssmLearningRate: number;
}

interface SsmOptionSpecs {
  readonly stateSize: OptionSpec & { readonly default: number };
  readonly start: OptionSpec & { readonly default: string };
  readonly discretization: OptionSpec & { readonly default: string };
  readonly minStep: OptionSpec & { readonly default: number };
  readonly maxStep: OptionSpec & { readonly default: number };
  readonly ssmLearningRate: OptionSpec & { readonly default: number };
}

/** @param stateSize default @param start default @param discretization default */
export const ssmOptionSpecs = (stateSize: number, start: string, discretization: string): SsmOptionSpecs => ({
  stateSize: { default: stateSize, doc: "state size of each channel; half as many complex modes" },
  start: { default: start, doc: "where the modes start", choices: SSM_STARTS },
  discretization: {
    default: discretization,
    doc: "how the system is sampled",
    choices: ["zoh", "bilinear"],
  },
  minStep: { default: 1e-3, doc: "smallest first step size" },
  maxStep: { default: 0.1, doc: "largest first step size" },
  ssmLearningRate: { default: 1e-3, doc: "learning-rate hint of modes, steps and input vectors" },
});

export const ssmSettingsOf = (o: SsmOptionValues): SsmSettings => ({
  stateSize: o.stateSize,
  start: SSM_STARTS.find((s) => s === o.start) ?? "diag-lin",
  discretization: o.discretization === "bilinear" ? "bilinear" : "zoh",
  minStep: o.minStep,
  maxStep: o.maxStep,
  learningRate: o.ssmLearningRate,
});
