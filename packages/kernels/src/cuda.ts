// CUDA sources by op, for devices that run them. A separate entry: other bundles do not carry it.

import { adamwCuda } from "./adamw/cuda.ts";
import { attentionCuda, attentionGradCuda } from "./attention/cuda.ts";
import {
  butterflyAdjointCuda,
  butterflyConvCuda,
  butterflyCuda,
  butterflyFilterGradCuda,
  butterflyMatrixGradCuda,
} from "./butterfly/cuda.ts";
import {
  crossEntropyCuda,
  crossEntropyGradCuda,
  meanCrossEntropyCuda,
  meanCrossEntropyGradCuda,
} from "./cross-entropy/cuda.ts";
import type { CudaSource } from "./cuda-step.ts";
import { transferCuda, transferGradCuda } from "./dplr-transfer/cuda.ts";
import { embeddingCuda, embeddingGradCuda } from "./embedding/cuda.ts";
import {
  fftConvBackwardCuda,
  fftConvCachedCuda,
  fftConvCuda,
  fftConvFilterGradCuda,
  fftConvSpectrumCuda,
} from "./fft-conv/cuda.ts";
import { gateCuda, gateGradCuda } from "./gate/cuda.ts";
import { gatedUnitCuda, gatedUnitGradCuda } from "./gated-unit/cuda.ts";
import { linearScanCuda } from "./gated-linear-attention/cuda.ts";
import { globalNormCuda } from "./global-norm/cuda.ts";
import { layerNormCuda, layerNormGradCuda } from "./layer-norm/cuda.ts";
import { linearCuda, linearWeightGradCuda } from "./matmul/cuda.ts";
import { onlineConvCuda } from "./online-conv/cuda.ts";
import { resolventCuda, resolventSumsCuda } from "./resolvent/cuda.ts";
import { packedAttentionCuda, packedAttentionGradCuda } from "./packed-attention/cuda.ts";
import { packedHyenaCuda, packedHyenaGradCuda } from "./packed-hyena/cuda.ts";
import { rmsNormCuda, rmsNormGradCuda } from "./rms-norm/cuda.ts";
import { rotaryCuda } from "./rotary/cuda.ts";
import { roundedCopiesCuda } from "./rounded-copies/cuda.ts";
import { scaledAllCuda } from "./scaled-all/cuda.ts";
import { selectiveScanCuda, selectiveScanGradCuda } from "./selective-scan/cuda.ts";
import { sgdCuda } from "./sgd/cuda.ts";
import { shortConvCuda, shortConvGradCuda } from "./short-conv/cuda.ts";
import { sineNetworkCuda, sineNetworkGradCuda } from "./sine-network/cuda.ts";
import { softmaxCuda, softmaxGradCuda } from "./softmax/cuda.ts";

export type * from "./cuda-step.ts";
export { A100, H100 } from "./cuda-targets.ts";
export { cudaFilesDigest } from "./cuda-file.ts";
export { blocksFor, TILE_MAP_WORDS } from "./cuda-step.ts";
export { cudaPrelude, cudaType } from "./cuda-prelude.ts";
export { matmulCuda } from "./matmul/cuda.ts";

/** Sources of fused ops, keyed by the op's name. */
export const cudaSources: Readonly<Record<string, CudaSource<never>>> = {
  adamw: adamwCuda,
  attention: attentionCuda,
  "attention-grad": attentionGradCuda,
  "block-sparse-attention": attentionCuda,
  "block-sparse-attention-grad": attentionGradCuda,
  butterfly: butterflyCuda,
  "butterfly-adjoint": butterflyAdjointCuda,
  "butterfly-conv": butterflyConvCuda,
  "butterfly-filter-grad": butterflyFilterGradCuda,
  "butterfly-matrix-grad": butterflyMatrixGradCuda,
  "cross-entropy": crossEntropyCuda,
  "cross-entropy-grad": crossEntropyGradCuda,
  "dplr-transfer": transferCuda,
  "dplr-transfer-grad": transferGradCuda,
  embedding: embeddingCuda,
  "embedding-grad": embeddingGradCuda,
  "fft-conv": fftConvCuda,
  "fft-conv-backward": fftConvBackwardCuda,
  "fft-conv-cached": fftConvCachedCuda,
  "fft-conv-filter-grad": fftConvFilterGradCuda,
  "fft-conv-spectrum": fftConvSpectrumCuda,
  gate: gateCuda,
  "gate-grad": gateGradCuda,
  "gated-unit": gatedUnitCuda,
  "gated-unit-grad": gatedUnitGradCuda,
  "global-norm": globalNormCuda,
  "layer-norm": layerNormCuda,
  "layer-norm-grad": layerNormGradCuda,
  linear: linearCuda,
  "linear-scan": linearScanCuda,
  "linear-weight-grad": linearWeightGradCuda,
  "online-conv": onlineConvCuda,
  resolvent: resolventCuda,
  "resolvent-sums": resolventSumsCuda,
  "mean-cross-entropy": meanCrossEntropyCuda,
  "mean-cross-entropy-grad": meanCrossEntropyGradCuda,
  "packed-attention": packedAttentionCuda,
  "packed-attention-grad": packedAttentionGradCuda,
  "packed-hyena": packedHyenaCuda,
  "packed-hyena-grad": packedHyenaGradCuda,
  "rms-norm": rmsNormCuda,
  "rms-norm-grad": rmsNormGradCuda,
  rotary: rotaryCuda,
  "rounded-copies": roundedCopiesCuda,
  "scaled-all": scaledAllCuda,
  "selective-scan": selectiveScanCuda,
  "selective-scan-grad": selectiveScanGradCuda,
  sgd: sgdCuda,
  "short-conv": shortConvCuda,
  "short-conv-grad": shortConvGradCuda,
  "sine-network": sineNetworkCuda,
  "sine-network-grad": sineNetworkGradCuda,
  softmax: softmaxCuda,
  "softmax-grad": softmaxGradCuda,
};
