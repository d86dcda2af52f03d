// Launches of the embedding's gradient for large tables: places are sorted by row, then every row adds its own.

import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import { blocksFor, type CudaLowering, type CudaStep, type CudaWord } from "../cuda-step.ts";

/** Bits of a digit, whose counts for 16 warps a block holds. */
const MOST_BITS = 10;
const SORT_THREADS = 512;
/** Keys that a block of the sort moves at a time, and the most blocks: each reads the counts of all. */
const TILE = 2048;
const MOST_SEGMENTS = 128;
/** Places that one warp adds in turn, as a power of two: they give some 2,000 warps work, and are few enough to lose no digits. */
const [LEAST_SHIFT, MOST_SHIFT, ENOUGH_PARTS] = [6, 10, 2048];
const MOST_PLACES = 2 ** 32;

/** Sizes of the gradient. */
export interface EmbeddingGradSizes {
  readonly count: number;
  readonly rows: number;
  readonly width: number;
  readonly dtype: "f32" | "f16" | "bf16";
  /** Whether dy and the result begin on multiples of 16 bytes. */
  readonly aligned: boolean;
}

const [KEYS, PLACES, COUNTS, STARTS, PARTIALS, OTHER_KEYS, OTHER_PLACES] = [0, 1, 2, 3, 4, 5, 6];

const sortKernel = (entry: string): CudaStep["kernel"] => ({
  key: `embedding sort ${entry}`,
  entry,
  source: () => cudaFile("embedding/kernel-sort.cu"),
});

function sort({ count, rows }: EmbeddingGradSizes): {
  readonly steps: readonly CudaStep[];
  readonly keys: CudaWord;
  readonly places: CudaWord;
  readonly countBytes: number;
  readonly passes: number;
} {
  const all = Math.max(1, Math.ceil(Math.log2(rows)));
  const passes = Math.ceil(all / MOST_BITS);
  const bits = Math.ceil(all / passes);
  const each = Math.ceil(count / Math.min(MOST_SEGMENTS, blocksFor(count, TILE)));
  const segments = blocksFor(count, each);
  let [keys, places]: readonly [CudaWord, CudaWord] = [{ input: 0 }, 0];
  const steps: CudaStep[] = [];
  for (let pass = 0; pass < passes; pass++) {
    const odd = pass % 2 === 1;
    const to = [{ temp: odd ? OTHER_KEYS : KEYS }, { temp: odd ? OTHER_PLACES : PLACES }] as const;
    const args = [keys, places, ...to, { temp: COUNTS }, count, each, rows, pass * bits, bits];
    const launch = (entry: string, sharedBytes: number): CudaStep => ({
      kernel: sortKernel(entry),
      args,
      grid: [segments, 1, 1],
      block: [SORT_THREADS, 1, 1],
      sharedBytes,
    });
    const cells = 4 * 2 ** bits;
    steps.push(launch("embedding_count", 16 * cells), launch("embedding_place", 17 * cells));
    [keys, places] = to;
  }
  return { steps, keys, places, countBytes: 4 * segments * 2 ** bits, passes };
}

/**
 * Two launches for every ten bits of a row's number sort the places, one finds where rows begin, one adds every row's places (all rows are
 * written, those without a place with zeros), one adds up what rows with many places left in parts. In bytes: 20 for a place and digit,
 * dy once, the table once. Measured on an H100, with the bytes at 2.8 TB/s:
 *
 * - 50,257 x 768, 8,192 tokens of f32: 107 us (154 MB table + 25 MB dy: 65 us; seven launches of which six are small);
 * - 6,000 x 256, 1M tokens of bf16: 333 us (537 MB + 6 MB + 40 MB for sorting: 210 us);
 * - 512 x 128, 16,384 tokens of f32: 27 us. With 16 rows, in shared memory (`cuda.ts`), 19 us.
 */
export function sortedEmbeddingGrad(sizes: EmbeddingGradSizes): CudaLowering | string {
  const { count, rows, width, dtype, aligned } = sizes;
  if (count >= MOST_PLACES) return `${count} ids are more than ${MOST_PLACES - 1}`;
  const sorted = sort(sizes);
  const spread = Math.ceil(Math.log2(count / ENOUGH_PARTS));
  const shift = Math.min(MOST_SHIFT, Math.max(LEAST_SHIFT, spread));
  const chunks = blocksFor(count, 2 ** shift);
  const some = aligned && width % 4 === 0 ? 4 : 1;
  const slabs = width > 32 * some ? 2 : 1;
  const groups = blocksFor(width, 32 * some * slabs);
  const head = `typedef ${cudaType[dtype]} E; constexpr int WIDTH = ${some}, SLABS = ${slabs};`;
  const sumKernel = (entry: string): CudaStep["kernel"] => ({
    key: `embedding ${entry} ${head}`,
    entry,
    source: () => `${head}\n${cudaFile("embedding/kernel-sum.cu")}`,
  });
  const { keys, places, passes } = sorted;
  const [starts, partials] = [{ temp: STARTS }, { temp: PARTIALS }];
  const words = [{ input: 1 }, { output: 0 }, partials, rows, width, chunks, shift, groups];
  const across = blocksFor(width, 128);
  const steps: CudaStep[] = [
    ...sorted.steps,
    {
      kernel: sortKernel("embedding_starts"),
      args: [keys, starts, count, rows],
      grid: [blocksFor(rows + 1, 256), 1, 1],
      block: [256, 1, 1],
    },
    {
      kernel: sumKernel("embedding_sum"),
      args: [keys, places, starts, ...words],
      grid: [groups * blocksFor(rows + chunks, 8), 1, 1],
      block: [256, 1, 1],
    },
  ];
  if (chunks > 1)
    steps.push({
      kernel: sumKernel("embedding_finish"),
      args: [keys, starts, { output: 0 }, partials, width, count, shift, across],
      grid: [chunks * across, 1, 1],
      block: [256, 1, 1],
    });
  const list = 4 * count;
  const temps = [list, list, sorted.countBytes, 4 * (rows + 1), 4 * chunks * width];
  return { steps, temps: passes > 1 ? [...temps, list, list] : temps };
}
