// Convolutions in float32: one complex transform a sequence in one block (kernel.cu), or three passes over memory (kernel-long.cu). Longer
// ones go through the FFT primitive.

import { cudaFile } from "../cuda-file.ts";
import { blocksFor, type CudaLowering, type CudaStep, type CudaView, type CudaWord } from "../cuda-step.ts";
import {
  filterWords,
  sizesOf,
  type ConvolutionCall,
  type FilterViews,
  type InputView,
  type KeptSpectrumCall,
} from "./cuda-call.ts";
import type { Slice } from "./cuda-slices.ts";
import type { Layout } from "./sequences.ts";

const SHORTEST = 16;
const LONGEST = 8192;
/** Rows of {@link LONGEST} points that the three passes of kernel-long.cu take at most. */
const MOST_COLUMNS = 16;
/** Bytes of the complex scratch of those passes; larger batches go through in parts. */
const MOST_SCRATCH = 4 * 1024 ** 3;
/** Blocks of a grid's second axis. */
const MOST_BLOCKS = 65_535;
/** Elements a thread holds. */
const EACH = 16;
/** Bytes in front of a kept spectrum. */
const HEADER = 64;

interface SinglePlan {
  readonly points: number;
  /** Rows of {@link LONGEST} points; 1: all in one block. */
  readonly columns: number;
  /** Two sequences are one complex transform, of their own length. */
  readonly circular: boolean;
  /** Of a circular convolution in a transform that is longer; else 0. */
  readonly period: number;
  /** Threads of one row, and rows of one block. */
  readonly threads: number;
  readonly lines: number;
  readonly sharedBytes: number;
}

/** The transform of sequences of a length, or the reason why there is none. */
function planSingle(length: number, circular: boolean): SinglePlan | string {
  const points = Math.max(SHORTEST, 2 ** Math.ceil(Math.log2(length)));
  if (points > LONGEST * MOST_COLUMNS)
    return `sequences of ${length} need a transform longer than ${LONGEST * MOST_COLUMNS}`;
  const row = Math.min(points, LONGEST);
  const threads = row / EACH;
  const lines = Math.max(1, 128 / threads);
  return {
    points,
    columns: points / row,
    circular: circular && points === length,
    period: circular && points !== length ? length : 0,
    threads,
    lines,
    sharedBytes: 8 * (row + row / 16) * lines,
  };
}

/** A kernel of kernel.cu or, of several columns, kernel-long.cu. */
function singleKernel(
  entry: string,
  { points, columns, circular }: SinglePlan,
  gates: { readonly pre?: boolean; readonly post?: boolean; readonly wraps?: boolean } = {},
): CudaStep["kernel"] {
  const text = [
    `#define ONLY_${entry}`,
    `#define POINTS ${points / columns}`,
    `#define CIRCULAR ${circular ? 1 : 0}`,
    `#define PRE ${gates.pre ? 1 : 0}`,
    `#define POST ${gates.post ? 1 : 0}`,
    ...(columns > 1 ? [`#define COLUMNS ${columns}`] : []),
    ...(gates.wraps ? ["#define WRAPS"] : []),
  ].join("\n");
  const files = ["butterflies", "transform", "kernel", ...(columns > 1 ? ["kernel-long"] : [])];
  return {
    key: `fft-conv ${entry} ${text}`,
    entry,
    source: () =>
      [
        text,
        ...files.map((f) => cudaFile(`fft-conv/${f}.cu`)),
        `#undef ONLY_${entry}`,
        ...(gates.wraps ? ["#undef WRAPS"] : []),
      ].join("\n"),
  };
}

/** Strides of a sequence tensor: batch, channel, time. */
const walkOf = (view: CudaView | undefined, layout: Layout): number[] => {
  if (!view) return [0, 0, 0];
  const [b, p, q] = view.strides as [number, number, number];
  return layout === "bdl" ? [b, p, q] : [b, q, p];
};

/** The launches that transform filters into `spectrum`. */
function spectrumSteps(
  filter: FilterViews,
  channels: number,
  spectrum: CudaWord,
  plan: SinglePlan,
): CudaStep[] {
  const { k, channel, tap, taps, origin, skip } = filterWords(filter);
  const { columns, period, threads, lines, sharedBytes } = plan;
  const wraps = period > 0;
  // A circular filter has no taps before lag 0, and is told its period instead.
  const back = wraps ? period : origin;
  const block = [threads * lines, 1, 1] as const;
  if (columns === 1)
    return [
      {
        kernel: singleKernel("spectrum", plan, { wraps }),
        args: [k, spectrum, channel, tap, taps, back, channels, ...skip],
        grid: [blocksFor(channels, lines), 1, 1],
        block,
        sharedBytes,
      },
    ];
  return [
    {
      kernel: singleKernel("filter_columns", plan, { wraps }),
      args: [k, spectrum, channel, tap, taps, back, ...skip],
      grid: [plan.points / EACH / 256, channels, 1],
      block: [256, 1, 1],
    },
    {
      kernel: singleKernel("filter_rows", plan),
      args: [spectrum],
      grid: [columns, channels, 1],
      block,
      sharedBytes,
    },
  ];
}

/** Where the spectra of channels begin in a kept spectrum, in bytes. */
const keptAt = ({ points }: SinglePlan, { first }: Slice): number => HEADER + 8 * points * first;

/** The launches that fill a kept spectrum (output 0), or the reason why there are none. */
export function lowerSingleSpectrum(call: KeptSpectrumCall): CudaLowering | string {
  const { filter, circular, length, slice } = call;
  const plan = planSingle(length, circular);
  if (typeof plan === "string") return plan;
  const channels = filter.k.view.shape[filter.layout === "bdl" ? 0 : 1]!;
  return { steps: spectrumSteps(filter, channels, { output: 0, byteOffset: keptAt(plan, slice) }, plan) };
}

/** The launches of a convolution, or the reason why there are none. */
export function lowerSingle(call: ConvolutionCall): CudaLowering | string {
  const { y, layout, circular, filter } = call;
  const [, channels, length] = sizesOf(y.shape, layout);
  if (y.dtype !== "f32") return `no kernel for ${y.dtype}`;
  const plan = planSingle(length, circular);
  if (typeof plan === "string") return plan;
  const temps: number[] = [];
  let first: CudaStep[] = [];
  let spectrum: CudaWord;
  if ("kept" in filter) spectrum = { input: filter.kept, byteOffset: keptAt(plan, filter.slice) };
  else {
    spectrum = { temp: temps.push(8 * channels * plan.points) - 1 };
    first = spectrumSteps(filter, channels, spectrum, plan);
  }
  const main = plan.columns === 1 ? blockSteps(call, spectrum, plan) : longSteps(call, spectrum, plan, temps);
  return { steps: [...first, ...main], temps };
}

/** Two sequences whose products are summed up lag by lag. */
export interface GradientCall {
  readonly u: InputView;
  readonly dy: InputView;
  readonly preGate: InputView | undefined;
  readonly postGate: InputView | undefined;
  readonly layout: Layout;
  readonly circular: boolean;
  readonly origin: number;
  readonly taps: number;
}

/** The launch that makes gradients of filters (output 0), or the reason why there is none. */
export function lowerSingleGradient(call: GradientCall, { strides }: CudaView): CudaLowering | string {
  const { u, dy, preGate, postGate, layout, circular, origin, taps } = call;
  const [batch, channels, length] = sizesOf(u.view.shape, layout);
  if (u.view.dtype !== "f32") return `no kernel for ${u.view.dtype}`;
  const plan = planSingle(length, circular);
  if (typeof plan === "string") return plan;
  if (plan.columns > 1) return `no kernel for sequences of ${length}`;
  const { threads, lines, sharedBytes } = plan;
  return {
    steps: [
      {
        kernel: singleKernel("filter_gradient", plan, {
          pre: Boolean(preGate),
          post: Boolean(postGate),
          wraps: plan.period > 0,
        }),
        args: [
          wordOf(u),
          wordOf(preGate),
          wordOf(dy),
          wordOf(postGate),
          { output: 0 },
          ...[u, preGate, dy, postGate].flatMap((x) => walkOf(x?.view, layout)),
          batch,
          length,
          taps,
          origin,
          strides[layout === "bdl" ? 0 : 1]!,
          strides[layout === "bdl" ? 1 : 0]!,
        ],
        grid: [channels, 1, 1],
        block: [threads * lines, 1, 1],
        sharedBytes,
      },
    ],
  };
}

const wordOf = (x: ConvolutionCall["preGate"]): CudaWord => (x ? { input: x.index } : 0);

function blockSteps(call: ConvolutionCall, spectrum: CudaWord, plan: SinglePlan): CudaStep[] {
  const { u, preGate, postGate, y, layout, adjoint } = call;
  const [batch, channels, length] = sizesOf(y.shape, layout);
  const { circular, threads, lines, sharedBytes } = plan;
  // Sequences of one channel share its spectrum: a block takes some of them one after the other.
  const groups = Math.ceil(batch / (circular ? 2 : 1) / lines);
  const few = Math.max(1, Math.min(8, Math.floor((groups * channels) / 1024)));
  const items = Math.max(few, Math.ceil(groups / MOST_BLOCKS));
  return [
    {
      kernel: singleKernel("convolve", plan, { pre: Boolean(preGate), post: Boolean(postGate) }),
      args: [
        wordOf(u),
        wordOf(preGate),
        wordOf(postGate),
        spectrum,
        { output: 0 },
        ...[u.view, preGate?.view, postGate?.view, y].flatMap((v) => walkOf(v, layout)),
        batch,
        length,
        items,
        adjoint ? 1 : 0,
      ],
      grid: [channels, Math.ceil(groups / items), 1],
      block: [threads * lines, 1, 1],
      sharedBytes,
    },
  ];
}

function longSteps(call: ConvolutionCall, spectrum: CudaWord, plan: SinglePlan, temps: number[]): CudaStep[] {
  const { u, preGate, postGate, y, layout, adjoint } = call;
  const [batch, channels, length] = sizesOf(y.shape, layout);
  const { points, columns, circular, threads, sharedBytes } = plan;
  const across = points / EACH / 256;
  const perRow = circular ? 2 : 1;
  const groups = Math.ceil(batch / perRow);
  const part = Math.max(1, Math.min(groups, 32_768, Math.floor(MOST_SCRATCH / (8 * channels * points))));
  const scratch = { temp: temps.push(8 * channels * points * part) - 1 };
  const steps: CudaStep[] = [];
  for (let first = 0; first < groups; first += part) {
    const here = Math.min(part, groups - first);
    const tail = [batch, length, first * perRow];
    steps.push(
      {
        kernel: singleKernel("columns", plan, { pre: Boolean(preGate) }),
        args: [
          wordOf(u),
          wordOf(preGate),
          scratch,
          ...walkOf(u.view, layout),
          ...walkOf(preGate?.view, layout),
          ...tail,
        ],
        grid: [across, channels, here],
        block: [256, 1, 1],
      },
      {
        kernel: singleKernel("rows", plan),
        args: [scratch, spectrum, adjoint ? 1 : 0],
        grid: [columns, channels, here],
        block: [threads, 1, 1],
        sharedBytes,
      },
      {
        kernel: singleKernel("columns_back", plan, { post: Boolean(postGate) }),
        args: [
          scratch,
          wordOf(postGate),
          { output: 0 },
          ...walkOf(postGate?.view, layout),
          ...walkOf(y, layout),
          ...tail,
        ],
        grid: [across, channels, here],
        block: [256, 1, 1],
      },
    );
  }
  return steps;
}
