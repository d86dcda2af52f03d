import { uniform } from "@everlong/testing";
import { checkWasm } from "../wasm-check.ts";
import { resolventOp, resolventSumsOp } from "./op.ts";
import { resolventPoints } from "./points.ts";
import { resolventSumsWasm, resolventWasm } from "./wasm.ts";

const damped = (shape: number[]) => ({ shape, sample: uniform(-2, -0.2) });
const sizes = [
  [1, 1, 1, 1],
  [4, 3, 5, 14],
  [7, 2, 64, 16],
  [3, 5, 9, 131],
  [2, 2, 33, 1000],
] as const;

checkWasm(
  resolventOp,
  resolventWasm,
  sizes.map(([sets, systems, modes, nodes]) => ({
    inputs: [[sets, systems, modes], [sets, systems, modes], damped([systems, modes]), [systems, modes]],
    params: { nodes },
  })),
  3e-6,
);
checkWasm(
  resolventSumsOp,
  resolventSumsWasm,
  sizes.map(([sets, systems, modes, nodes]) => {
    const g = [sets, systems, resolventPoints(nodes)];
    return { inputs: [g, g, damped([systems, modes]), [systems, modes]], params: { nodes } };
  }),
  3e-6,
);
