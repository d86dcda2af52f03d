import { lowerNorm, lowerNormGrad } from "../norm-wasm.ts";
import type { WasmSource } from "../wasm-step.ts";
import type { NormParams } from "../norm.ts";
import type { RmsNormGradParams } from "./op.ts";

export const rmsNormWasm: WasmSource<NormParams> = {
  lower: (call, target) => lowerNorm(call, target, false),
};
export const rmsNormGradWasm: WasmSource<RmsNormGradParams> = {
  lower: (call, target) => lowerNormGrad(call, target, false),
};
