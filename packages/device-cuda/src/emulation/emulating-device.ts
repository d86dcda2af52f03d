// A device that lowers to CUDA and runs the kernels on the CPU, compiled by g++ (`cuda-on-cpu.h`): indices, barriers, table and argument words
// of fused ops' kernels are checked where there is no GPU. Other steps, and those whose kernels hold more inline assembly (wgmma, the copy engine) take the
// values of their reference. Slow: a fiber a thread.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { DeviceError, DTYPES, type DType, type Step, type TypedArray } from "@everlong/core";
import { H100, type CudaStep, type CudaTarget, type CudaWord } from "@everlong/kernels/cuda";
import { wholeSource } from "../kernel-cache.ts";
import type { Lowered } from "../lowered.ts";
import { LoweringDevice } from "../lowering-device.ts";
import { lower } from "../lowering.ts";

const HEADER = fileURLToPath(new URL("./cuda-on-cpu.h", import.meta.url));
const TENSOR_CORES = readFileSync(new URL("./tensor-cores-on-cpu.h", import.meta.url), "utf8");
/** The functions of tensor-cores.cu, from the first to the last. */
const TENSOR_CORES_ON_GPU = /__device__ __forceinline__ u32 shared_address[\s\S]*?void copies_wait\(\).*\n/;
const WORD = 8;
/** Bytes of the stacks of a block's fibers; as in the header. */
const STACKS = 1024 * 64 * 1024;
/** Compiled once, with the same options as the kernels. */
const OPTIONS = ["-std=c++17", "-O1", "-w", "-fPIC", "-ffp-contract=off"];

/** The prelude's assembly. */
const CONVERSIONS: readonly (readonly [RegExp, string])[] = [
  [/asm volatile\("griddepcontrol\.wait;" ::: "memory"\);/g, ""],
  [/asm\("cvt\.f32\.f16 .*?\(x\.bits\)\);/g, "y = emulation::from_half(x.bits);"],
  [/asm\("cvt\.rn\.f16\.f32 .*?\(x\)\);/g, "d.bits = emulation::to_half(x);"],
  [/asm\("cvt\.rn\.bf16\.f32 .*?\(x\)\);/g, "d.bits = emulation::to_bfloat(x);"],
  [/asm\("cvt\.rzi\.s32\.f32 .*?\(x\)\);/g, "y = emulation::to_int(x);"],
];

/** The assembly of attention's products beyond what tensor-cores.cu has too, and the one function that both have. */
const PRODUCTS: readonly (readonly [RegExp, string])[] = [
  [/__device__ __forceinline__ u32 pair\(float low, float high\) \{[^}]*\}/, ""],
  [/asm\("cvt\.rna\.tf32\.f32 %0, %1;" : "=r"\((\w+)\) : "f"\((.+)\)\);/g, "$1 = emulation::to_tf32($2);"],
  [
    /asm volatile\("mma\.sync\.aligned\.m16n8k16[^;]*;"[^;]*;/,
    "emulation::multiply<16>(c, {{a.high[0], a.high[1], a.high[2], a.high[3]}, {b0, b1}});",
  ],
  [
    /asm volatile\("mma\.sync\.aligned\.m16n8k8[^;]*;"[^;]*"\+f"[^;]*;/,
    "emulation::multiply_tf32(c, a, b0, b1);",
  ],
  [
    /asm volatile\("mma\.sync\.aligned\.m16n8k8[^;]*;"[^;]*"=f"[^;]*;/,
    "c[0] = c[1] = c[2] = c[3] = 0.f;\n  emulation::multiply_tf32(c, a, b0, b1);",
  ],
  [/asm volatile\("ldmatrix\.sync\.aligned\.m8n8\.x4\.shared[^;]*;"[^;]*;/, "load4(r, p);"],
  [/asm volatile\("ldmatrix\.sync\.aligned\.m8n8\.x4\.trans[^;]*;"[^;]*;/, "load_turned4(r, p);"],
];

/** A source without the assembly of the prelude and of `more`. */
export const withoutAssembly = (source: string, more: typeof CONVERSIONS = []): string =>
  [...CONVERSIONS, ...more].reduce((text, [assembly, call]) => text.replace(assembly, call), source);

type Launch = (words: DataView, sizes: Uint32Array, sharedBytes: number, stacks: Uint8Array) => number;
interface Koffi {
  load(path: string): { func(signature: string): Launch };
  address(value: ArrayBufferView): bigint;
}

/** Without the vendor's library. */
const launchesOf = (steps: Lowered["steps"]): CudaStep[] =>
  steps.flatMap((s) => ("library" in s ? launchesOf(s.otherwise) : [s]));

export class EmulatingDevice extends LoweringDevice {
  /** Launches that ran on the CPU. */
  launches = 0;
  private readonly folder: string;
  private readonly koffi: Koffi = createRequire(import.meta.url)("koffi") as Koffi;
  private readonly stacks = new Uint8Array(new ArrayBuffer(STACKS));
  private readonly built = new Map<string, Launch | undefined>();

  /** @param folder for compiled kernels, which are found again */
  constructor(folder: string, target: CudaTarget = H100) {
    super({ target });
    this.folder = folder;
    mkdirSync(folder, { recursive: true });
    const header = join(folder, "cuda-on-cpu.h");
    if (existsSync(`${header}.gch`)) return;
    copyFileSync(HEADER, header);
    execFileSync("g++", [...OPTIONS, "-x", "c++-header", "-o", `${header}.gch`, header], { stdio: "pipe" });
  }

  /** Fresh memory is full of NaN, so that reading what nobody wrote shows. */
  protected override fresh(dtype: DType, bytes: number): TypedArray {
    const memory = DTYPES[dtype].array(bytes / DTYPES[dtype].bytes);
    new Uint8Array(memory.buffer).fill(0xff);
    return memory;
  }

  protected override runStep(step: Step, storage: TypedArray[]): void {
    // Generated loops are many, and each would be compiled.
    const lowered = step.kind === "fused" ? lower(step, this.target) : undefined;
    if (lowered === undefined || typeof lowered === "string") return super.runStep(step, storage);
    const launches = launchesOf(lowered.steps);
    const kernels = launches.map((l) => this.kernel(l));
    if (kernels.includes(undefined)) return super.runStep(step, storage);
    const temps = lowered.temps.map((bytes) => new Uint8Array(new ArrayBuffer(bytes)).fill(0xff));
    launches.forEach((launch, i) => {
      const tables = (launch.tables ?? []).map((table) => {
        const memory = new DataView(new ArrayBuffer(table.bytes));
        const { fill } = table;
        fill(memory);
        return memory;
      });
      const words = this.words(launch.args, lowered, { storage, temps, tables });
      const sizes = Uint32Array.from([...launch.grid, ...launch.block]);
      if (kernels[i]!(words, sizes, launch.sharedBytes ?? 0, this.stacks) !== 0)
        throw new DeviceError("cuda", `threads of ${launch.kernel.entry} wait for each other for ever`);
      this.launches++;
    });
  }

  private words(
    args: readonly CudaWord[],
    lowered: Lowered,
    memory: {
      readonly storage: readonly TypedArray[];
      readonly temps: readonly Uint8Array[];
      readonly tables: readonly DataView[];
    },
  ): DataView {
    const words = new DataView(new ArrayBuffer(WORD * args.length));
    const place = (word: Exclude<CudaWord, number | { readonly f32: number }>): ArrayBufferView => {
      if ("table" in word) return memory.tables[word.table]!;
      if ("temp" in word) return memory.temps[word.temp]!;
      const operand = "input" in word ? lowered.inputs[word.input] : lowered.outputs[word.output];
      return memory.storage[operand!.buffer]!;
    };
    args.forEach((word, i) => {
      if (typeof word === "number") words.setBigInt64(WORD * i, BigInt(word), true);
      else if ("f32" in word) words.setFloat32(WORD * i, word.f32, true);
      else {
        const offset = "table" in word ? 0 : (word.byteOffset ?? 0);
        words.setBigUint64(WORD * i, this.koffi.address(place(word)) + BigInt(offset), true);
      }
    });
    return words;
  }

  /** The compiled kernel, or undefined where it holds assembly. */
  private kernel({ kernel, args }: CudaStep): Launch | undefined {
    if (!this.built.has(kernel.key)) this.built.set(kernel.key, this.compile(kernel, args));
    return this.built.get(kernel.key);
  }

  private compile(kernel: CudaStep["kernel"], args: readonly CudaWord[]): Launch | undefined {
    const whole = wholeSource(kernel);
    let source = withoutAssembly(
      whole.replace(TENSOR_CORES_ON_GPU, () => TENSOR_CORES),
      PRODUCTS,
    );
    if (/\basm\b/.test(source)) return undefined;
    source = source.replace(
      /extern __shared__ (?:__align__\(\d+\) )?([\w ]+?)\s*(\w+)\[\];/g,
      "\n#define $2 (($1*)emulation::dynamic_shared)\n",
    );
    const text = `#include "cuda-on-cpu.h"
${source}
extern "C" int run(void* words, unsigned int* sizes, uint64_t dynamic_bytes, void* stacks) {
  return emulation::launch([&] { ${kernel.entry}(*(Words<${args.length}>*)words); }, sizes, dynamic_bytes, stacks);
}
`;
    const name = join(this.folder, createHash("sha256").update(text).digest("hex").slice(0, 24));
    if (!existsSync(`${name}.so`)) {
      writeFileSync(`${name}.cpp`, text);
      execFileSync("g++", [...OPTIONS, "-shared", "-o", `${name}.so`, `${name}.cpp`], { stdio: "pipe" });
    }
    return this.koffi.load(`${name}.so`).func("int run(void *, void *, uint64_t, void *)");
  }
}
