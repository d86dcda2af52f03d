// NVRTC's functions and one compilation. Imports nothing of the project: threads that only compile start with it.

import { readdirSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";

const SIGNATURES = {
  nvrtcVersion: "int nvrtcVersion(void *, void *)",
  nvrtcGetNumSupportedArchs: "int nvrtcGetNumSupportedArchs(void *)",
  nvrtcGetSupportedArchs: "int nvrtcGetSupportedArchs(void *)",
  nvrtcCreateProgram: "int nvrtcCreateProgram(void *, const char *, const char *, int, void *, void *)",
  nvrtcCompileProgram: "int nvrtcCompileProgram(uint64_t, int, const char **)",
  nvrtcDestroyProgram: "int nvrtcDestroyProgram(void *)",
  nvrtcGetProgramLogSize: "int nvrtcGetProgramLogSize(uint64_t, void *)",
  nvrtcGetProgramLog: "int nvrtcGetProgramLog(uint64_t, void *)",
  nvrtcGetCUBINSize: "int nvrtcGetCUBINSize(uint64_t, void *)",
  nvrtcGetCUBIN: "int nvrtcGetCUBIN(uint64_t, void *)",
  nvrtcGetPTXSize: "int nvrtcGetPTXSize(uint64_t, void *)",
  nvrtcGetPTX: "int nvrtcGetPTX(uint64_t, void *)",
} as const;

type NvrtcFunction = (...args: (number | string | ArrayBufferView | readonly string[] | null)[]) => number;
export type NvrtcFunctions = { readonly [K in keyof typeof SIGNATURES]: NvrtcFunction };

/** What is used of koffi. */
interface LibraryLoader {
  load(path: string): { func(signature: string): (...args: never[]) => unknown };
}

/** Binds the library; throws what the loader throws. */
export function openNvrtc(koffi: LibraryLoader, path: string): NvrtcFunctions {
  const library = koffi.load(path);
  const bound = Object.entries(SIGNATURES).map(([name, signature]) => [name, library.func(signature)]);
  // NVRTC opens its builtins by name while it compiles, which the loader only finds on its own path; pip and conda put both files beside
  // each other elsewhere. Loaded before, they are found.
  if (isAbsolute(path)) {
    for (const name of readdirSync(dirname(path)))
      if (/^libnvrtc-builtins\.so[.\d]*$/.test(name)) koffi.load(join(dirname(path), name));
  }
  return Object.fromEntries(bound) as NvrtcFunctions;
}

/** `13.0`. */
export function versionOf(fn: NvrtcFunctions): string {
  const numbers = new Int32Array(new ArrayBuffer(8));
  fn.nvrtcVersion(numbers.subarray(0, 1), numbers.subarray(1));
  return `${numbers[0]}.${numbers[1]}`;
}

/** Compute capabilities, times ten, that the compiler makes machine code for. */
export function architecturesOf(fn: NvrtcFunctions): number[] {
  const count = new Int32Array(new ArrayBuffer(4));
  fn.nvrtcGetNumSupportedArchs(count);
  const found = new Int32Array(new ArrayBuffer(4 * Math.max(1, count[0]!)));
  fn.nvrtcGetSupportedArchs(found);
  return [...found].slice(0, count[0]);
}

/** The cubin of a source (PTX where the options ask for `compute_..`), or why there is none. */
export function compileSource(
  fn: NvrtcFunctions,
  source: string,
  name: string,
  options: readonly string[],
): Uint8Array<ArrayBuffer> | { readonly code: number; readonly log: string } {
  const cell = new BigUint64Array(new ArrayBuffer(8));
  const made = fn.nvrtcCreateProgram(cell, source, `${name}.cu`, 0, null, null);
  if (made !== 0) return { code: made, log: "NVRTC cannot create a program" };
  const program = Number(cell[0]);
  const size = new BigUint64Array(new ArrayBuffer(8));
  try {
    const code = fn.nvrtcCompileProgram(program, options.length, options);
    if (code !== 0) {
      fn.nvrtcGetProgramLogSize(program, size);
      const log = new Uint8Array(new ArrayBuffer(Math.max(1, Number(size[0]))));
      fn.nvrtcGetProgramLog(program, log);
      return { code, log: new TextDecoder().decode(log).replace(/\0+$/, "") };
    }
    const virtual = options.some((o) => o.includes("compute_"));
    (virtual ? fn.nvrtcGetPTXSize : fn.nvrtcGetCUBINSize)(program, size);
    const image = new Uint8Array(new ArrayBuffer(Number(size[0])));
    const got = (virtual ? fn.nvrtcGetPTX : fn.nvrtcGetCUBIN)(program, image);
    return got === 0 && image.length > 0 ? image : { code: got, log: "NVRTC gives no image" };
  } finally {
    cell[0] = BigInt(program);
    fn.nvrtcDestroyProgram(cell);
  }
}
