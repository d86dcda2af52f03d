// `npm run bench -- cuda`: the CUDA device beside cuDNN and PyTorch on the same GPU.

import { cudaAttentionCases } from "./cuda-attention.ts";
import { cudaShortConvCases } from "./cuda-short-conv.ts";
import type { Suite } from "./suite.ts";

export const cudaSuite: Suite = {
  name: "cuda",
  describe: "attention and short convolutions on an NVIDIA GPU, half precision",
  cases: () => [...cudaShortConvCases(), ...cudaAttentionCases()],
};
