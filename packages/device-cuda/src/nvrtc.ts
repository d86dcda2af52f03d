// CUDA C++ to machine code in process, through NVRTC.

import { DeviceError } from "@everlong/core";
import { koffi } from "./shared-library.ts";
import {
  architecturesOf,
  compileSource,
  openNvrtc,
  versionOf,
  type NvrtcFunctions,
} from "./nvrtc-compile.ts";
import { libraryCandidates } from "./search-libraries.ts";

const NAMES = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
/** The first major version that compiles what the kernels are written in. */
const OLDEST = 12;
/** Ends the reason against a version that updating the driver would make fit. */
const NEWER = ", newer than the driver";

const cudaOf = (driver: number): readonly [major: number, minor: number] => [
  Math.floor(driver / 1000),
  (driver % 1000) / 10,
];

/** What to do where there is no NVRTC for a driver of this CUDA version, times 1000. */
export function installNvrtc(driver: number): string {
  const [major, minor] = cudaOf(driver);
  // From CUDA 13 on the package for Python has no version in its name.
  const pip = major < 13 ? `nvidia-cuda-nvrtc-cu${major}` : `nvidia-cuda-nvrtc~=${major}.0`;
  return (
    `install the CUDA toolkit (Debian/Ubuntu: cuda-nvrtc-${major}-${minor}), "pip install ${pip}", or "conda install cuda-nvrtc=${major}.${minor}"; ` +
    "or name the file in EVERLONG_NVRTC"
  );
}

/** What the compiler's output must run on. */
export interface CompileFor {
  /** CUDA version of the driver, times 1000. */
  readonly driver: number;
  /** Compute capability, times ten. */
  readonly arch: number;
}

/** Why a compiler of this version and these architectures is of no use; undefined where it is. */
function unfit(
  version: string,
  architectures: readonly number[],
  { driver, arch }: CompileFor,
): string | undefined {
  const major = Number(version.split(".")[0]);
  // Machine code of a newer major version than the driver's does not load.
  if (major > Math.floor(driver / 1000)) return `${version}${NEWER}`;
  if (major < OLDEST) return `${version}, older than ${OLDEST}.0`;
  return architectures.includes(arch)
    ? undefined
    : `${version}, which does not know compute capability ${(arch / 10).toFixed(1)}`;
}

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

  /** Opens the first library that fits, or says what there is and which package brings one. */
  static open(target: CompileFor): Nvrtc {
    const given = process.env["EVERLONG_NVRTC"];
    const tried = given ? [given] : libraryCandidates(NAMES);
    const unfitting = new Set<string>();
    let cause: unknown;
    for (const path of tried) {
      try {
        const found = new Nvrtc(path);
        const reason = unfit(found.version, architecturesOf(found.fn), target);
        if (reason === undefined) return found;
        unfitting.add(reason);
      } catch (error) {
        cause = error;
      }
    }
    const [major, minor] = cudaOf(target.driver);
    const install = installNvrtc(target.driver);
    if (unfitting.size > 0)
      throw new DeviceError("cuda", "no run-time compiler NVRTC that was found fits", {
        expected: `${OLDEST}.0 to ${major}.x for this driver (CUDA ${major}.${minor}) and compute capability ${(target.arch / 10).toFixed(1)}`,
        got: [...unfitting].join("; "),
        hint: [...unfitting].some((reason) => reason.endsWith(NEWER))
          ? `Update the driver, or ${install}.`
          : `${install[0]!.toUpperCase()}${install.slice(1)}.`,
      });
    throw new DeviceError("cuda", "the run-time compiler NVRTC was not found", {
      expected: NAMES.slice(0, 2).join(" or "),
      ...(given ? { got: `EVERLONG_NVRTC=${given}` } : {}),
      hint: `It is not part of the driver: ${install}.`,
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
