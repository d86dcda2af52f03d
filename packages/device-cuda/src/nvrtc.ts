// CUDA C++ to machine code in process, through NVRTC.

import { DeviceError } from "@everlong/core";
import { koffi } from "./driver.ts";
import { compileSource, openNvrtc, versionOf, type NvrtcFunctions } from "./nvrtc-compile.ts";
import { libraryCandidates } from "./search-libraries.ts";

const NAMES = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/** What to do where there is no NVRTC. */
export const NVRTC_PACKAGES: string =
  'install the CUDA toolkit (Debian/Ubuntu: cuda-nvrtc-13-0), "pip install nvidia-cuda-nvrtc", or "conda install cuda-nvrtc"; ' +
  "or name the file in EVERLONG_NVRTC";

/** The run-time compiler. */
export class Nvrtc {
  /** `13.0`. */
  readonly version: string;
  /** The library's file, or its name where the loader finds it. */
  readonly path: string;
  private readonly fn: NvrtcFunctions;

  private constructor(path: string) {
    this.fn = openNvrtc(koffi(), path);
    this.path = path;
    this.version = versionOf(this.fn);
  }

  /** Opens the library, or says where it was looked for and which package brings it. */
  static open(): Nvrtc {
    const given = process.env["EVERLONG_NVRTC"];
    const tried = given ? [given] : libraryCandidates(NAMES);
    let cause: unknown;
    for (const path of tried) {
      try {
        return new Nvrtc(path);
      } catch (error) {
        cause = error;
      }
    }
    throw new DeviceError("cuda", "the run-time compiler NVRTC was not found", {
      expected: NAMES.slice(0, 2).join(" or "),
      ...(given ? { got: `EVERLONG_NVRTC=${given}` } : {}),
      hint: `It is not part of the driver: ${NVRTC_PACKAGES}.`,
      cause,
    });
  }

  /** Compiles to a cubin. A failure is a bug of ours; the log and the source are in the message. */
  compile(source: string, name: string, options: readonly string[]): Uint8Array {
    const image = compileSource(this.fn, source, name, options);
    if (image instanceof Uint8Array) return image;
    const numbered = source
      .split("\n")
      .map((line, i) => `${String(i + 1).padStart(4)} ${line}`)
      .join("\n");
    throw new DeviceError("cuda", `kernel ${name} does not compile`, {
      got: `NVRTC error ${image.code}\n${image.log}\n${numbered}\n`,
    });
  }
}
