// Attention on sm_90 by wgmma and the copy engine (kernel-wgmma*.cu): when it is used, and its launches.

import {
  blocksFor,
  TILE_MAP_WORDS,
  type CudaLowering,
  type CudaStep,
  type CudaTable,
  type CudaTarget,
  type CudaWord,
} from "../cuda-step.ts";
import { cudaFile } from "../cuda-file.ts";
import { headsTogether, plainKernel, wordIndices, type AttentionCall, type ReadCall } from "./cuda-call.ts";

/** Counters of tiles handed out: zero between launches, since the last block of each clears them. */
const COUNTERS: CudaTable = { key: "attention/counters", bytes: 16, fill: () => {} };

/** Keys that a block of the gradient owns. */
const KEYS_OF_BLOCK = 128;

/** Why a call is not for wgmma, if it is not. Everything else goes to the mma.sync kernels. */
export function wgmmaRefusal(
  call: AttentionCall,
  { sizes, views }: ReadCall,
  target: CudaTarget,
): string | undefined {
  const { params } = call;
  if (target.arch !== 90) return "wgmma is sm_90's";
  if (sizes.dtype === "f32") return "wgmma multiplies halves";
  if (sizes.lists) return "blocks meet by lists";
  if (params.softCap > 0 || views["slopes"]) return "scores are bent";
  // What lies behind a sequence's own length may be NaN; only masked loads leave it out.
  if (views["keyLengths"] || views["queryLengths"]) return "sequences are padded";
  if (!(params.scale > 0)) return "the largest score is not that of the largest product";
  // Narrow heads are padded to 64: they gain later.
  const shortest = Math.max(sizes.keyDim, sizes.valueDim) < 32 ? 512 : 256;
  if (sizes.queries < shortest || sizes.keys < 128) return "too short for its tiles";
  if (sizes.keyDim % 8 !== 0 || sizes.valueDim % 8 !== 0) return "rows are no multiple of 16 bytes";
  if (!call.outputs.every((view) => view.aligned)) return "results do not lie on multiples of 16 bytes";
  for (const name of ["q", "k", "v", "dy"]) {
    const view = views[name];
    if (view && !(view.aligned && view.strides.slice(0, 3).every((s) => s > 0 && s % 8 === 0)))
      return `${name} does not lie on multiples of 16 bytes`;
  }
  return undefined;
}

/** A tile map word of an input `[B, T, H, D]`: boxes of 64 columns and `rows` rows of one head. */
export function rowsMap(call: AttentionCall, read: ReadCall, name: string, rows: number): CudaWord {
  const view = read.views[name]!;
  const [batch, time, heads, dim] = view.shape as [number, number, number, number];
  const [perBatch, perTime, perHead] = view.strides as [number, number, number, number];
  return {
    input: call.params.inputs.indexOf(name),
    map: {
      dtype: read.sizes.dtype as "f16" | "bf16",
      sizes: [dim, time, heads, batch],
      strides: [perTime, perHead, perBatch].map((s) => 2 * s),
      box: [64, rows, 1, 1],
    },
  };
}

/** Names and arguments in step, with tile maps first; a launch reads its words to a multiple of 64 bytes. */
export function wordsOf(
  maps: Readonly<Record<string, CudaWord>>,
  words: Readonly<Record<string, CudaWord>>,
): { readonly names: string[]; readonly args: CudaWord[] } {
  const names: string[] = [];
  const args: CudaWord[] = [];
  for (const [name, word] of Object.entries(maps)) {
    names.push(name, ...Array.from({ length: TILE_MAP_WORDS - 1 }, (_, i) => `${name}${i + 1}`));
    args.push(word);
  }
  for (const [name, word] of Object.entries(words)) {
    names.push(name);
    args.push(word);
  }
  for (let i = 0; names.length % 8 !== 0; i++) {
    names.push(`spare${i}`);
    args.push(0);
  }
  return { names, args };
}

/** `Product<n>`: 64 rows by n columns over 16, in registers; the left operand from shared memory or from registers. */
function productText(n: number, type: string): string {
  const sums = n / 2;
  const list = (from: number, count: number): string =>
    Array.from({ length: count }, (_, i) => `%${from + i}`).join(", ");
  const outputs = Array.from({ length: sums }, (_, i) => `"+f"(d[${i}])`).join(", ");
  const code = (left: string, right: number, keep: number, flags: string): string =>
    `asm volatile("{\\n.reg .pred p;\\nsetp.ne.b32 p, %${keep}, 0;\\n` +
    `wgmma.mma_async.sync.aligned.m64n${n}k16.f32.${type}.${type} {${list(0, sums)}}, ${left}, %${right}, p, 1, 1, ${flags};\\n}"\n      : ${outputs}`;
  return `
template <> struct Product<${n}> {
  template <int LEFT_TRANSPOSED, int RIGHT_TRANSPOSED> static __device__ __forceinline__ void shared(float (&d)[${sums}], u64 a, u64 b, int keep) {
    ${code(`%${sums}`, sums + 1, sums + 2, `%${sums + 3}, %${sums + 4}`)}
      : "l"(a), "l"(b), "r"(keep), "n"(LEFT_TRANSPOSED), "n"(RIGHT_TRANSPOSED));
  }
  template <int RIGHT_TRANSPOSED> static __device__ __forceinline__ void registers(float (&d)[${sums}], u32 a0, u32 a1, u32 a2, u32 a3, u64 b, int keep) {
    ${code(`{${list(sums, 4)}}`, sums + 4, sums + 5, `%${sums + 6}`)}
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "l"(b), "r"(keep), "n"(RIGHT_TRANSPOSED));
  }
};`;
}

/** A kernel of the wgmma family; `columns` are the widths of its products. */
export function wgmmaKernel(
  entry: string,
  file: string,
  names: readonly string[],
  read: ReadCall,
  defines: Readonly<Record<string, number>>,
  columns: readonly number[],
): CudaStep["kernel"] {
  const { dtype } = read.sizes;
  const all = Object.entries({ E: dtype, MMA: `"${dtype}"`, ...defines });
  const head = [...all.map(([name, value]) => `#define ${name} ${value}`), wordIndices(names)].join("\n");
  const products = [
    "template <int N> struct Product;",
    ...new Set(columns.map((n) => productText(n, dtype))),
  ];
  return {
    key: `attention ${entry} ${head}`,
    entry,
    source: () =>
      [
        head,
        "#ifdef __CUDA_ARCH_FEAT_SM90_ALL",
        ...products,
        "#endif",
        cudaFile("attention/kernel-wgmma.cu"),
        cudaFile(`attention/${file}`),
      ].join("\n"),
  };
}

/** Keys from which the larger blocks of wide heads pay. */
const LONG = 4096;

/** The one launch of the forward pass. */
export function wgmmaForward(call: AttentionCall, read: ReadCall, target: CudaTarget): CudaStep {
  const { sizes, words } = read;
  const wide = Math.max(sizes.keyDim, sizes.valueDim) > 64;
  const [head, groups, stages] = wide ? [128, 2, 2] : [64, 3, 3];
  // As many keys as registers hold; over short sequences the edges cost more than that brings.
  const block = wide && sizes.keys >= LONG ? 144 : 128;
  const own = 64 * groups;
  const count = sizes.batch * sizes.heads;
  const tiles = Math.ceil(sizes.queries / own) * count;
  const { names, args } = wordsOf(
    {
      qMap: rowsMap(call, read, "q", own),
      kMap: rowsMap(call, read, "k", block),
      vMap: rowsMap(call, read, "v", block),
    },
    {
      ...pick(words, "heads group queries keys valueDim left right scoreScale"),
      together: headsTogether(count, sizes.keys * head * 4),
      tiles,
      counters: { table: 0 },
      y: { output: 0 },
      lse: { output: 1 },
    },
  );
  const tileBytes = 2 * head * (own + 2 * stages * block);
  return {
    kernel: wgmmaKernel(
      "attention_wgmma",
      "kernel-wgmma-forward.cu",
      names,
      read,
      { HEAD: head, GROUPS: groups, BLOCK: block, STAGES: stages },
      [block, head],
    ),
    args,
    grid: [Math.min(target.processors, tiles), 1, 1],
    block: [128 * (groups + 1), 1, 1],
    // 1 KiB to reach a multiple of it; 128 bytes of barriers.
    sharedBytes: tileBytes + 1024 + 128,
    tables: [COUNTERS],
  };
}

/** Queries that a block of the gradient walks at a time. */
const QUERIES = 64;

/** The launches of the gradient: pad rows and clear the scratch, multiply, bring dq into its place. */
export function wgmmaBackward(call: AttentionCall, read: ReadCall, target: CudaTarget): CudaLowering {
  const { sizes, words } = read;
  const head = Math.max(sizes.keyDim, sizes.valueDim) > 64 ? 128 : 64;
  const rows = sizes.batch * sizes.heads;
  const blocks = rows * Math.ceil(sizes.queries / QUERIES);
  const count = sizes.batch * sizes.keyHeads;
  const tiles = Math.ceil(sizes.keys / KEYS_OF_BLOCK) * count;
  const places = { scratch: { temp: 0 }, rowLse: { temp: 1 }, rowDelta: { temp: 2 }, turns: { temp: 3 } };
  const define = { HEAD: head, QUERIES };
  const main = wordsOf(
    {
      qMap: rowsMap(call, read, "q", QUERIES),
      kMap: rowsMap(call, read, "k", KEYS_OF_BLOCK),
      vMap: rowsMap(call, read, "v", KEYS_OF_BLOCK),
      dyMap: rowsMap(call, read, "dy", QUERIES),
    },
    {
      ...pick(words, "heads group queries keys keyDim valueDim left right scoreScale scale"),
      ...places,
      keyHeads: sizes.keyHeads,
      together: headsTogether(count, sizes.queries * head * 4 * (sizes.heads / sizes.keyHeads)),
      tiles,
      counters: { table: 0 },
      dk: { output: 1 },
      dv: { output: 2 },
    },
  );
  const tileBytes =
    2 * (2 * KEYS_OF_BLOCK * head + 4 * QUERIES * head + 2 * QUERIES * KEYS_OF_BLOCK) + 16 * QUERIES;
  const ends = wordsOf(
    {},
    { ...pick(words, "heads queries keyDim scale lse delta"), ...places, rows, dq: { output: 0 } },
  );
  const end = (entry: string, threads: number): CudaStep => ({
    kernel: plainKernel(entry, "kernel-wgmma-ends.cu", ends.names, { E: sizes.dtype, ...define }),
    args: ends.args,
    grid: [blocksFor(threads, 256), 1, 1],
    block: [256, 1, 1],
  });
  const multiply: CudaStep = {
    kernel: wgmmaKernel(
      "attention_grad_wgmma",
      "kernel-wgmma-backward.cu",
      main.names,
      read,
      {
        ...define,
        HELD: head === 64 ? 1 : 0,
        ORDERED: call.params.deterministic ? 1 : 0,
        COPY_REGISTERS: head === 64 ? 40 : 24,
        PRODUCT_REGISTERS: head === 64 ? 232 : 240,
      },
      [QUERIES, head, head / 2],
    ),
    args: main.args,
    grid: [Math.min(target.processors, tiles), 1, 1],
    block: [384, 1, 1],
    sharedBytes: tileBytes + 1024 + 128,
    tables: [COUNTERS],
  };
  return {
    steps: [
      end("attention_grad_start", blocks * QUERIES),
      multiply,
      end("attention_grad_finish", (blocks * QUERIES * sizes.keyDim) / 16),
    ],
    temps: [blocks * QUERIES * head * 4, blocks * QUERIES * 4, blocks * QUERIES * 4, blocks * 32],
  };
}

const pick = (words: Readonly<Record<string, CudaWord>>, names: string): Record<string, CudaWord> =>
  Object.fromEntries(names.split(" ").map((name) => [name, words[name]!]));
