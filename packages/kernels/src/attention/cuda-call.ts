// What the CUDA sources of attention share: the sizes of a call, its argument words by name, and what a kernel is built for.

import type { CudaCall, CudaStep, CudaTarget, CudaView, CudaWord } from "../cuda-step.ts";
import { cudaFile } from "../cuda-file.ts";
import { named } from "../inputs.ts";
import type { AttentionParams } from "./op.ts";

type AnyParams = Omit<AttentionParams, "inputs"> & { readonly inputs: readonly string[] };
export type AttentionCall = CudaCall<AnyParams>;

/** Stands for "no limit" of a window: sums with positions stay below 2^31. */
const UNLIMITED = 2 ** 29;

const SHARED_WORDS =
  "q k v slopes keyLengths queryLengths qBatch qTime qHead kBatch kTime kHead vBatch vTime vHead heads group queries keys " +
  "keyDim valueDim left right slopeBatch together scoreScale cap capInverse lse " +
  "blockStarts blockColumns listStride blockQueries blockKeys marks";
export const FORWARD_WORDS: readonly string[] =
  `${SHARED_WORDS} y yBatch yTime yHead lseBatch lseTime lseHead rows`.split(" ");
export const BACKWARD_WORDS: readonly string[] =
  `${SHARED_WORDS} dy dyBatch dyTime dyHead delta scale dq dk dv`.split(" ");

/** Inputs that the kernels know. */
const INPUTS = [
  "q",
  "k",
  "v",
  "slopes",
  "keyLengths",
  "queryLengths",
  "blockStarts",
  "blockColumns",
  "dy",
  "lse",
  "delta",
];

export interface Sizes {
  readonly batch: number;
  readonly heads: number;
  readonly keyHeads: number;
  readonly queries: number;
  readonly keys: number;
  readonly keyDim: number;
  readonly valueDim: number;
  readonly dtype: "f16" | "bf16" | "f32";
  /** Queries and keys of a listed block, and how many sets of lists there are. */
  readonly lists: { readonly queries: number; readonly keys: number; readonly patterns: number } | undefined;
}

export interface ReadCall {
  readonly sizes: Sizes;
  readonly views: Readonly<Record<string, CudaView>>;
  readonly words: Readonly<Record<string, CudaWord>>;
}

/** A call taken apart, or the reason why no kernel computes it. */
export function readCall({ inputs, params }: AttentionCall): ReadCall | string {
  const views = named(params.inputs, inputs) as Record<string, CudaView>;
  const at = named(params.inputs, [...inputs.keys()]) as Record<string, number>;
  const unknown = params.inputs.find((name) => !INPUTS.includes(name));
  if (unknown !== undefined) return `no kernel with ${unknown}`;
  const [q, v] = [views["q"]!, views["v"]!];
  const { dtype } = q;
  if (dtype !== "f16" && dtype !== "bf16" && dtype !== "f32") return `no kernel for ${dtype}`;
  const [batch, queries, heads, keyDim] = q.shape as [number, number, number, number];
  const [, keys, keyHeads, valueDim] = v.shape as [number, number, number, number];
  if (Math.max(keyDim, valueDim) > 128) return `heads of ${Math.max(keyDim, valueDim)} are larger than 128`;
  if (Math.min(keyDim, valueDim) === 0) return "heads of size 0";
  const longest = Math.max(queries, keys);
  if (longest > UNLIMITED) return `sequences of ${longest} are longer than ${UNLIMITED}`;
  const words: Record<string, CudaWord> = {
    heads,
    group: heads / keyHeads,
    queries,
    keys,
    keyDim,
    valueDim,
    left: params.left < 0 ? UNLIMITED : Math.min(params.left, UNLIMITED),
    right: params.right < 0 ? UNLIMITED : Math.min(params.right, UNLIMITED),
    slopeBatch: views["slopes"]?.shape.length === 2 ? heads : 0,
    scoreScale: { f32: params.scale * Math.LOG2E },
    scale: { f32: params.scale },
    cap: { f32: params.softCap * Math.LOG2E },
    capInverse: { f32: params.softCap > 0 ? Math.LN2 / params.softCap : 0 },
  };
  for (const name of INPUTS) words[name] = at[name] === undefined ? 0 : { input: at[name] };
  for (const name of ["q", "k", "v", "dy"])
    for (const [axis, place] of ["Batch", "Time", "Head"].entries())
      words[`${name}${place}`] = views[name]?.strides[axis] ?? 0;
  const starts = views["blockStarts"];
  const lists = starts && {
    queries: params.blockSize![0],
    keys: params.blockSize![1],
    patterns: starts.shape[0]!,
  };
  if (starts && starts.shape.reduce((a, b) => a * b, 1) >= 2 ** 31) return "lists of more than 2^31 rows";
  words["listStride"] = lists && lists.patterns > 1 ? starts!.shape[1]! : 0;
  words["blockQueries"] = lists?.queries ?? 0;
  words["blockKeys"] = lists?.keys ?? 0;
  return { sizes: { batch, heads, keyHeads, queries, keys, keyDim, valueDim, dtype, lists }, views, words };
}

/** q, k, v and dy may lie anywhere as long as the channels of a head are next to each other. */
export const acceptsHeads = (input: number, view: CudaView, { params }: AttentionCall): boolean =>
  ["q", "k", "v", "dy"].includes(params.inputs[input]!) && (view.strides[3] === 1 || view.shape[3] === 1);

/** Tiles of `own` rows, which do not cross blocks of lists. */
export const tilesOf = (length: number, own: number, listed: number | undefined): number =>
  listed === undefined ? Math.ceil(length / own) : Math.ceil(length / listed) * Math.ceil(listed / own);

/** Fewer heads than these leave the last blocks of long sequences waiting for each other. */
const FEWEST_TOGETHER = 16;

/**
 * How many of `count` heads are worked on side by side: their keys and values (`bytes` each) should stay in the L2 cache while all
 * their tiles are under way. A divisor of `count`.
 */
export function headsTogether(count: number, bytes: number): number {
  let together = Math.min(count, Math.max(FEWEST_TOGETHER, Math.floor(24e6 / Math.max(1, bytes))));
  while (count % together !== 0) together--;
  return together;
}

export const bytesOfElement = ({ dtype }: Sizes): number => (dtype === "f32" ? 4 : 2);

/** C++ that gives every word of `words` its index `w_<name>`. */
export const wordIndices = (words: readonly string[]): string =>
  `enum { ${words.map((name, i) => `w_${name} = ${i}`).join(", ")}, WORDS = ${words.length} };`;

/** What a kernel of the mma.sync family is compiled for. */
export interface Build {
  readonly dtype: Sizes["dtype"];
  /** Head sizes, padded to the width of a product. */
  readonly keyDim: number;
  readonly valueDim: number;
  /** 16-row blocks of a warp. */
  readonly rows: number;
  /** Rows streamed at a time, and how many such tiles are in flight. */
  readonly block: number;
  readonly stages: number;
  readonly cap: boolean;
  readonly slopes: boolean;
  readonly lists: boolean;
  /** Whether a block walks a part of the keys only. */
  readonly parts: boolean;
}

/** Elements as the sources name them. */
export const CPP = { f16: "f16", bf16: "bf16", f32: "float" } as const;

/** The kernel `entry` of `file`. */
export function kernelOf(
  entry: string,
  file: string,
  words: readonly string[],
  b: Build,
): CudaStep["kernel"] {
  const defines = Object.entries({
    E: CPP[b.dtype],
    HALF: b.dtype === "f32" ? 0 : 1,
    MMA: `"${b.dtype}"`,
    KEY_DIM: b.keyDim,
    VALUE_DIM: b.valueDim,
    MT: b.rows,
    BLOCK: b.block,
    STAGES: b.stages,
    CAP: b.cap ? 1 : 0,
    SLOPES: b.slopes ? 1 : 0,
    LISTS: b.lists ? 1 : 0,
    PARTS: b.parts ? 1 : 0,
  });
  const head = [...defines.map(([name, value]) => `#define ${name} ${value}`), wordIndices(words)].join("\n");
  return {
    key: `attention ${entry} ${head}`,
    entry,
    source: () =>
      [
        head,
        ...["kernel-tiles.cu", "kernel-scores.cu", "kernel-walks.cu", "kernel-stream.cu", file].map((f) =>
          cudaFile(`attention/${f}`),
        ),
      ].join("\n"),
  };
}

/** A kernel of a file that needs no tiles. */
export function plainKernel(
  entry: string,
  file: string,
  words: readonly string[],
  defines: Readonly<Record<string, string | number>>,
): CudaStep["kernel"] {
  const lines = Object.entries(defines).map(([name, value]) => `#define ${name} ${value}`);
  const head = [...lines, wordIndices(words)].join("\n");
  return {
    key: `attention ${entry} ${head}`,
    entry,
    source: () => `${head}\n${cudaFile(`attention/${file}`)}`,
  };
}

/** Head sizes as the products of a dtype take them. */
export function paddedDims({ keyDim, valueDim, dtype }: Sizes): { keyDim: number; valueDim: number } {
  const step = dtype === "f32" ? 8 : 16;
  const pad = (n: number): number => Math.ceil(n / step) * step;
  return { keyDim: pad(keyDim), valueDim: pad(valueDim) };
}

/**
 * The largest tiles that fit: of `own` rows kept and `block` rows streamed. `kept` and `streamed` say how many matrices of key and of
 * value size are held of each kind.
 */
export function fitTiles(
  sizes: Sizes,
  target: CudaTarget,
  rows: number,
  kept: readonly [number, number],
  largest: number,
): { readonly block: number; readonly stages: number; readonly sharedBytes: number } | string {
  const { keyDim, valueDim } = paddedDims(sizes);
  const bytes = bytesOfElement(sizes);
  const [kRow, vRow] = [keyDim * bytes + 16, valueDim * bytes + 16];
  let least = 0;
  for (const [block, stages] of [
    [largest, 2],
    [largest, 1],
    [32, 2],
    [32, 1],
    // Gradients in float32 with heads of 128 and 99 KiB of shared memory.
    [16, 1],
  ] as const) {
    least = 64 * rows * (kept[0] * kRow + kept[1] * vRow) + stages * block * (kRow + vRow + 8);
    if (least <= target.sharedLimit) return { block, stages, sharedBytes: least };
  }
  return `needs ${least} bytes of shared memory a block, the GPU has ${target.sharedLimit}`;
}
