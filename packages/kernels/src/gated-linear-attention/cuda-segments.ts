// Time cut into segments that are walked at the same time, where heads and columns leave processors idle: which cut pays, and its launches.

import { cudaFile } from "../cuda-file.ts";
import { blocksFor, overTwoAxes, type CudaLowering, type CudaStep, type CudaWord } from "../cuda-step.ts";

/** One call of the scan. */
export interface ScanSizes {
  /** Heads of all sequences. */
  readonly heads: number;
  readonly time: number;
  readonly rows: number;
  readonly columns: number;
  readonly decay: "none" | "rows" | "columns";
}

/** Segments that follow each other along the walk. */
export interface ScanCut {
  readonly segments: number;
  /** Steps of each segment but the last, which may have fewer. */
  readonly steps: number;
}

/** Steps that a block brings to shared memory at a time, as in the kernels. */
const STEPS = 16;
/** Columns that a block owns where each of its lanes works on one. */
export const COLUMNS = 32;
const SEGMENTS = [2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512];
const FEWEST_STEPS = 64;
/** Numbers of the state that a lane keeps in registers. */
const MOST_HELD = 64;
/** Cycles of an H100 per microsecond. */
const CLOCK = 1700;
/** Cycles that a step's share of bringing STEPS steps from memory takes where nothing else is to be done. */
const FETCH = 90;
/** Microseconds of two further launches with their first loads and last stores. */
const LAUNCHES = 9;
/** Bytes per microsecond. */
const TRAFFIC = 2e6;
/** A cut is taken if it is estimated to take no more than this share of the walk in one. */
const WORTH = 0.75;

/** How a block of kernel-segments.cu divides a state. */
interface Tile {
  readonly rows: number;
  readonly load: number;
  readonly wide: number;
  readonly groups: number;
}

function tileOf({ rows, columns }: ScanSizes): Tile {
  const padded = 8 * Math.ceil(rows / 8);
  const load = padded % 32 === 0 ? 4 : padded % 16 === 0 ? 2 : 1;
  const widest = Math.min(4, Math.floor(MOST_HELD / (padded / 8)));
  const groups = Math.ceil(columns / (COLUMNS * widest));
  return { rows: padded, load, groups, wide: Math.ceil(columns / (COLUMNS * groups)) };
}

/** Cycles of a step of a block of 8 warps: alone on its multiprocessor, and its share of a full one. */
interface StepCost {
  readonly alone: number;
  readonly share: number;
}

/**
 * Shared memory gives a warp one number of 8 rows a cycle, each of four schedulers issues one instruction.
 * @param outputs whether c is read and y written
 */
function stepCost({ rows, load, wide }: Tile, decay: ScanSizes["decay"], outputs: boolean): StepCost {
  const held = rows / 8;
  const byRow = 1 + Number(outputs) + Number(decay === "rows");
  const byColumn = wide * (1 + Number(decay === "columns"));
  const shared = 8 * (held * byRow + byColumn + (outputs ? 4 : 0));
  const products = held * wide * (1 + Number(outputs) + Number(decay !== "none"));
  const issued = 2 * (products + (held * byRow) / load + 20);
  const share = Math.max(shared, issued);
  return { alone: share + FETCH, share };
}

/** Blocks that a multiprocessor holds at once whose lanes hold so many numbers, as the kernel's launch bounds have it. */
const residents = (held: number): number => (held > 32 ? 2 : held > 8 ? 3 : 4);

/** Microseconds of `blocks` blocks of `steps` steps each, `resident` or fewer on each of `processors`. */
function walkTime(
  blocks: number,
  steps: number,
  { alone, share }: StepCost,
  processors: number,
  resident: number,
): number {
  const together = Math.min(resident, Math.ceil(blocks / processors));
  const rounds = Math.ceil(blocks / (processors * together));
  return (rounds * steps * Math.max(alone, together * share)) / CLOCK;
}

/**
 * The cut of time that is estimated to pay, or undefined. Segments are at least as long as the state has rows, so that their states take no more
 * memory than y.
 */
export function segmentCut(sizes: ScanSizes, processors: number): ScanCut | undefined {
  const { heads, time, rows, columns, decay } = sizes;
  const blocks = heads * Math.ceil(columns / COLUMNS);
  if (blocks >= 2 * processors) return undefined;
  // The kernels number what lies between steps that are brought together with 32 bits.
  if (STEPS * heads * Math.max(rows, columns) >= 2 ** 31) return undefined;
  const tile = tileOf(sizes);
  const whole = stepCost({ ...tile, load: 1, wide: 1 }, decay, true);
  let best = WORTH * walkTime(blocks, time, whole, processors, 2);
  let cut: ScanCut | undefined;
  const [states, outputs] = [stepCost(tile, decay, false), stepCost(tile, decay, true)];
  const elements = heads * rows * columns;
  for (const wanted of SEGMENTS) {
    const steps = STEPS * Math.ceil(time / wanted / STEPS);
    const segments = Math.ceil(time / steps);
    if (segments < 2 || steps < Math.max(FEWEST_STEPS, rows)) continue;
    const tiles = heads * tile.groups;
    const walk = (parts: number, cost: StepCost): number =>
      walkTime(tiles * parts, steps, cost, processors, residents((tile.rows / 8) * tile.wide));
    const carry =
      Math.ceil(segments / 16) * 0.7 * Math.max(1, elements / (2048 * processors)) +
      (16 * elements * segments) / TRAFFIC;
    const total = walk(segments - 1, states) + walk(segments, outputs) + carry + LAUNCHES;
    if (total < best) [best, cut] = [total, { segments, steps }];
  }
  return cut;
}

/** Words of kernel-segments.cu that are the call's own. */
export interface ScanWords {
  readonly a: CudaWord;
  readonly b: CudaWord;
  readonly c: CudaWord;
  readonly g: CudaWord;
  readonly initial: CudaWord;
  /** Heads of a sequence. */
  readonly heads: number;
  readonly reverse: boolean;
}

/** The launches of a cut scan. */
export function segmentSteps(sizes: ScanSizes, words: ScanWords, cut: ScanCut): CudaLowering {
  const { heads, time, rows, columns, decay } = sizes;
  const { segments, steps } = cut;
  const tile = tileOf(sizes);
  const side = { none: 0, rows: 1, columns: 2 }[decay];
  const decays = { none: 0, rows, columns }[decay];
  const carried = segments - 1;
  const walk = (outputs: boolean, parts: number): CudaStep => {
    const head = [
      `#define ROWS ${tile.rows}`,
      `#define LOAD ${tile.load}`,
      `#define WIDE ${tile.wide}`,
      `#define DECAY ${side}`,
      `#define REVERSE ${words.reverse ? 1 : 0}`,
      `#define OUTPUTS ${outputs ? 1 : 0}`,
    ].join("\n");
    return {
      kernel: {
        key: `linear-scan segments ${head}`,
        entry: "linear_scan_segments",
        source: () => `${head}\n${cudaFile("gated-linear-attention/kernel-segments.cu")}`,
      },
      args: [
        words.a,
        words.b,
        words.c,
        words.g,
        words.initial,
        { output: 0 },
        { output: 1 },
        { temp: 0 },
        { temp: 1 },
        time,
        words.heads,
        rows,
        columns,
        heads,
        steps,
        segments,
      ],
      grid: [parts * tile.groups, ...overTwoAxes(heads)],
      block: [256, 1, 1],
    };
  };
  const elements = heads * rows * columns;
  const head = `#define DECAY ${side}`;
  const carry: CudaStep = {
    kernel: {
      key: `linear-scan carry ${head}`,
      entry: "linear_scan_carry",
      source: () => `${head}\n${cudaFile("gated-linear-attention/kernel-carry.cu")}`,
    },
    args: [{ temp: 0 }, { temp: 1 }, words.initial, carried, rows, columns, elements],
    grid: [blocksFor(elements, 256), 1, 1],
    block: [256, 1, 1],
  };
  return {
    steps: [walk(false, carried), carry, walk(true, segments)],
    temps: [4 * carried * elements, Math.max(4, 4 * carried * heads * decays)],
  };
}
