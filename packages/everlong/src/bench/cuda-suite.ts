// `npm run bench -- cuda`: the CUDA device beside cuDNN, FlashFFTConv and PyTorch on the same GPU.

import { cudaAttentionCases } from "./cuda-attention.ts";
import { cudaConvolutionCases } from "./cuda-fft-conv.ts";
import { cudaShortConvCases } from "./cuda-short-conv.ts";
import type { Suite } from "./suite.ts";

export const cudaSuite: Suite = {
  name: "cuda",
  describe: "attention, long and short convolutions on an NVIDIA GPU, half precision",
  cases: () => [...cudaShortConvCases(), ...cudaConvolutionCases(), ...cudaAttentionCases()],
};
