import { mixers } from "@everlong/nn";
import type { AgentOption } from "../run/agent.ts";

/** Options of the networks that agents learn with. */
type NetworkOption = "hidden" | "layers" | "memory" | "history" | "taskInputs";

/** @param hidden the agent's own default width */
export const networkOptions = (hidden: number): { readonly [K in NetworkOption]: AgentOption } => ({
  hidden: { default: hidden, min: 1, max: 4096, about: "width of hidden layers" },
  layers: { default: 2, min: 1, max: 8, about: "hidden layers" },
  memory: {
    default: "none",
    choices: ["none", ...mixers.map(({ name }) => name)],
    about: "sequence mixer over the last observations",
  },
  history: { default: 1, min: 1, max: 4096, about: "observations that the memory sees" },
  taskInputs: { default: 0, min: 0, max: 256, about: "one-hot inputs for the task; 0: it is not told" },
});
