import { lowerNorm, lowerNormGrad } from "../norm-wasm.ts";
import type { WasmSource } from "../wasm-step.ts";
import type { NormParams } from "../norm.ts";
import type { NormGradParams } from "./op.ts";

export const layerNormWasm: WasmSource<NormParams> = {
  lower: (call, target) => lowerNorm(call, target, true),
};
export const layerNormGradWasm: WasmSource<NormGradParams> = {
  lower: (call, target) => lowerNormGrad(call, target, true),
};
