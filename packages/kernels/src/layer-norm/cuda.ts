// CUDA source of layer norm and, with one flag, of root-mean-square norm.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { productOf, rowStep } from "../cuda-rows.ts";
import { blocksFor, type CudaSource, type CudaStep, type CudaView, type CudaWord } from "../cuda-step.ts";
import { named } from "../inputs.ts";
import type { NormParams } from "../norm.ts";
import type { NormGradParams } from "./op.ts";

const place = (index: number | undefined): CudaWord => (index === undefined ? 0 : { input: index });

/** Features that a warp can hold of a row. */
const MOST_HELD = 1024;

/** Whether rows of `n` are held in registers: any float, 16 bytes at a time. */
const isHeld = (views: readonly CudaView[], n: number): boolean =>
  n % 32 === 0 && n <= MOST_HELD && views.every((v) => v.aligned === true);

function heldStep(
  entry: string,
  dtype: "f32" | "f16" | "bf16",
  n: number,
  flags: Readonly<Record<"RMS" | "WEIGHT" | "BIAS" | "ADD", boolean>>,
  args: readonly CudaWord[],
  blocks: number,
): CudaStep {
  const head = [
    `typedef ${cudaType[dtype]} E;`,
    `constexpr int N = ${n};`,
    ...Object.entries(flags).map(([name, on]) => `#define ${name} ${on ? 1 : 0}`),
  ].join("\n");
  return {
    kernel: {
      key: `${entry} ${head}`,
      entry,
      source: () => `${head}\n${cudaFile("layer-norm/kernel-rows.cu")}`,
    },
    args,
    grid: [blocks, 1, 1],
    block: [256, 1, 1],
    blockFunction: `${entry}_block`,
  };
}

/** Forward pass: outputs y, (mean,) rstd. */
export const normSource = (rms: boolean): CudaSource<NormParams> => ({
  longAxes: true,
  lower: ({ inputs, outputs, params }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
    const index = named(
      params.inputs,
      inputs.map((_, i) => i),
    );
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    if (rows === 0) return { steps: [] };
    if (isHeld([inputs[index.x!]!, outputs[0]!], n)) {
      const flags = {
        RMS: rms,
        WEIGHT: index.weight !== undefined,
        BIAS: index.bias !== undefined,
        ADD: false,
      };
      const args: CudaWord[] = [
        ...[index.x, index.weight, index.bias].map(place),
        { output: 0 },
        rms ? 0 : { output: 1 },
        { output: rms ? 1 : 2 },
        rows,
        { f32: params.eps },
      ];
      return { steps: [heldStep("norm_rows", dtype, n, flags, args, blocksFor(rows, 8))] };
    }
    if (dtype !== "f32") return `rows of ${n} in ${dtype}: only multiples of 32 up to ${MOST_HELD}`;
    const defines = [
      `RMS ${rms ? 1 : 0}`,
      `WEIGHT ${index.weight === undefined ? 0 : 1}`,
      `BIAS ${index.bias === undefined ? 0 : 1}`,
    ];
    const args: CudaWord[] = [
      place(index.x),
      place(index.weight),
      place(index.bias),
      { output: 0 },
      rms ? 0 : { output: 1 },
      { output: rms ? 1 : 2 },
      rows,
      n,
      { f32: params.eps },
    ];
    return { steps: [rowStep("layer-norm", "row_norm", rows, n, defines, args)] };
  },
});

/** Gradient: outputs dx, then dweight and dbias where asked for; their sums run over fixed segments of the rows. */
export const normGradSource = (rms: boolean): CudaSource<NormGradParams> => ({
  longAxes: true,
  adds: ({ inputs, outputs, params }) => {
    const { shape } = outputs[0]!;
    const at = (name: "x" | "dy"): CudaView => inputs[params.inputs.indexOf(name)]!;
    return isHeld([at("x"), at("dy"), outputs[0]!], shape.at(-1)!);
  },
  lower: ({ inputs, outputs, params, added }, target) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
    const index = named(
      params.inputs,
      inputs.map((_, i) => i),
    );
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    const weight = index.weight !== undefined;
    const { bias } = params;
    if (rows > 0 && isHeld([inputs[index.x!]!, inputs[index.dy!]!, outputs[0]!], n)) {
      const flags = { RMS: rms, WEIGHT: weight, BIAS: bias, ADD: added !== undefined };
      const blocks = Math.min(blocksFor(rows, 8), 4 * target.processors);
      const sums = weight || bias;
      const args: CudaWord[] = [
        ...[index.x, index.weight, index.mean, index.rstd, index.dy].map(place),
        { output: 0 },
        added ?? 0,
        sums ? { temp: 0 } : 0,
        rows,
        blocks,
      ];
      const steps = [heldStep("norm_rows_grad", dtype, n, flags, args, blocks)];
      if (!sums) return { steps };
      const all = {
        ...heldStep(
          "norm_sums",
          "f32",
          n,
          { RMS: false, WEIGHT: false, BIAS: false, ADD: false },
          [{ temp: 0 }, weight ? { output: 1 } : 0, bias ? { output: outputs.length - 1 } : 0, blocks],
          n / 16,
        ),
        block: [1024, 1, 1] as const,
      };
      return { steps: [...steps, all], temps: [4 * 2 * n * blocks] };
    }
    if (dtype !== "f32") return `rows of ${n} in ${dtype}: only multiples of 32 up to ${MOST_HELD}`;
    const defines = [`RMS ${rms ? 1 : 0}`, `WEIGHT ${weight ? 1 : 0}`, `BIAS ${bias ? 1 : 0}`];
    const steps: CudaStep[] = [];
    if (rows > 0) {
      const args: CudaWord[] = [
        place(index.x),
        place(index.weight),
        place(index.mean),
        place(index.rstd),
        place(index.dy),
        { output: 0 },
        rows,
        n,
      ];
      steps.push(rowStep("layer-norm", "row_norm_grad", rows, n, defines, args));
    }
    if (!weight && !bias) return { steps };
    const segments = Math.max(1, Math.min(256, Math.floor(rows / 64)));
    const bytes = 4 * n * segments;
    steps.push({
      ...rowStep("layer-norm", "norm_columns", 1, 1, defines, [
        place(index.x),
        place(index.mean),
        place(index.rstd),
        place(index.dy),
        { temp: 0 },
        { temp: 1 },
        rows,
        n,
        Math.ceil(rows / segments),
      ]),
      grid: [blocksFor(n, 32), segments, 1],
    });
    steps.push({
      ...rowStep("layer-norm", "norm_combine", 1, 1, defines, [
        { temp: 0 },
        { temp: 1 },
        weight ? { output: 1 } : 0,
        bias ? { output: outputs.length - 1 } : 0,
        n,
        segments,
        weight ? 0 : 1,
      ]),
      grid: [blocksFor(n, 32), weight && bias ? 2 : 1, 1],
    });
    return { steps, temps: [bytes, bytes] };
  },
});

export const layerNormCuda: CudaSource<NormParams> = normSource(false);
export const layerNormGradCuda: CudaSource<NormGradParams> = normGradSource(false);
