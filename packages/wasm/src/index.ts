// The public face of @everlong/wasm.
export { FunctionBuilder, type FunctionRef, type Label } from "./function-builder.ts";
export type { MemoryOps } from "./memory-ops.ts";
export { MAX_MEMORY_PAGES, ModuleBuilder, type Signature } from "./module-builder.ts";
export type {
  F32Ops,
  F32x4Ops,
  F64Ops,
  F64x2Ops,
  I16x8Ops,
  I32Ops,
  I32x4Ops,
  I64Ops,
  I64x2Ops,
  I8x16Ops,
  V128Ops,
} from "./operations.ts";
export type {
  F32,
  F64,
  I32,
  I64,
  Target,
  Value,
  ValueType,
  Variable,
  Vec,
  VecOperand,
  VecVariable,
} from "./values.ts";
export {
  ceil,
  cos,
  erf,
  exp,
  expm1,
  floor,
  gelu,
  geluTanh,
  log,
  log1p,
  pow,
  relu,
  round,
  sigmoid,
  silu,
  sin,
  softplus,
  tanh,
  trunc,
  type VecFunction,
} from "./maths.ts";
export { supportsRelaxedSimd, supportsSimd, testPairing, type PairingTest } from "./probe.ts";
