// CUDA source of root-mean-square norm: that of layer norm without the mean.

import type { CudaSource } from "../cuda-step.ts";
import { normGradSource, normSource } from "../layer-norm/cuda.ts";
import type { NormParams } from "../norm.ts";
import type { RmsNormGradParams } from "./op.ts";

export const rmsNormCuda: CudaSource<NormParams> = normSource(true);
export const rmsNormGradCuda: CudaSource<RmsNormGradParams> = normGradSource(
  true,
) as CudaSource<RmsNormGradParams>;
