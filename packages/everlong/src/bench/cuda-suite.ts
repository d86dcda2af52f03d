// `npm run bench -- cuda`: the kernels of the CUDA device.

import { cudaConvolutionCases } from "./cuda-fft-conv.ts";
import type { Suite } from "./suite.ts";

export const cudaSuite: Suite = {
  name: "cuda",
  describe: "kernels of the CUDA device beside PyTorch and FlashFFTConv",
  cases: cudaConvolutionCases,
};
