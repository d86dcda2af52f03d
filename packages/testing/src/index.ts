import "./matcher.ts";

export { causality, type CausalityOptions } from "./causality.ts";
export { checkCase, checkOp, DEFAULT_TOLERANCES, type CheckOptions, type Tolerance } from "./check-op.ts";
export { devicesUnderTest, EXPECTED_DEVICES, hooksOf, strictly, type TestHooks } from "./devices.ts";
export { gradcheck, weightedLoss, type GradcheckOptions, type TensorFunction } from "./gradcheck.ts";
export { build, get, line, removed, replaced } from "./host-arrays.ts";
export { collectGarbage, leaks, type LeakOptions } from "./leaks.ts";
export {
  awayFromZero,
  distinct,
  integers,
  normal,
  positive,
  Random,
  SEED,
  uniform,
  type Sample,
} from "./random.ts";
export { maxError, relativeError, roundingOf, valuesOf } from "./relative-error.ts";
export { drawInputs, upload, type HostInput, type InputSpec, type OpCase, type Subject } from "./subject.ts";
