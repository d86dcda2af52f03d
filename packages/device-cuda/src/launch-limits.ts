// What no launch may exceed. A step that would is refused with the reason, before the driver refuses it in the middle of a run.

import type { StepOperand } from "@everlong/core";
import { TILE_MAP_WORDS, type CudaProduct, type CudaStep, type CudaTarget } from "@everlong/kernels/cuda";

/** Blocks along each axis of a grid, threads of a block, and bytes of parameters (on every GPU since compute capability 3.0). */
const MOST_BLOCKS = [2 ** 31 - 1, 65_535, 65_535] as const;
const MOST_THREADS = 1024;
const MOST_PARAMETERS = 4096;
const WORD = 8;

const wordsOf = (args: CudaStep["args"]): number =>
  args.reduce<number>(
    (sum, word) => sum + (typeof word === "object" && "map" in word && word.map ? TILE_MAP_WORDS : 1),
    0,
  );

/** Most kernels of fused ops number positions along an axis with 32 bits, and look a tile further. */
const MOST_POSITIONS = 2 ** 31 - 2 ** 12;

/** Why kernels of a fused op cannot walk some operands; undefined where they can. */
export function beyondPositions(operands: readonly StepOperand[]): string | undefined {
  const longest = operands.reduce((most, { view }) => Math.max(most, ...view.shape), 0);
  if (longest > MOST_POSITIONS) return `an axis of ${longest} is longer than ${MOST_POSITIONS}`;
  return undefined;
}

/** Why a step's launches cannot run on `target`; undefined where they can. */
export function beyondLimits(
  steps: readonly (CudaStep | CudaProduct)[],
  target: CudaTarget,
): string | undefined {
  for (const step of steps) {
    if ("library" in step) continue;
    const { grid, block, sharedBytes = 0, args, kernel } = step;
    if (grid.some((n, axis) => !(Number.isInteger(n) && n >= 1 && n <= MOST_BLOCKS[axis]!)))
      return `${kernel.entry} needs ${grid.join(" x ")} blocks, a launch has 1 to ${MOST_BLOCKS.join(" x ")}`;
    const threads = block[0] * block[1] * block[2];
    if (threads > MOST_THREADS) return `${kernel.entry} needs blocks of ${threads} threads`;
    if (sharedBytes > target.sharedLimit)
      return `${kernel.entry} needs ${sharedBytes} bytes of shared memory a block, the GPU has ${target.sharedLimit}`;
    if (wordsOf(args) * WORD > MOST_PARAMETERS)
      return `${kernel.entry} needs ${wordsOf(args)} words of parameters, a launch has ${MOST_PARAMETERS / WORD}`;
  }
  return undefined;
}
