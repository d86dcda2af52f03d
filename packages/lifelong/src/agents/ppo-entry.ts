import type { AgentEntry, AgentOption } from "../run/agent.ts";
import { networkOptions } from "./network-options.ts";
import { Ppo, type PpoOptions } from "./ppo.ts";

const OPTIONS: { readonly [K in keyof PpoOptions]: AgentOption } = {
  learningRate: { default: 1e-3, min: 1e-7, max: 1, about: "of AdamW without decay" },
  discount: { default: 0.99, min: 0, max: 1, about: "of future rewards" },
  lambda: { default: 0.95, min: 0, max: 1, about: "of generalised advantages" },
  horizon: { default: 256, min: 2, max: 1_000_000, about: "steps of an environment between updates" },
  epochs: { default: 8, min: 1, max: 100, about: "passes over the steps in an update" },
  batch: { default: 64, min: 1, max: 65_536, about: "steps in a batch" },
  clipRatio: { default: 0.2, min: 0, max: 1, about: "largest change of an action's probability ratio" },
  entropy: { default: 0.01, min: 0, max: 10, about: "weight of the policy's entropy" },
  valueWeight: { default: 0.5, min: 0, max: 10, about: "weight of the value's error" },
  ...networkOptions(64),
  clip: { default: 0.5, min: 1e-6, max: 1e9, about: "limit of the gradient norm" },
};

export const PPO: AgentEntry = {
  name: "PPO",
  about: "Proximal policy optimisation with generalised advantages.",
  options: OPTIONS,
  make: (context, given) => new Ppo("PPO", context, given as unknown as PpoOptions),
};
