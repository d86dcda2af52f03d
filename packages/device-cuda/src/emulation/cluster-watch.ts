// Runs kernels of clusters (fft-conv/tensor-cluster*.cu) on the CPU in many orders and reports accesses to shared memory that nothing orders (`cluster-on-cpu.h`).

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import {
  H100,
  cudaPrelude,
  cudaSources,
  type CudaLowering,
  type CudaSource,
  type CudaStep,
  type CudaView,
  type CudaWord,
} from "@everlong/kernels/cuda";
import { withoutAssembly } from "./emulating-device.ts";

const HERE = fileURLToPath(new URL("./", import.meta.url));
/** The files that `cluster-on-cpu.h` stands for, from the first to the last line of their code. */
const INSTRUCTIONS = [
  /\/\/ Pairs of f16 in one register[\s\S]*?(?=\/\/ Transforms of 256 points in the registers)/,
  /\/\/ Clusters of thread blocks:[\s\S]*?(?=\/\/ Transforms of N S points that a cluster)/,
] as const;
/** Rows a cluster takes one after the other: the last overwrites what the first two left. */
const ITEMS = 3;
const TAPS = 64;

/** A convolution of one channel, or its gradients. */
export interface ClusterCall {
  readonly length: number;
  readonly batch: number;
  readonly circular?: boolean;
  readonly dtype?: "f16" | "bf16";
  readonly gates?: readonly ("preGate" | "postGate")[];
  /** Whose gradients; none: the convolution. */
  readonly wanted?: readonly ("u" | "k" | "preGate" | "postGate")[];
}

/** Which block is slow, or alone is fast; whether what travels is late; whether both orders are drawn. */
export interface ClusterOrder {
  readonly slow?: number;
  readonly fast?: number;
  readonly late?: boolean;
  readonly random?: boolean;
  readonly seed?: number;
}

export interface Watched {
  /** False where threads wait for each other for ever. */
  readonly ended: boolean;
  /** A digest of all results. */
  readonly bits: string;
  readonly reports: readonly string[];
}

const viewOf = (dtype: CudaView["dtype"], ...shape: number[]): CudaView => ({
  dtype,
  shape,
  strides: shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1)),
  offset: 0,
  aligned: true,
});
const bytesOf = ({ dtype, shape }: CudaView): number =>
  (dtype === "f32" ? 4 : 2) * shape.reduce((a, b) => a * b, 1);

function lowered(call: ClusterCall): {
  readonly step: CudaStep;
  readonly temps: readonly number[];
  readonly inputs: readonly CudaView[];
  readonly outputs: readonly CudaView[];
} {
  const { length, batch, circular = false, dtype = "f16", gates = [], wanted } = call;
  const [rows, taps] = [viewOf(dtype, batch, 1, length), viewOf("f32", 1, TAPS)];
  const names = ["u", "k", ...gates, ...(wanted ? ["dy"] : [])];
  const of = (name: string): CudaView => (name === "k" ? taps : rows);
  const inputs = names.map(of);
  const outputs = (wanted ?? ["y"]).map(of);
  const params = { layout: "bdl", circular, origin: 0, adjoint: false, inputs: names, wanted, taps: TAPS };
  const onlyFilter = wanted?.length === 1 && wanted[0] === "k";
  const name = onlyFilter ? "fft-conv-filter-grad" : wanted ? "fft-conv-backward" : "fft-conv";
  const source = cudaSources[name] as unknown as CudaSource<typeof params>;
  const found: CudaLowering | string = source.lower({ inputs, outputs, params }, H100);
  if (typeof found === "string") throw new Error(found);
  const step = (found.steps as CudaStep[]).find(({ kernel }) => kernel.entry.endsWith("_cluster"));
  if (!step) throw new Error(`no cluster takes ${length} points`);
  return { step, temps: found.temps ?? [], inputs, outputs };
}

/** What `watch` in the header reads: the launch, its buffers and words. */
function launchOf(call: ClusterCall, source: string): string {
  const { step, temps, inputs, outputs } = lowered(call);
  const { wanted, circular, batch, length, dtype } = call;
  const split = Number(/#define SPLIT (\d)/.exec(source)![1]);
  const groups = Math.ceil(batch / (circular && length === 2 ** Math.round(Math.log2(length)) ? 2 : 1));
  const args = step.args.with(wanted ? 24 : 17, ITEMS);
  const buffers: string[] = [];
  const places = new Map<string, number>();
  const kindOf = (word: CudaWord, i: number): string =>
    typeof word === "object" && ("output" in word || (wanted && (i === 9 || i === 10)))
      ? "o"
      : typeof word === "object" && "input" in word
        ? dtype === "bf16"
          ? "b"
          : "h"
        : i === (wanted ? 5 : 4)
          ? "f"
          : "h";
  const words = args.map((word, i) => {
    if (typeof word === "number") return `i ${word} 0`;
    if ("f32" in word) throw new Error("a number that no kernel of clusters has");
    const { byteOffset = 0, ...place } = word as typeof word & { readonly byteOffset?: number };
    const key = JSON.stringify(place);
    if (!places.has(key)) {
      const bytes =
        "input" in word
          ? bytesOf(inputs[word.input]!)
          : "output" in word
            ? bytesOf(outputs[word.output]!)
            : "temp" in word
              ? temps[word.temp]! * (wanted && i >= 9 ? groups : 1)
              : step.tables![word.table]!.bytes;
      // Every other row is much smaller, so that some are multiplied by their gates in float32.
      places.set(key, buffers.push(`${kindOf(word, i)} ${bytes} ${"input" in word ? length : 0}`) - 1);
    }
    return `b ${places.get(key)} ${byteOffset}`;
  });
  const grid = split * Math.ceil(groups / ITEMS);
  return [`${grid} ${step.block[0]} ${split} ${step.sharedBytes}`, buffers.length, ...buffers, ...words].join(
    "\n",
  );
}

/**
 * Runs the kernel of a call in each of some orders.
 *
 * @param folder for compiled kernels
 * @param breaks what to replace in the kernel's source first, to see whether that is noticed
 */
export function watch(
  call: ClusterCall,
  orders: readonly ClusterOrder[],
  folder: string,
  breaks?: readonly [string, string],
): Watched[] {
  const { kernel, args } = lowered(call).step;
  let source = kernel.source();
  const launch = launchOf(call, source);
  for (const file of INSTRUCTIONS) {
    if (!file.test(source)) throw new Error(`${kernel.entry} is not made of the files that are replaced`);
    source = source.replace(file, "");
  }
  if (breaks) {
    if (!source.includes(breaks[0])) throw new Error(`${kernel.entry} has no ${breaks[0]}`);
    source = source.replace(breaks[0], () => breaks[1]);
  }
  source = source
    .replace(`extern "C" __global__ void __cluster_dims__(S, 1, 1)`, "static void")
    .replace(/extern __shared__ .*?memory\[\];/, "u8* const memory = nullptr;");
  const text = `#include "${HERE}cuda-on-cpu.h"
${withoutAssembly(cudaPrelude)}
#include "${HERE}cluster-on-cpu.h"
${source}
int main(int count, char** words) { return emulation::watch<${args.length}>(count, words, ${kernel.entry}); }
`;
  const path = join(folder, createHash("sha256").update(`${text}${launch}`).digest("hex").slice(0, 24));
  if (!existsSync(path)) {
    writeFileSync(`${path}.cpp`, text);
    writeFileSync(`${path}.txt`, launch);
    execFileSync("g++", ["-std=c++17", "-O2", "-w", "-o", path, `${path}.cpp`], { stdio: "pipe" });
  }
  const given = orders.map(({ slow = -1, fast = -1, late = false, random = false, seed = 1 }) =>
    [slow, fast, late ? 1 : 0, random ? 1 : 0, seed].join(","),
  );
  const lines = execFileSync(path, [`${path}.txt`, ...given], { encoding: "utf8", maxBuffer: 2 ** 24 });
  return lines
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Watched);
}
