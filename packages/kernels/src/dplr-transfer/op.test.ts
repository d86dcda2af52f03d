import { checkOp, uniform } from "@everlong/testing";
import { transferGradOp, transferOp } from "./op.ts";

const damped = (shape: number[]) => ({ shape, sample: uniform(-2, -0.2) });
const steps = (shape: number[]) => ({ shape, sample: uniform(0.2, 0.8) });
const system = (sets: number, reads: number, rank: number, systems: number, modes: number, tied = true) => {
  const of = (count: number) => [count, systems, modes];
  const dt = steps([systems, tied ? 1 : modes]);
  const a = [damped([systems, modes]), [systems, modes]];
  return [of(sets), of(sets), of(reads), of(reads), of(rank), of(rank), ...a, dt];
};

checkOp(transferOp, {
  cases: [{ inputs: system(1, 1, 1, 2, 2), params: { nodes: 5 } }],
  secondOrder: true,
  gradcheck: 1e-6,
  tolerance: { f32: { value: 1e-6, gradient: 4e-6 } },
});
checkOp(transferOp, {
  cases: [
    { inputs: system(2, 3, 2, 2, 3, false), params: { nodes: 6 } },
    { inputs: system(1, 2, 3, 1, 2), params: { nodes: 3 } },
  ],
  gradcheck: 1e-6,
  tolerance: { f32: { value: 1e-6, gradient: 4e-6 } },
});
// Modes enough for several chunks, points for several blocks.
checkOp(transferOp, {
  cases: [
    { inputs: system(1, 2, 1, 1, 70), params: { nodes: 8 } },
    { inputs: system(1, 1, 4, 1, 3), params: { nodes: 700 } },
  ],
  differentiable: false,
});
checkOp(transferGradOp, {
  cases: [
    { inputs: [[1, 2, 1, 5], [1, 2, 1, 5], ...system(1, 2, 1, 1, 70)], params: { nodes: 8 } },
    { inputs: [[2, 3, 2, 4], [2, 3, 2, 4], ...system(2, 3, 2, 2, 3, false)], params: { nodes: 6 } },
    // points enough for several blocks
    { inputs: [[1, 1, 1, 600], [1, 1, 1, 600], ...system(1, 1, 1, 1, 2)], params: { nodes: 1198 } },
  ],
  differentiable: false,
  tolerance: { f32: { value: 4e-6, gradient: 2e-5 } },
});
