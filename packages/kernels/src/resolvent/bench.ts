import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { resolventOp, resolventSumsOp } from "./op.ts";
import { resolventPoints } from "./points.ts";

const poles = (systems: number, modes: number): BenchInput[] => [
  { shape: [systems, modes], range: [-2, -0.2] },
  { shape: [systems, modes] },
];
const product = (systems: number, modes: number): (BenchInput | number[])[] => {
  const weights = [4, systems, modes];
  return [weights, weights, ...poles(systems, modes)];
};
const sums = (systems: number, modes: number, nodes: number): (BenchInput | number[])[] => {
  const values = [4, systems, resolventPoints(nodes)];
  return [values, values, ...poles(systems, modes)];
};

export const bench: readonly BenchCase[] = [8192, 6000].flatMap((nodes) => [
  benchCase(
    `resolvent, 256 channels, 64 poles, ${nodes} nodes`,
    resolventOp,
    { nodes },
    product(256, 64),
    product(3, 5),
  ),
  benchCase(
    `resolvent gradient, 256 channels, 64 poles, ${nodes} nodes`,
    resolventSumsOp,
    { nodes },
    sums(256, 64, nodes),
    sums(2, 3, nodes),
  ),
]);
