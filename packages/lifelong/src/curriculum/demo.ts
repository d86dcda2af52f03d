import { condensed } from "./builders.ts";
import type { CurriculumEntry } from "./curriculum.ts";

const MAX_STEPS = 200;

/**
 * Three bodies that look alike: what is right for one is wrong for the next, so that an agent which only learns the
 * present one forgets the others. `everlong lifelong demo` runs it.
 */
export const DEMO_CURRICULUM: CurriculumEntry = {
  name: "ThreePoles",
  about:
    "CartPole as it is, with swapped actions, and with a long pole: each learned once, all evaluated between.",
  make: ({ seed }) =>
    condensed({
      name: "ThreePoles",
      seed,
      tasks: [
        { environment: "CartPole", variant: "V0" },
        { environment: "CartPole", variant: "Mirrored", parameters: { maxSteps: MAX_STEPS } },
        { environment: "CartPole", variant: "LongPole", parameters: { maxSteps: MAX_STEPS } },
      ],
      learn: { count: 5000, unit: "steps" },
      evaluate: { count: 10, unit: "episodes" },
    }),
};
