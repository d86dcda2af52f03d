// WebAssembly sources by op, for devices that run them. A separate entry: other bundles do not carry it.

import { adamwWasm } from "./adamw/wasm.ts";
import { attentionGradWasm, attentionWasm } from "./attention/wasm.ts";
import {
  butterflyAdjointWasm,
  butterflyConvWasm,
  butterflyFilterGradWasm,
  butterflyMatrixGradWasm,
  butterflyWasm,
} from "./butterfly/wasm.ts";
import { transferGradWasm } from "./dplr-transfer/wasm-gradient.ts";
import { transferWasm } from "./dplr-transfer/wasm.ts";
import { crossEntropyGradWasm, crossEntropyWasm } from "./cross-entropy/wasm.ts";
import {
  fftConvCachedWasm,
  fftConvFilterGradWasm,
  fftConvSpectrumWasm,
  fftConvWasm,
} from "./fft-conv/wasm.ts";
import { embeddingGradWasm, embeddingWasm } from "./embedding/wasm.ts";
import { linearScanWasm } from "./gated-linear-attention/wasm.ts";
import { layerNormGradWasm, layerNormWasm } from "./layer-norm/wasm.ts";
import { lowFrequencyConvWasm } from "./low-frequency-conv/wasm.ts";
import { linearWasm } from "./matmul/wasm.ts";
import { onlineConvWasm } from "./online-conv/wasm.ts";
import { resolventSumsWasm, resolventWasm } from "./resolvent/wasm.ts";
import { rmsNormGradWasm, rmsNormWasm } from "./rms-norm/wasm.ts";
import { rotaryWasm } from "./rotary/wasm.ts";
import { selectiveScanGradWasm, selectiveScanWasm } from "./selective-scan/wasm.ts";
import { sgdWasm } from "./sgd/wasm.ts";
import { shortConvGradWasm, shortConvWasm } from "./short-conv/wasm.ts";
import { softmaxGradWasm, softmaxWasm } from "./softmax/wasm.ts";
import type { WasmSource } from "./wasm-step.ts";

export type * from "./wasm-step.ts";
export { matmulWasm } from "./matmul/wasm.ts";

/** Sources of fused ops, keyed by the op's name. */
export const wasmSources: Readonly<Record<string, WasmSource<never>>> = {
  adamw: adamwWasm,
  attention: attentionWasm,
  "attention-grad": attentionGradWasm,
  "block-sparse-attention": attentionWasm,
  "block-sparse-attention-grad": attentionGradWasm,
  butterfly: butterflyWasm,
  "butterfly-adjoint": butterflyAdjointWasm,
  "butterfly-conv": butterflyConvWasm,
  "butterfly-filter-grad": butterflyFilterGradWasm,
  "butterfly-matrix-grad": butterflyMatrixGradWasm,
  "cross-entropy": crossEntropyWasm,
  "cross-entropy-grad": crossEntropyGradWasm,
  "dplr-transfer": transferWasm,
  "dplr-transfer-grad": transferGradWasm,
  "fft-conv": fftConvWasm,
  "fft-conv-cached": fftConvCachedWasm,
  "fft-conv-filter-grad": fftConvFilterGradWasm,
  "fft-conv-spectrum": fftConvSpectrumWasm,
  embedding: embeddingWasm,
  "embedding-grad": embeddingGradWasm,
  "layer-norm": layerNormWasm,
  "layer-norm-grad": layerNormGradWasm,
  linear: linearWasm,
  "linear-scan": linearScanWasm,
  "low-frequency-conv": lowFrequencyConvWasm,
  "online-conv": onlineConvWasm,
  resolvent: resolventWasm,
  "resolvent-sums": resolventSumsWasm,
  "rms-norm": rmsNormWasm,
  "rms-norm-grad": rmsNormGradWasm,
  rotary: rotaryWasm,
  "selective-scan": selectiveScanWasm,
  "selective-scan-grad": selectiveScanGradWasm,
  sgd: sgdWasm,
  "short-conv": shortConvWasm,
  "short-conv-grad": shortConvGradWasm,
  softmax: softmaxWasm,
  "softmax-grad": softmaxGradWasm,
};
