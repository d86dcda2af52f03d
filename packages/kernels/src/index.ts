// Fused ops: one line each. Sources for devices stand behind entries of their own (`./wasm`), so that a bundle carries only
// what its device reads.

export * from "./fft-conv/fft-conv.ts";
export * from "./fft-conv/sparse.ts";
export * from "./fft-conv/op.ts";
export * from "./fft-conv/cached-op.ts";
export * from "./low-frequency-conv/op.ts";
export * from "./online-conv/op.ts";
export * from "./chunked-conv/op.ts";
export { resolvent, resolventOp, resolventSumsOp } from "./resolvent/op.ts";
export * from "./dplr-transfer/op.ts";
export { solveComplex } from "./dplr-transfer/solve-complex.ts";
export * from "./matmul/op.ts";
export * from "./gate/op.ts";
export * from "./gated-unit/op.ts";
export * from "./packed-hyena/op.ts";
export * from "./scaled-all/op.ts";
export * from "./sine-network/op.ts";
export * from "./packed-attention/op.ts";
export * from "./rounded-copies/op.ts";
export * from "./global-norm/op.ts";
export { fullPrecision, isMixed, mixedPrecision, type MixedPrecision } from "./precision.ts";
export * from "./attention/op.ts";
export * from "./butterfly/op.ts";
export * from "./softmax/op.ts";
export * from "./cross-entropy/op.ts";
export * from "./layer-norm/op.ts";
export * from "./rms-norm/op.ts";
export * from "./short-conv/op.ts";
export * from "./embedding/op.ts";
export * from "./rotary/op.ts";
export * from "./selective-scan/op.ts";
export * from "./gated-linear-attention/op.ts";
export * from "./adamw/op.ts";
export * from "./sgd/op.ts";
