import "./methods.ts";
import "./reference/register.ts";

export * from "./errors.ts";
export * from "./dtype.ts";
export * from "./shape.ts";
export * from "./view.ts";
export * from "./tree.ts";
export type {
  Buffer,
  BufferRole,
  BufferSpec,
  Device,
  DeviceStats,
  Executable,
  FusedStep,
  Instruction,
  KernelPrimitive,
  LoopStep,
  Operand as StepOperand,
  PrimitiveStep,
  Program,
  ReduceStep,
  ScanStep,
  Step,
  View,
} from "./device.ts";
export type * from "./op.ts";
export * from "./primitives.ts";
export * from "./execution/arena.ts";
export { Owners } from "./execution/owners.ts";
export * from "./execution/program-memory.ts";
export { RunProfile } from "./execution/run-profile.ts";
export * from "./execution/scan-loop.ts";
export * from "./execution/sizes.ts";
export * from "./execution/step-operands.ts";
export * from "./settings.ts";
export { Tensor } from "./tensor.ts";
export { Variable, withVariables } from "./variable.ts";
export { defineOp, definedOps } from "./define-op.ts";
export * from "./ops/creation.ts";
export * from "./ops/elementwise.ts";
export * from "./ops/movement.ts";
export * from "./ops/reduction.ts";
export * from "./ops/indexing.ts";
export * from "./ops/linalg.ts";
export * from "./ops/signal.ts";
export * from "./ops/complex.ts";
export * from "./ops/control.ts";
export * as random from "./random.ts";
export { grad, gradients, valueAndGrad } from "./autodiff.ts";
export { vmap } from "./vmap.ts";
export { compile, type Compiled } from "./compile.ts";
export { realize } from "./realize.ts";
export { runStepReference } from "./reference/fallback.ts";
