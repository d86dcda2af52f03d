// CUDA C++ to machine code in process, through NVRTC.

import { readdirSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { DeviceError } from "@everlong/core";
import { bindLibrary, koffi } from "./driver.ts";
import { libraryCandidates } from "./search-libraries.ts";

const SIGNATURES = {
  nvrtcVersion: "int nvrtcVersion(void *, void *)",
  nvrtcCreateProgram: "int nvrtcCreateProgram(void *, const char *, const char *, int, void *, void *)",
  nvrtcCompileProgram: "int nvrtcCompileProgram(uint64_t, int, const char **)",
  nvrtcDestroyProgram: "int nvrtcDestroyProgram(void *)",
  nvrtcGetProgramLogSize: "int nvrtcGetProgramLogSize(uint64_t, void *)",
  nvrtcGetProgramLog: "int nvrtcGetProgramLog(uint64_t, void *)",
  nvrtcGetCUBINSize: "int nvrtcGetCUBINSize(uint64_t, void *)",
  nvrtcGetCUBIN: "int nvrtcGetCUBIN(uint64_t, void *)",
} as const;

const NAMES = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/**
 * NVRTC opens its builtins by name while it compiles, which the loader only finds on its own path; pip and conda put both files beside
 * each other elsewhere. Loaded before, they are found.
 */
function loadBuiltins(library: string): void {
  if (!isAbsolute(library)) return;
  const folder = dirname(library);
  for (const name of readdirSync(folder))
    if (/^libnvrtc-builtins\.so[.\d]*$/.test(name)) koffi().load(join(folder, name));
}

/** The run-time compiler. */
export class Nvrtc {
  /** `13.0`. */
  readonly version: string;
  private readonly fn: ReturnType<typeof bindLibrary<keyof typeof SIGNATURES>>;

  private constructor(fn: Nvrtc["fn"]) {
    this.fn = fn;
    const numbers = new Int32Array(new ArrayBuffer(8));
    fn.nvrtcVersion(numbers.subarray(0, 1), numbers.subarray(1));
    this.version = `${numbers[0]}.${numbers[1]}`;
  }

  /** Opens the library, or says where it was looked for and which package brings it. */
  static open(): Nvrtc {
    const given = process.env["EVERLONG_NVRTC"];
    const tried = given ? [given] : libraryCandidates(NAMES);
    let cause: unknown;
    for (const path of tried) {
      try {
        const functions = bindLibrary(path, SIGNATURES);
        loadBuiltins(path);
        return new Nvrtc(functions);
      } catch (error) {
        cause = error;
      }
    }
    throw new DeviceError("cuda", "the run-time compiler NVRTC was not found", {
      expected: NAMES.slice(0, 2).join(" or "),
      hint:
        'It is not part of the driver: install the CUDA toolkit (Debian/Ubuntu: cuda-nvrtc-13-0), "pip install nvidia-cuda-nvrtc", or ' +
        '"conda install cuda-nvrtc"; or name the file in EVERLONG_NVRTC.',
      cause,
    });
  }

  /** Compiles to a cubin. A failure is a bug of ours; the log and the source are in the message. */
  compile(source: string, name: string, options: readonly string[]): Uint8Array {
    const { fn } = this;
    const cell = new BigUint64Array(new ArrayBuffer(8));
    const made = fn.nvrtcCreateProgram(cell, source, `${name}.cu`, 0, null, null);
    if (made !== 0) throw new DeviceError("cuda", "NVRTC cannot create a program", { got: `error ${made}` });
    const program = Number(cell[0]);
    const size = new BigUint64Array(new ArrayBuffer(8));
    try {
      const compile = fn.nvrtcCompileProgram as unknown as (
        p: number,
        n: number,
        o: readonly string[],
      ) => number;
      const code = compile(program, options.length, options);
      if (code !== 0) {
        fn.nvrtcGetProgramLogSize(program, size);
        const log = new Uint8Array(new ArrayBuffer(Math.max(1, Number(size[0]))));
        fn.nvrtcGetProgramLog(program, log);
        const numbered = source
          .split("\n")
          .map((line, i) => `${String(i + 1).padStart(4)} ${line}`)
          .join("\n");
        throw new DeviceError("cuda", `kernel ${name} does not compile`, {
          got: `NVRTC error ${code}\n${new TextDecoder().decode(log).replace(/\0+$/, "")}\n${numbered}\n`,
        });
      }
      fn.nvrtcGetCUBINSize(program, size);
      const cubin = new Uint8Array(new ArrayBuffer(Number(size[0])));
      const got = fn.nvrtcGetCUBIN(program, cubin);
      if (got !== 0 || cubin.length === 0)
        throw new DeviceError("cuda", "NVRTC gives no cubin", { got: `error ${got}` });
      return cubin;
    } finally {
      cell[0] = BigInt(program);
      fn.nvrtcDestroyProgram(cell);
    }
  }
}
