import { RandomStream } from "../random/random-stream.ts";
import type { Agent, AgentEntry, AgentState } from "../run/agent.ts";

/** Uniform actions, drawn as the original's example agent draws them. */
export const RANDOM: AgentEntry = {
  name: "Random",
  about: "Uniform random actions.",
  options: {},
  make({ seed, actionSpace }): Agent {
    let random = new RandomStream(seed);
    return {
      name: "Random",
      chooseActions: (observations) =>
        observations.map((observation) => (observation === null ? null : random.integer(0, actionSpace.n))),
      receiveTransitions() {},
      save: (): AgentState => new TextEncoder().encode(random.state()),
      load(state) {
        random = RandomStream.fromState(new TextDecoder().decode(state));
      },
    };
  },
};
