// Which transform on the tensor cores serves sequences of a length, and what its kernels are called and made of.

import { cudaFile } from "../cuda-file.ts";
import type { CudaStep, CudaTarget, CudaWord } from "../cuda-step.ts";
import { classBytes, stepBytes, type TensorTableOptions } from "./cuda-tensor-tables.ts";
import { filterWords, type FilterWords, type SpectrumCall } from "./cuda-call.ts";

const LONGEST = 2 ** 22;
/** Points of the longest float32 transform of one block. */
const POINTS = 8192;

/** Compute capability, times ten, of the GPUs whose clusters of blocks are made use of. */
const CLUSTERED = 90;
/** Transforms of clusters, by their points. */
const CLUSTERS: Readonly<Record<number, { readonly factor: number; readonly split: number }>> = {
  32_768: { factor: 32, split: 4 },
  65_536: { factor: 32, split: 8 },
  131_072: { factor: 64, split: 8 },
};

/** A transform of 256 `factor` `split` points. */
export interface TensorPlan {
  /** 4: one warp. Else a block of factor / 8 warps. */
  readonly factor: number;
  /** Rows of 256 `factor` points; 1: all in one block. */
  readonly split: number;
  /** Each row is in the shared memory of one block of a cluster, else in device memory. */
  readonly cluster: boolean;
  /** Two sequences are one complex transform. Otherwise one is a transform modulo x^N - i, and circular filters reach back over their period. */
  readonly paired: boolean;
  readonly points: number;
  /** Parts of the float32 transforms that filters and their gradients are made by, row for row. */
  readonly residues: number;
}

/** Parts of at most {@link POINTS} points; twice as many where rows are long and shared memory holds them. */
function residuesOf(factor: number, split: number, { sharedLimit }: CudaTarget): number {
  const most = split > 1 && singleBytes(2 * POINTS) + 1024 <= sharedLimit ? 2 * POINTS : POINTS;
  return Math.max(1, (256 * factor) / most);
}

/** Shared memory of a float32 transform (transform.cu). */
const singleBytes = (points: number): number => 8 * (points + points / 16);

/** The transform of the backward pass, whose blocks hold two sequences and their products: the same as forward where it fits. */
export function planTensorBackward(length: number, paired: boolean, target: CudaTarget): TensorPlan | string {
  if (length > LONGEST) return `sequences of ${length} are longer than ${LONGEST}`;
  const fits = (factor: number): boolean => backwardBytes(factor) + 1024 <= target.sharedLimit;
  let points = Math.max(1024, 2 ** Math.ceil(Math.log2(length)));
  const clusters = CLUSTERS[points];
  if (clusters && target.arch === CLUSTERED)
    return { ...clusters, cluster: true, paired: paired && length === points, points, residues: 1 };
  // A split transform has at least 16 rows of 2048.
  if (points < 32_768 && !fits(points / 256)) points = 32_768;
  const whole = points / 256;
  const split = whole <= 64 ? 1 : Math.max(16, Math.min(256, whole / 32));
  const factor = whole / split;
  if (!fits(factor))
    return `a transform of ${points} points needs ${backwardBytes(factor)} bytes of shared memory, the GPU has ${target.sharedLimit}`;
  const residues = residuesOf(factor, split, target);
  return { factor, split, cluster: false, paired: paired && length === points, points, residues };
}

/** Shared memory of the backward pass: two pairs of planes and the sums; of one warp a transform, the sums of four. */
export const backwardBytes = (factor: number): number => (factor < 8 ? 16_384 : 3072 * factor);

/** Shared memory of the planes of real and imaginary parts. */
export const planeBytes = (factor: number): number => (factor < 8 ? 0 : 1024 * factor);

/** How teams of warps share a table (tensor-block.cu, tensor-backward.cu). */
export interface Teams {
  /** Transforms that a block works on at once. */
  readonly teams: number;
  /** 1: all of the table lies in shared memory; 2: all but the classes of n3; 0: nothing. */
  readonly shared: 0 | 1 | 2;
  readonly bytes: number;
}

/**
 * Teams around one copy of a table, each of `bytes` of shared memory: as many as a multiprocessor has registers for. One, without a copy, where
 * too few fit.
 */
export function teamsOf(
  bytes: number,
  most: number,
  table: Omit<TensorTableOptions, "layout">,
  target: CudaTarget,
): Teams {
  const alone: Teams = { teams: 1, shared: 0, bytes };
  // Transforms of one warp need none of it.
  if (table.factor < 8) return alone;
  const steps = stepBytes({ ...table, layout: "rows" });
  for (const [shared, copy] of [
    [1, classBytes(table.factor) + steps],
    [2, steps],
  ] as const) {
    const teams = Math.min(most, Math.floor((target.sharedLimit - 1024 - copy) / bytes));
    if (teams > 0 && (teams === most || (teams > 1 && 2 * teams >= most)))
      return { teams, shared, bytes: teams * bytes + copy };
  }
  return alone;
}

/** The transform for sequences of a length, or the reason why there is none. */
export function planTensor(length: number, circular: boolean, target: CudaTarget): TensorPlan | string {
  if (length > LONGEST) return `sequences of ${length} are longer than ${LONGEST}`;
  const points = Math.max(1024, 2 ** Math.ceil(Math.log2(length)));
  const paired = circular && length === points;
  const whole = points / 256;
  const clusters = CLUSTERS[points];
  // A real sequence of 32,768 points is faster in one block.
  if (clusters && (paired || points > 32_768) && target.arch === CLUSTERED)
    return { ...clusters, cluster: true, paired, points, residues: 1 };
  if (whole <= 128 && planeBytes(whole) + 1024 <= target.sharedLimit)
    return {
      factor: whole,
      split: 1,
      cluster: false,
      paired,
      points,
      residues: residuesOf(whole, 1, target),
    };
  // Rows of 8192 are the fastest; 16 to 256 of them.
  const split = Math.max(16, Math.min(256, whole / 32));
  const factor = whole / split;
  if (planeBytes(factor) + 1024 > target.sharedLimit)
    return `a transform of ${points} points needs rows of ${256 * factor}: ${planeBytes(factor)} bytes of shared memory, the GPU has ${target.sharedLimit}`;
  return { factor, split, cluster: false, paired, points, residues: residuesOf(factor, split, target) };
}

/** What kernels of clusters begin with. */
export const CLUSTER_SOURCES: readonly string[] = [
  "butterflies",
  "tensor-instructions",
  "tensor-256",
  "tensor-sequences",
  "tensor-columns",
  "cluster-instructions",
  "tensor-spread",
];

/** A kernel out of definitions and files; of the entries of a file only one is compiled. */
export const tensorKernel = (
  entry: string,
  flags: Readonly<Record<string, number>>,
  files: readonly string[],
): CudaStep["kernel"] => ({
  key: `fft-conv ${entry} ${JSON.stringify(flags)}`,
  entry,
  source: () =>
    [
      `#define ONLY_${entry}`,
      ...Object.entries(flags).map(([name, value]) => `#define ${name} ${value}`),
      ...files.map((f) => cudaFile(`fft-conv/${f}.cu`)),
      `#undef ONLY_${entry}`,
    ].join("\n"),
});

/** The launches that transform filters; `temps` are lengthened by what they need. */
export function spectrumSteps(
  { filter, circular, length }: SpectrumCall,
  channels: number,
  to: { readonly spectrum: CudaWord; readonly gains: CudaWord },
  plan: TensorPlan,
  temps: number[],
): CudaStep[] {
  const { factor, split, paired, cluster, residues } = plan;
  const points = (256 * factor) / residues;
  const flags = {
    FACTOR: factor,
    TWISTED: paired ? 0 : 1,
    RESIDUES: residues,
    POINTS: points,
    SPLIT: cluster ? split : 1,
    CLUSTER: cluster ? 1 : 0,
  };
  const files = ["butterflies", "transform", "tensor-instructions", "spectrum-order", "spectrum-half"];
  // The coefficients of a real cyclic sequence are conjugates of each other.
  const made = paired && split > 1 ? split / 2 + 1 : split;
  const rows: Pick<CudaStep, "grid" | "block" | "sharedBytes"> = {
    grid: cluster || split === 1 ? [residues * made, channels, 1] : [residues, made, channels],
    block: [points / 16, 1, 1],
    sharedBytes: singleBytes(points),
  };
  const { k, channel, tap, taps, origin, skip } = filterWords(filter);
  // In a twisted transform a circular filter is one of two sides: the tap of lag l stands at lag l - length too.
  const wraps = circular && !paired;
  const lags = [channel, tap, taps, origin, wraps ? length : origin, wraps ? 1 : 0, ...skip.slice(1)];
  if (split === 1 || cluster) {
    const args = [k, to.spectrum, to.gains, skip[0], ...lags];
    return [{ kernel: tensorKernel("spectrum_half", flags, files), args, ...rows }];
  }
  const columns = { temp: temps.push(8 * channels * plan.points) - 1 };
  const grid = columnGrid(plan, channels, 1);
  const [parts] = grid.grid;
  const sums = { temp: temps.push(4 * parts * channels) - 1 };
  const args = [k, skip[0], columns, ...lags, sums];
  return [
    { kernel: longFilterKernel("columns_of_filter", plan), args, ...grid },
    {
      kernel: tensorKernel("spectrum_rows", flags, files),
      args: [columns, to.spectrum, to.gains, sums, split, parts],
      ...rows,
    },
  ];
}

/** The launches that make gradients of filters `dk` (their strides, taps) out of sums over `parts` of the batch. */
export function gradientSteps(
  from: { readonly sums: CudaWord; readonly exponents: CudaWord; readonly parts: number },
  to: Omit<FilterWords, "skip"> & { readonly adjoint: boolean; readonly period: number },
  channels: number,
  plan: TensorPlan,
  temps: number[],
): CudaStep[] {
  const { factor, split, paired, cluster, residues } = plan;
  const points = (256 * factor) / residues;
  // Gradients of two circular filters are the parts of one transform.
  const packed = paired && split > 1 && residues === 1;
  const flags = {
    FACTOR: factor,
    TWISTED: paired ? 0 : 1,
    RESIDUES: residues,
    POINTS: points,
    CLUSTER: cluster ? 1 : 0,
    PACKED: packed ? 1 : 0,
  };
  const transforms = packed ? Math.ceil(channels / 2) : channels;
  const files = ["butterflies", "transform", "tensor-instructions", "spectrum-order", "filter-gradient"];
  const rows = {
    grid: [transforms * split, 1, 1],
    block: [points / 16, 1, 1],
    sharedBytes: singleBytes(points),
  } as const;
  const { k, channel, tap, taps, origin, adjoint, period } = to;
  const sums = [from.sums, from.exponents];
  const tail = [from.parts, adjoint ? 1 : 0];
  if (split === 1) {
    const args = [...sums, k, ...tail, channel, tap, taps, origin, period];
    return [{ kernel: tensorKernel("filter_gradient_half", flags, files), args, ...rows }];
  }
  const columns = { temp: temps.push(8 * transforms * plan.points) - 1 };
  const second = plan.points - period;
  const few = { FACTOR: factor, SPLIT: split, TWISTED: paired ? 0 : 1, PACKED: packed ? 1 : 0 };
  const filter = [k, channel, tap, taps, origin];
  const back = (add: boolean): CudaStep => ({
    args: [columns, ...filter, second, add ? 1 : 0, channels, from.exponents, from.parts],
    ...(cluster
      ? {
          kernel: tensorKernel("gradient_columns", few, ["butterflies", "filter-units", "filter-columns"]),
          grid: [factor, transforms, 1],
          block: [256, 1, 1],
        }
      : {
          kernel: longFilterKernel("columns_of_gradient", plan, packed),
          ...columnGrid(plan, transforms, 1),
        }),
  });
  return [
    {
      kernel: tensorKernel("gradient_rows", flags, files),
      args: [...sums, columns, ...tail, split, channels],
      ...rows,
    },
    back(false),
    ...(period > 0 ? [back(true)] : []),
  ];
}

/** Columns of a part of a row that lie side by side in a block: eight warps hold all parts of them, */
const columnsOf = (split: number): 32 | 64 => (split > 128 ? 32 : 64);

/** or of so many times as many. */
const sideOf = (split: number): number => Math.max(1, 128 / split);

/** What kernels of tensor-long.cu are told. */
export const longFlags = (
  { factor, split, paired }: TensorPlan,
  flags: Readonly<Partial<Record<"BRAIN" | "PRE" | "POST" | "PARTNER" | "PACKED", number>>> = {},
): Readonly<Record<string, number>> => ({
  FACTOR: factor,
  PARTS: split / 16,
  SIDE: sideOf(split),
  COLUMNS: columnsOf(split),
  CREWS: 1,
  TWISTED: paired ? 0 : 1,
  BRAIN: 0,
  PRE: 0,
  POST: 0,
  PARTNER: 0,
  ...flags,
  SCALED: 1,
});

/** What they are made of. */
export const LONG_SOURCES: readonly string[] = [
  "butterflies",
  "tensor-instructions",
  "tensor-sequences",
  "tensor-long",
];

/** A kernel of tensor-long.cu. */
export const longKernel = (
  entry: string,
  plan: TensorPlan,
  flags?: Parameters<typeof longFlags>[1],
): CudaStep["kernel"] => tensorKernel(entry, longFlags(plan, flags), LONG_SOURCES);

/** A kernel of tensor-long-filters.cu. */
const longFilterKernel = (entry: string, plan: TensorPlan, packed = false): CudaStep["kernel"] =>
  tensorKernel(entry, longFlags(plan, { PACKED: packed ? 1 : 0 }), [
    ...LONG_SOURCES,
    "filter-units",
    "tensor-long-filters",
  ]);

/** Blocks of a kernel of tensor-long.cu that goes over all columns of `count` transforms of every channel. */
export const columnGrid = (
  { factor, split }: TensorPlan,
  channels: number,
  count: number,
): Pick<CudaStep, "grid" | "block" | "sharedBytes"> => {
  const columns = columnsOf(split) * sideOf(split);
  const width = (columns / 2) * (split / 16);
  return {
    grid: [(256 * factor) / columns, channels, count],
    block: [width, 1, 1],
    sharedBytes: split === 16 ? 0 : 256 * width,
  };
};
