// All cases; an entry of its own, so that programs do not carry them.

import type { BenchCase } from "./bench.ts";
import { bench as adamw } from "./adamw/bench.ts";
import { bench as attention } from "./attention/bench.ts";
import { bench as butterfly } from "./butterfly/bench.ts";
import { bench as crossEntropy } from "./cross-entropy/bench.ts";
import { bench as dplrTransfer } from "./dplr-transfer/bench.ts";
import { bench as embedding } from "./embedding/bench.ts";
import { bench as fftConv } from "./fft-conv/bench.ts";
import { bench as gatedLinearAttention } from "./gated-linear-attention/bench.ts";
import { bench as layerNorm } from "./layer-norm/bench.ts";
import { bench as lowFrequencyConv } from "./low-frequency-conv/bench.ts";
import { bench as linear } from "./matmul/bench.ts";
import { bench as onlineConv } from "./online-conv/bench.ts";
import { bench as resolvent } from "./resolvent/bench.ts";
import { bench as rmsNorm } from "./rms-norm/bench.ts";
import { bench as rotary } from "./rotary/bench.ts";
import { bench as selectiveScan } from "./selective-scan/bench.ts";
import { bench as sgd } from "./sgd/bench.ts";
import { bench as shortConv } from "./short-conv/bench.ts";
import { bench as softmax } from "./softmax/bench.ts";

export {
  prepareBench,
  type BenchCase,
  type BenchInput,
  type MadeInput,
  type PreparedBench,
} from "./bench.ts";

export const benches: readonly BenchCase[] = [
  ...linear,
  ...fftConv,
  ...lowFrequencyConv,
  ...attention,
  ...butterfly,
  ...dplrTransfer,
  ...rotary,
  ...softmax,
  ...crossEntropy,
  ...layerNorm,
  ...onlineConv,
  ...resolvent,
  ...rmsNorm,
  ...shortConv,
  ...embedding,
  ...selectiveScan,
  ...gatedLinearAttention,
  ...adamw,
  ...sgd,
];
