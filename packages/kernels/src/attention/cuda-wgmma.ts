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
import {
  headsTogether,
  plainKernel,
  tilesOf,
  wordIndices,
  type AttentionCall,
  type ReadCall,
  type Sizes,
} from "./cuda-call.ts";
import { bytesOfParts, joinParts, packedHeads, placesOf } from "./cuda-parts.ts";
import {
  forwardPlan,
  gradientParts,
  KEYS_OF_TILE,
  QUERIES_OF_STEP,
  type ForwardPlan,
  type GradientParts,
} from "./cuda-plan.ts";
import { takeTemp, type Frame } from "./cuda-rows.ts";

/** Counters of tiles handed out: zero between launches, since the last block of each clears them. */
const COUNTERS: CudaTable = { key: "attention/counters", bytes: 16, fill: () => {} };

/** Why a call is not for wgmma, if it is not. Everything else goes to the mma.sync kernels. */
export function wgmmaRefusal(
  call: AttentionCall,
  { sizes, views }: ReadCall,
  target: CudaTarget,
): string | undefined {
  const { params } = call;
  if (target.arch !== 90) return "wgmma is sm_90's";
  if (sizes.dtype === "f32") return "wgmma multiplies halves";
  if (params.softCap > 0 || views["slopes"]) return "scores are bent";
  if (!(params.scale > 0)) return "the largest score is not that of the largest product";
  if (sizes.batch * sizes.heads * sizes.queries * sizes.keys === 0) return "there is nothing to copy";
  return undefined;
}

/** Rows of results leave warp by warp. */
const ROWS_OF_WARP = 16;

/** A tile map word of an input or a result: boxes of 64 columns and `rows` rows of one head. */
function rowsMap({ sizes, words }: ReadCall, name: string, rows: number): CudaWord {
  const ofQueries = ["q", "y", "dy", "dq"].includes(name);
  const [time, heads] = ofQueries ? [sizes.queries, sizes.heads] : [sizes.keys, sizes.keyHeads];
  const dim = ["q", "k", "dq", "dk"].includes(name) ? sizes.keyDim : sizes.valueDim;
  return {
    ...(words[name] as Exclude<CudaWord, number | { f32: number } | { table: number }>),
    map: {
      dtype: sizes.dtype as "f16" | "bf16",
      sizes: [dim, time, heads, sizes.batch],
      strides: ["Time", "Head", "Batch"].map((axis) => 2 * (words[name + axis] as number)),
      box: [64, rows, 1, 1],
    },
  };
}

/** Where a gradient that is shaped as its input lies: `[B, T, H, K]` without gaps. */
const straightWords = (name: string, to: CudaWord, shape: readonly number[]): Record<string, CudaWord> => ({
  [name]: to,
  [`${name}Batch`]: shape[0]! * shape[1]! * shape[2]!,
  [`${name}Time`]: shape[1]! * shape[2]!,
  [`${name}Head`]: shape[2]!,
});

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
  pass: "forward" | "backward",
  names: readonly string[],
  read: ReadCall,
  defines: Readonly<Record<string, number>>,
  columns: readonly number[],
): CudaStep["kernel"] {
  const { dtype, lists } = read.sizes;
  const all = Object.entries({ E: dtype, MMA: `"${dtype}"`, LISTS: lists ? 1 : 0, ...defines });
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
        lists ? cudaFile("attention/kernel-walks.cu") : "",
        cudaFile(`attention/kernel-wgmma-${pass}-tiles.cu`),
        cudaFile(`attention/kernel-wgmma-${pass}.cu`),
      ].join("\n"),
  };
}

const pick = (words: Readonly<Record<string, CudaWord>>, names: string): Record<string, CudaWord> =>
  Object.fromEntries(names.split(" ").map((name) => [name, words[name]!]));

/** What kernels read of lists of blocks, where there are any. */
const listWords = ({ sizes, words }: ReadCall): Record<string, CudaWord> =>
  sizes.lists
    ? {
        ...pick(words, "blockStarts blockColumns listStride blockQueries blockKeys"),
        marks: words["marks"] ?? 0,
      }
    : {};
const hasLengths = ({ views }: ReadCall): 0 | 1 => (views["keyLengths"] || views["queryLengths"] ? 1 : 0);
/** Head sizes as the tiles have them. */
const headOf = ({ keyDim, valueDim }: Sizes): 64 | 128 => (Math.max(keyDim, valueDim) > 64 ? 128 : 64);
/** Columns of rows that products take, of those that tiles have: all where results leave without the copy engine, which knows how long rows are. */
const columnsOf = (sizes: Sizes, dim: number): number =>
  sizes.lists ? headOf(sizes) : 16 * Math.ceil(dim / 16);

/** The forward pass, over heads of a group as rows where that is better ({@link packedHeads}). */
export function wgmmaForward(
  call: AttentionCall,
  whole: ReadCall,
  target: CudaTarget,
  { outputs, temps }: Frame = { outputs: [{ output: 0 }], temps: [] },
  plan?: ForwardPlan,
): CudaLowering {
  const read = packedHeads(call, whole);
  const { sizes } = read;
  const { groups, block, stages, resident, held, registers, parts } =
    plan ?? forwardPlan(call.params, sizes, target, hasLengths(read) === 1);
  const head = headOf(sizes);
  const values = columnsOf(sizes, sizes.valueDim);
  const own = 64 * groups;
  const count = sizes.batch * sizes.heads;
  const tiles = tilesOf(sizes.queries, own, sizes.lists?.queries) * count * parts;
  const words = { ...read.words, ...placesOf(whole.sizes, sizes), y: outputs[0]!, lse: { output: 1 } };
  const split = parts > 1;
  const [partY, partLse] = split ? bytesOfParts(sizes, parts).map((bytes) => takeTemp(temps, bytes)) : [];
  // Rows of lists and of parts end elsewhere than memory does.
  const boxes = !split && !sizes.lists;
  const { names, args } = wordsOf(
    {
      qMap: rowsMap(read, "q", own),
      kMap: rowsMap(read, "k", block),
      vMap: rowsMap(read, "v", block),
      ...(boxes ? { yMap: rowsMap({ ...read, words }, "y", ROWS_OF_WARP) } : {}),
    },
    {
      ...(boxes ? {} : { yMap: 0 }),
      ...pick(words, "heads group queries keys valueDim left right scoreScale keyLengths queryLengths"),
      ...listWords(read),
      ...pick(words, "yBatch yTime yHead lseBatch lseTime lseHead rows"),
      together: headsTogether(count, sizes.keys * head * 4),
      tiles,
      parts,
      counters: { table: 0 },
      y: partY ?? words.y,
      lse: partLse ?? words.lse,
    },
  );
  const queryTiles = held ? 1 : 2;
  const tileBytes = 2 * head * ((queryTiles + (boxes ? 1 : 0)) * own + 2 * stages * block);
  const multiply: CudaStep = {
    kernel: wgmmaKernel(
      "attention_wgmma",
      "forward",
      names,
      read,
      {
        HEAD: head,
        KEY_COLUMNS: columnsOf(sizes, sizes.keyDim),
        VALUE_COLUMNS: values,
        OWN: own,
        GROUPS: groups,
        BLOCK: block,
        STAGES: stages,
        RESIDENT: resident,
        HELD: held ? 1 : 0,
        PARTS: split ? 1 : 0,
        LENGTHS: hasLengths(read),
        COPY_REGISTERS: registers[0],
        PRODUCT_REGISTERS: registers[1],
      },
      [block, values],
    ),
    args,
    grid: [Math.min(resident * target.processors, tiles), 1, 1],
    block: [128 * (groups + 1), 1, 1],
    // 1 KiB to reach a multiple of it; 256 bytes of barriers.
    sharedBytes: tileBytes + 1024 + 256,
    tables: [COUNTERS],
  };
  if (!partY || !partLse) return { steps: [multiply], temps };
  return { steps: [multiply, joinParts(sizes, { ...words, partY, partLse }, parts)], temps };
}

/** The launches of the gradient: pad rows and clear the scratch, multiply, bring dq into its place, sum parts. */
export function wgmmaBackward(
  call: AttentionCall,
  read: ReadCall,
  target: CudaTarget,
  { outputs, temps }: Frame = { outputs: [{ output: 0 }, { output: 1 }, { output: 2 }], temps: [] },
  cut: GradientParts = gradientParts(call.params, read.sizes, target, {
    lengths: hasLengths(read) === 1,
    deterministic: call.params.deterministic === true,
  }),
): CudaLowering {
  const { sizes, words } = read;
  const head = headOf(sizes);
  const [columns, values] = [columnsOf(sizes, sizes.keyDim), columnsOf(sizes, sizes.valueDim)];
  // Each of two sides has half of a tile's columns of dq, or of those there are.
  const ofSide = head === 64 && columns <= 32 ? 16 : head / 2;
  const rows = sizes.batch * sizes.heads;
  const blocks = rows * Math.ceil(sizes.queries / QUERIES_OF_STEP);
  const count = sizes.batch * sizes.keyHeads * cut.heads;
  const parts = cut.heads * cut.steps;
  const tiles = tilesOf(sizes.keys, KEYS_OF_TILE, sizes.lists?.keys) * count * cut.steps;
  const grid = Math.min(target.processors, cut.whole ? count : tiles);
  const keyRows = sizes.batch * sizes.keys * sizes.keyHeads;
  const alone = sizes.keys <= KEYS_OF_TILE && !sizes.lists;
  const { whole } = cut;
  const ordered = call.params.deterministic === true && !alone && !whole;
  const split = parts > 1;
  const temp = (bytes: number): CudaWord => takeTemp(temps, bytes);
  const [dq, dk, dv] = outputs as [CudaWord, CudaWord, CudaWord];
  const places = {
    rowLse: temp(blocks * QUERIES_OF_STEP * 4),
    rowDelta: temp(blocks * QUERIES_OF_STEP * 4),
    // Blocks with heads of their own keep what they work on.
    scratch: alone
      ? 0
      : temp(
          (whole ? (grid * blocks) / (sizes.batch * sizes.keyHeads) : blocks) * QUERIES_OF_STEP * columns * 4,
        ),
    turns: ordered ? temp(blocks * 32) : 0,
    dkParts: split ? temp(parts * keyRows * sizes.keyDim * 4) : 0,
    dvParts: split ? temp(parts * keyRows * sizes.valueDim * 4) : 0,
  };
  const { queries, keys, heads, keyHeads, keyDim, valueDim } = sizes;
  const results: ReadCall = {
    ...read,
    words: {
      ...straightWords("dq", dq, [queries, heads, keyDim]),
      ...straightWords("dk", dk, [keys, keyHeads, keyDim]),
      ...straightWords("dv", dv, [keys, keyHeads, valueDim]),
    },
  };
  // Rows of lists end elsewhere than memory does, and those of parts are no halves.
  const boxes = {
    ...(alone || whole ? { dqMap: rowsMap(results, "dq", ROWS_OF_WARP) } : {}),
    ...(split || sizes.lists
      ? {}
      : { dkMap: rowsMap(results, "dk", ROWS_OF_WARP), dvMap: rowsMap(results, "dv", ROWS_OF_WARP) }),
  };
  const define = {
    HEAD: head,
    KEY_COLUMNS: columns,
    DQ_COLUMNS: ofSide,
    QUERIES: QUERIES_OF_STEP,
    LENGTHS: hasLengths(read),
    WHOLE: whole ? 1 : 0,
  };
  const main = wordsOf(
    {
      qMap: rowsMap(read, "q", QUERIES_OF_STEP),
      kMap: rowsMap(read, "k", KEYS_OF_TILE),
      vMap: rowsMap(read, "v", KEYS_OF_TILE),
      dyMap: rowsMap(read, "dy", QUERIES_OF_STEP),
      ...boxes,
    },
    {
      ...pick(words, "heads group queries keys keyDim valueDim left right scoreScale scale"),
      ...pick(words, "keyLengths queryLengths"),
      ...listWords(read),
      ...pick(places, "rowLse rowDelta scratch turns"),
      keyHeads: sizes.keyHeads,
      together: whole
        ? 1
        : headsTogether(count, (sizes.queries * head * 4 * sizes.batch * sizes.heads) / count),
      tiles,
      headParts: cut.heads,
      parts: cut.steps,
      keyRows,
      counters: { table: 0 },
      dq,
      dk: split ? places.dkParts : dk,
      dv: split ? places.dvParts : dv,
      // Names that the kernel has and does not use.
      ...Object.fromEntries(
        ["dqMap", "dkMap", "dvMap"].filter((name) => !(name in boxes)).map((name) => [name, 0]),
      ),
    },
  );
  // The keys of the next tile arrive while one is worked on: what short walks wait for. Wide heads gain nothing (measured).
  const tilesOfKeys = head === 64 ? 2 : 1;
  const tileBytes =
    2 * head * (2 * tilesOfKeys * KEYS_OF_TILE + 4 * QUERIES_OF_STEP) +
    4 * QUERIES_OF_STEP * KEYS_OF_TILE +
    16 * QUERIES_OF_STEP +
    (sizes.lists ? 0 : 4 * KEYS_OF_TILE * head);
  const ends = wordsOf(
    {},
    {
      ...pick(words, "heads queries keys keyDim valueDim right scale lse delta keyLengths queryLengths"),
      ...places,
      rows,
      keyRows,
      parts,
      dq,
      dk,
      dv,
    },
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
      "backward",
      main.names,
      read,
      {
        ...define,
        VALUE_COLUMNS: values,
        // As the walks through lists call them.
        OWN: KEYS_OF_TILE,
        BLOCK: QUERIES_OF_STEP,
        HELD: head === 64 ? 1 : 0,
        ORDERED: ordered ? 1 : 0,
        ALONE: alone ? 1 : 0,
        PARTS: split ? 1 : 0,
        KV_STAGES: tilesOfKeys,
        COPY_REGISTERS: head === 64 ? 40 : 24,
        PRODUCT_REGISTERS: head === 64 ? 232 : 240,
      },
      [QUERIES_OF_STEP, columns, values, ofSide],
    ),
    args: main.args,
    grid: [grid, 1, 1],
    block: [384, 1, 1],
    sharedBytes: tileBytes + 1024 + 256,
    tables: [COUNTERS],
  };
  const steps = [end("attention_grad_start", blocks * QUERIES_OF_STEP), multiply];
  if (!alone && !whole)
    steps.push(end("attention_grad_finish", (blocks * QUERIES_OF_STEP * sizes.keyDim) / 16));
  if (split) steps.push(end("attention_grad_join", (keyRows * (sizes.keyDim + sizes.valueDim)) / 4));
  return { steps, temps };
}
