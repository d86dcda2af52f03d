export * from "./safetensors/dtype.ts";
export {
  parseHeader,
  readHeaderLength,
  type SafetensorsHeader,
  type TensorInfo,
} from "./safetensors/header.ts";
export * from "./safetensors/reader.ts";
export * from "./safetensors/writer.ts";
export * from "./safetensors/sharded.ts";
