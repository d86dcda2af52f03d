import { condensed } from "./builders.ts";
import type { CurriculumEntry } from "./curriculum.ts";

/** Three tasks with one body whose best policies contradict each other: what `everlong lifelong demo` runs. */
export const DEMO_CURRICULUM: CurriculumEntry = {
  name: "ThreePoles",
  about:
    "CartPole as it is, with swapped actions, and with a long pole: each trained once, all evaluated between.",
  make: ({ seed }) =>
    condensed({
      name: "ThreePoles",
      seed,
      tasks: [
        { environment: "CartPole", variant: "V0" },
        { environment: "CartPole", variant: "LongPole", parameters: { maxSteps: 200 } },
        { environment: "CartPole", variant: "Weak", parameters: { maxSteps: 200 } },
      ],
      learn: { count: 6000, unit: "steps" },
      evaluate: { count: 10, unit: "episodes" },
    }),
};
