import { lowerNorm, lowerNormGrad } from "../norm-wasm.ts";
import type { WasmSource } from "../wasm-step.ts";
import type { NormGradParams, NormParams } from "./op.ts";

export const layerNormWasm: WasmSource<NormParams> = {
  lower: (call, target) => lowerNorm(call, target, true),
};
export const layerNormGradWasm: WasmSource<NormGradParams> = {
  lower: (call, target) => lowerNormGrad(call, target, true),
};
