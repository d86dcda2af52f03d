// CUDA sources of gated linear units: rows of half precision up to 256 features wide, whole in one launch.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { blocksFor, type CudaCall, type CudaSource, type CudaStep, type CudaTarget } from "../cuda-step.ts";
import { activationText } from "../gate/cuda.ts";
import type { GateParams } from "../gate/op.ts";

/** Widths up to which rows stay in registers. */
const MOST_HELD = 128;
const MOST_WIDTH = 256;

/** The launch of one of the two kernels, nothing where there is nothing to do, or the reason why there is none. */
function launch(
  entry: "gated_unit" | "gated_unit_grad",
  { inputs, outputs, params, added }: CudaCall<GateParams>,
  target: CudaTarget,
): CudaStep | string | undefined {
  const [x, w1, , w3] = inputs;
  const { dtype } = x!;
  if (dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
  const [groups, rows, dim] = x!.shape as [number, number, number];
  const [inner, width] = [w1!.shape[1]!, w3!.shape[1]!];
  if ([dim, width].some((n) => n % 16 !== 0 || n > MOST_WIDTH || n === 0))
    return `widths ${dim} and ${width}: only multiples of 16 up to ${MOST_WIDTH}`;
  if (inner % 8 !== 0) return `${inner} hidden features: only multiples of 8`;
  if (groups * rows === 0) return undefined;
  const isGrad = entry === "gated_unit_grad";
  const chunk = Math.max(dim, width) <= MOST_HELD ? 32 : 16;
  const stage = 2 * (2 * chunk * (dim + 8) + width * (chunk + 8));
  const bytesOf = (warps: number, stages: number): number =>
    2 * 16 * warps * (dim + 8 + (isGrad ? width + 8 : 0)) + stages * stage;
  // Large blocks share the weights that they bring to shared memory; small ones leave no processor idle.
  const sizes = [8, 4, 2].filter((n) => bytesOf(n, 2) <= target.sharedLimit);
  const warps = sizes.find((n) => groups * blocksFor(rows, 16 * n) * 2 >= target.processors) ?? sizes.at(-1);
  if (warps === undefined) return `widths ${dim} and ${width} need more shared memory than there is`;
  const stages = bytesOf(warps, 3) <= target.sharedLimit ? 3 : 2;
  const head = [
    `typedef ${cudaType[dtype]} E;`,
    `#define MMA "${dtype}"`,
    `#define ADD ${added === undefined ? 0 : 1}`,
    `constexpr int D = ${dim}, N = ${width}, WARPS = ${warps}, STAGES = ${stages};`,
  ].join("\n");
  const blocks = blocksFor(rows, 16 * warps);
  const places = [...inputs.map((_, input) => ({ input })), ...outputs.map((_, output) => ({ output }))];
  return {
    kernel: {
      key: `${entry} ${params.activation} ${head}`,
      entry,
      source: () =>
        [
          head,
          cudaFile("tensor-cores.cu"),
          activationText(params.activation, "reciprocal_(1.f + exp2_(-1.4426950408889634f * z))"),
          cudaFile("gated-unit/kernel.cu"),
        ].join("\n"),
    },
    args: [...places, ...(isGrad ? [] : [added ?? 0]), rows, inner, blocks],
    grid: [groups * blocks, 1, 1],
    block: [32 * warps, 1, 1],
    sharedBytes: bytesOf(warps, stages),
  };
}

const source = (entry: "gated_unit" | "gated_unit_grad"): CudaSource<GateParams> => ({
  alignment: () => 16,
  ...(entry === "gated_unit" && { adds: () => true }),
  lower: (call, target) => {
    const made = launch(entry, call, target);
    if (typeof made === "string") return made;
    return { steps: made ? [made] : [] };
  },
});

export const gatedUnitCuda: CudaSource<GateParams> = source("gated_unit");
export const gatedUnitGradCuda: CudaSource<GateParams> = source("gated_unit_grad");
