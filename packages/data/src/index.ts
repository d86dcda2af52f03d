export * from "./safetensors/dtype.ts";
export {
  parseHeader,
  readHeaderLength,
  type SafetensorsHeader,
  type TensorInfo,
} from "./safetensors/header.ts";
export { toFloat32, toFloat64 } from "./safetensors/convert.ts";
export * from "./safetensors/reader.ts";
export * from "./safetensors/writer.ts";
export * from "./safetensors/sharded.ts";
export { openFile, readFileBytes, type RandomAccessFile } from "./files/random-access-file.ts";
export { makeFolder } from "./files/folder.ts";
export { writeWhole } from "./files/whole-file.ts";
export type { BitGenerator } from "./numpy-random/bit-generator.ts";
export { SeedSequence, type Seed } from "./numpy-random/seed-sequence.ts";
export { Pcg64, type Pcg64State } from "./numpy-random/pcg64.ts";
export { Mt19937 } from "./numpy-random/mt19937.ts";
export { defaultRng, Generator, type IntegerDType, type IntegersOptions } from "./numpy-random/generator.ts";
export { RandomState } from "./numpy-random/random-state.ts";
export type { ChoiceOptions } from "./numpy-random/choice.ts";
export { lemire32, masked32, shuffleInPlace } from "./numpy-random/bounded.ts";
export { KeyedBits, philox4x32 } from "./keyed-random/philox.ts";
export type { NpyData, NpyDType } from "./npy/dtype.ts";
export { parseNpy, writeNpy, type NpyArray } from "./npy/npy.ts";
export { Npz, parseNpz, writeNpz } from "./npy/npz.ts";
export * from "./parity-case.ts";
