import { uniform } from "@everlong/testing";
import { resolventPoints } from "../resolvent/points.ts";
import { checkWasm } from "../wasm-check.ts";
import { transferGradOp, transferOp } from "./op.ts";
import { transferGradWasm } from "./wasm-gradient.ts";
import { transferWasm } from "./wasm.ts";

const damped = (shape: number[]) => ({ shape, sample: uniform(-2, -0.2) });
const steps = (shape: number[]) => ({ shape, sample: uniform(0.2, 0.8) });
const cases = [
  // sets, reads, rank, systems, modes, steps, nodes
  [1, 1, 1, 3, 5, 1, 14],
  [1, 1, 1, 1, 1, 1, 3],
  [3, 2, 1, 2, 4, 4, 7],
  [1, 3, 2, 2, 33, 1, 131],
  [2, 1, 3, 1, 6, 6, 64],
  [1, 1, 4, 1, 8, 1, 30],
  [1, 1, 1, 2, 16, 1, 1000],
] as const;
/** Modes that hardly decay: their poles all but touch the circle, where the four products cancel 10,000-fold. */
const undamped = (shape: number[]) => ({ shape, sample: uniform(-2e-4, -1e-4) });
const system = ([sets, reads, rank, systems, modes, each]: (typeof cases)[number], decay = damped) => {
  const of = (count: number) => [count, systems, modes];
  const a = [decay([systems, modes]), [systems, modes]];
  return [of(sets), of(sets), of(reads), of(reads), of(rank), of(rank), ...a, steps([systems, each])];
};

checkWasm(
  transferOp,
  transferWasm,
  [damped, undamped].flatMap((decay) =>
    cases.map((c) => ({ inputs: system(c, decay), params: { nodes: c[6] } })),
  ),
  1e-7,
);
checkWasm(
  transferGradOp,
  transferGradWasm,
  [damped, undamped].flatMap((decay) =>
    cases.map((c) => {
      const g = [c[0], c[1], c[3], resolventPoints(c[6])];
      return { inputs: [g, g, ...system(c, decay)], params: { nodes: c[6] } };
    }),
  ),
  1e-7,
);
