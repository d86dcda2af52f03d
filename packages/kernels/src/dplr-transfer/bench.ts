import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import { resolventPoints } from "../resolvent/points.ts";
import { transferGradOp, transferOp } from "./op.ts";

const system = (rank: number, systems: number, modes: number): (BenchInput | number[])[] => {
  const [rows, low] = [
    [1, systems, modes],
    [rank, systems, modes],
  ];
  return [
    rows,
    rows,
    rows,
    rows,
    low,
    low,
    { shape: [systems, modes], range: [-2, -0.2] },
    [systems, modes],
    { shape: [systems, 1], range: [0.01, 0.1] },
  ];
};
const withCotangents = (
  rank: number,
  systems: number,
  modes: number,
  nodes: number,
): (BenchInput | number[])[] => {
  const g = [1, 1, systems, resolventPoints(nodes)];
  return [g, g, ...system(rank, systems, modes)];
};

const CASES = [
  [1, 8192],
  [2, 6000],
  [3, 4096],
] as const;

export const bench: readonly BenchCase[] = CASES.flatMap(([rank, nodes]) => [
  benchCase(
    `DPLR transfer, 256 systems, 32 pairs of modes, rank ${rank}, ${nodes} nodes`,
    transferOp,
    { nodes },
    system(rank, 256, 32),
    system(rank, 3, 5),
  ),
  benchCase(
    `DPLR transfer gradient, 256 systems, 32 pairs of modes, rank ${rank}, ${nodes} nodes`,
    transferGradOp,
    { nodes },
    withCotangents(rank, 256, 32, nodes),
    withCotangents(rank, 2, 3, nodes),
  ),
]);
