// `npm run bench -- cuda`: the kernels of the CUDA device.

import { cuda } from "@everlong/device-cuda";
import { cudaAdamWCase } from "./cuda-adamw.ts";
import { cudaAttentionCases } from "./cuda-attention.ts";
import { cudaConvolutionCases, cudaFullConvolutionCases } from "./cuda-fft-conv.ts";
import { cudaHyenaCases } from "./cuda-hyena.ts";
import { cudaMadStepCases } from "./cuda-mad-step.ts";
import { cudaShortConvCases } from "./cuda-short-conv.ts";
import { cudaStepPartCases } from "./cuda-step-parts.ts";
import { cudaSweepCases } from "./cuda-sweep.ts";
import { startTorch } from "./cuda-torch.ts";
import { cudaMemoryChecks } from "./flat-memory.ts";
import type { Suite } from "./suite.ts";

export const cudaSuite: Suite = {
  name: "cuda",
  describe: "kernels of the CUDA device beside PyTorch, cuDNN, FlashAttention and FlashFFTConv",
  device: "cuda",
  begin: startTorch,
  letGo: () => void cuda.releaseMemory(),
  cases: () => [
    ...cudaConvolutionCases(),
    ...cudaShortConvCases(),
    ...cudaAttentionCases(),
    ...cudaHyenaCases(),
    ...cudaMadStepCases(),
    ...cudaMemoryChecks(),
    ...cudaSweepCases(),
    ...cudaStepPartCases(),
    cudaAdamWCase(),
    ...cudaFullConvolutionCases(),
  ],
};
