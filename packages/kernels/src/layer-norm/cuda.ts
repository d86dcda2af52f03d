// CUDA source of layer norm and, with one flag, of root-mean-square norm.

import { productOf, rowStep } from "../cuda-rows.ts";
import { blocksFor, type CudaSource, type CudaStep, type CudaWord } from "../cuda-step.ts";
import { named } from "../inputs.ts";
import type { NormParams } from "../norm.ts";
import type { NormGradParams } from "./op.ts";

const place = (index: number | undefined): CudaWord => (index === undefined ? 0 : { input: index });

/** Forward pass: outputs y, (mean,) rstd. */
export const normSource = (rms: boolean): CudaSource<NormParams> => ({
  lower: ({ inputs, outputs, params }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const index = named(
      params.inputs,
      inputs.map((_, i) => i),
    );
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    if (rows === 0) return { steps: [] };
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
  lower: ({ inputs, outputs, params }) => {
    const { shape, dtype } = outputs[0]!;
    if (dtype !== "f32") return `no kernel for ${dtype}`;
    const index = named(
      params.inputs,
      inputs.map((_, i) => i),
    );
    const n = shape.at(-1)!;
    const rows = productOf(shape) / n;
    const weight = index.weight !== undefined;
    const { bias } = params;
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
