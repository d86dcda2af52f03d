// `npm run bench -- cuda`: the kernels of the CUDA device.

import { cudaAttentionCases } from "./cuda-attention.ts";
import { cudaConvolutionCases } from "./cuda-fft-conv.ts";
import { cudaHyenaCases } from "./cuda-hyena.ts";
import { cudaMadStepCases } from "./cuda-mad-step.ts";
import { cudaShortConvCases } from "./cuda-short-conv.ts";
import { cudaMemoryChecks } from "./flat-memory.ts";
import type { Suite } from "./suite.ts";

export const cudaSuite: Suite = {
  name: "cuda",
  describe: "kernels of the CUDA device beside PyTorch, cuDNN, FlashAttention and FlashFFTConv",
  device: "cuda",
  cases: () => [
    ...cudaConvolutionCases(),
    ...cudaShortConvCases(),
    ...cudaAttentionCases(),
    ...cudaHyenaCases(),
    ...cudaMadStepCases(),
    ...cudaMemoryChecks(),
  ],
};
