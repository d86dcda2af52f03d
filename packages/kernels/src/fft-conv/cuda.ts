// CUDA source of the long convolution and its filter gradient: one complex transform a sequence in one block (see kernel.cu).
// Sequences whose transform is longer than a block holds go through the FFT primitive instead.

import { cudaFile } from "../cuda-file.ts";
import {
  blocksFor,
  type CudaLowering,
  type CudaSource,
  type CudaStep,
  type CudaView,
  type CudaWord,
} from "../cuda-step.ts";
import { isHalf, named } from "../inputs.ts";
import { lowerTensor } from "./cuda-tensor.ts";
import type { FftConvGradParams, FftConvInput, FftConvParams, Layout } from "./op.ts";

const SHORTEST = 16;
const LONGEST = 8192;
/** Rows of {@link LONGEST} points that the three passes of kernel-long.cu take at most. */
const MOST_COLUMNS = 16;
/** Bytes of the complex scratch of those passes; larger batches go through in parts. */
const MOST_SCRATCH = 4 * 1024 ** 3;
/** Elements a thread holds. */
const EACH = 16;

interface Plan {
  readonly points: number;
  /** Threads of one sequence, and sequences of one block. */
  readonly threads: number;
  readonly lines: number;
  readonly sharedBytes: number;
}

/** The transform of sequences of a length, or the reason why one block cannot make it. */
function planTransform(length: number, circular: boolean): Plan | string {
  const points = Math.max(SHORTEST, 2 ** Math.ceil(Math.log2(length)));
  if (points > LONGEST) return `sequences of ${length} need a transform longer than ${LONGEST}`;
  if (circular && points !== length)
    return `a circular convolution of length ${length} is no power of two from ${SHORTEST}`;
  const threads = points / EACH;
  const lines = Math.max(1, 128 / threads);
  return { points, threads, lines, sharedBytes: 8 * (points + points / 16) * lines };
}

/** Strides of a sequence tensor: batch, channel, time. */
const walkOf = (view: CudaView | undefined, layout: Layout): number[] => {
  if (!view) return [0, 0, 0];
  const [b, p, q] = view.strides as [number, number, number];
  return layout === "bdl" ? [b, p, q] : [b, q, p];
};

const defines = (points: number, circular: boolean, flags: Readonly<Record<string, boolean>>): string =>
  [
    `#define POINTS ${points}`,
    `#define CIRCULAR ${circular ? 1 : 0}`,
    ...Object.entries(flags).map(([name, on]) => `#define ${name} ${on ? 1 : 0}`),
  ].join("\n");

function kernel(
  entry: string,
  points: number,
  circular: boolean,
  flags: Readonly<Record<string, boolean>>,
): CudaStep["kernel"] {
  const text = defines(points, circular, flags);
  return {
    key: `fft-conv ${entry} ${text}`,
    entry,
    source: () => `${text}\n${cudaFile("fft-conv/transform.cu")}\n${cudaFile("fft-conv/kernel.cu")}`,
  };
}

const place = (index: number | undefined): CudaWord => (index === undefined ? 0 : { input: index });

interface LongCall {
  readonly views: { readonly [K in FftConvInput]?: CudaView };
  readonly index: { readonly [K in FftConvInput]?: number };
  readonly y: CudaView;
  readonly params: FftConvParams;
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
}

/** The passes of a convolution whose transform spans several blocks, or the reason why there are none. */
function lowerLong({ views, index, y, params, batch, channels, length }: LongCall): CudaLowering | string {
  const { layout, circular, origin, adjoint } = params;
  const total = 2 ** Math.ceil(Math.log2(length));
  const columns = total / LONGEST;
  if (columns > MOST_COLUMNS)
    return `sequences of ${length} need a transform longer than ${LONGEST * MOST_COLUMNS}`;
  if (circular && total !== length) return `a circular convolution of length ${length} is no power of two`;
  if (channels > 65535) return `${channels} channels are too many`;
  const k = views.k!;
  const [kChannel, kTap] = layout === "bdl" ? k.strides : [k.strides[1], k.strides[0]];
  const taps = k.shape[layout === "bdl" ? 1 : 0]!;
  const flags = { PRE: Boolean(views.preGate), POST: Boolean(views.postGate), SKIP: Boolean(views.skip) };
  const make = (entry: string, on: Readonly<Record<string, boolean>>): CudaStep["kernel"] => {
    const text = `${defines(LONGEST, circular, on)}\n#define COLUMNS ${columns}`;
    return {
      key: `fft-conv long ${entry} ${text}`,
      entry,
      source: () =>
        `${text}\n${cudaFile("fft-conv/transform.cu")}\n${cudaFile("fft-conv/kernel.cu")}\n${cudaFile("fft-conv/kernel-long.cu")}`,
    };
  };
  const none = { PRE: false, POST: false, SKIP: false };
  const threads = LONGEST / EACH;
  const sharedBytes = 8 * (LONGEST + LONGEST / 16);
  const across = total / EACH / 256;
  const perRow = circular ? 2 : 1;
  const groups = Math.ceil(batch / perRow);
  const part = Math.max(1, Math.min(groups, 32768, Math.floor(MOST_SCRATCH / (8 * channels * total))));
  const steps: CudaStep[] = [
    {
      kernel: make("filter_columns", none),
      args: [{ input: index.k! }, { temp: 0 }, kChannel!, kTap!, taps, origin],
      grid: [across, channels, 1],
      block: [256, 1, 1],
    },
    {
      kernel: make("filter_rows", none),
      args: [{ temp: 0 }],
      grid: [columns, channels, 1],
      block: [threads, 1, 1],
      sharedBytes,
    },
  ];
  for (let first = 0; first < groups; first += part) {
    const here = Math.min(part, groups - first);
    const row = first * perRow;
    steps.push(
      {
        kernel: make("columns", { ...none, PRE: flags.PRE }),
        args: [
          { input: index.u! },
          place(index.preGate),
          { temp: 1 },
          ...walkOf(views.u, layout),
          ...walkOf(views.preGate, layout),
          batch,
          length,
          row,
        ],
        grid: [across, channels, here],
        block: [256, 1, 1],
      },
      {
        kernel: make("rows", none),
        args: [{ temp: 1 }, { temp: 0 }, adjoint ? 1 : 0],
        grid: [columns, channels, here],
        block: [threads, 1, 1],
        sharedBytes,
      },
      {
        kernel: make("columns_back", flags),
        args: [
          { temp: 1 },
          { input: index.u! },
          place(index.preGate),
          place(index.postGate),
          place(index.skip),
          { output: 0 },
          ...walkOf(views.u, layout),
          ...walkOf(views.preGate, layout),
          ...walkOf(views.postGate, layout),
          ...walkOf(y, layout),
          batch,
          length,
          row,
          views.skip?.strides[0] ?? 0,
        ],
        grid: [across, channels, here],
        block: [256, 1, 1],
      },
    );
  }
  return { steps, temps: [8 * channels * total, 8 * channels * total * part] };
}

const anySequence = (_: number, view: CudaView): boolean => view.shape.length <= 3;

/** Halves are read along time, or transposed. */
const isSuited = (view: CudaView, layout: Layout): boolean =>
  !isHalf(view.dtype) || layout === "bld" || view.strides[2] === 1;

export const fftConvCuda: CudaSource<FftConvParams> = {
  accepts: (input, view, { params }) => anySequence(input, view) && isSuited(view, params.layout),
  lower: ({ inputs, outputs, params }, target) => {
    const { layout, circular, origin, adjoint } = params;
    const views = named(params.inputs, inputs);
    const index = named(
      params.inputs,
      params.inputs.map((_, i) => i),
    );
    const y = outputs[0]!;
    if (y.shape.includes(0)) return { steps: [] };
    if (isHalf(y.dtype)) return lowerTensor({ views, index, y, layout, circular, origin, adjoint }, target);
    if (y.dtype !== "f32") return `no kernel for ${y.dtype}`;
    const [batch, channels, length] =
      layout === "bdl" ? y.shape : ([y.shape[0], y.shape[2], y.shape[1]] as number[]);
    if (length! > LONGEST)
      return lowerLong({ views, index, y, params, batch: batch!, channels: channels!, length: length! });
    const plan = planTransform(length!, circular);
    if (typeof plan === "string") return plan;
    const { points, threads, lines, sharedBytes } = plan;
    const k = views.k!;
    const [kChannel, kTap] = layout === "bdl" ? k.strides : [k.strides[1], k.strides[0]];
    const taps = k.shape[layout === "bdl" ? 1 : 0]!;
    const none = { PRE: false, POST: false, SKIP: false };
    const flags = { PRE: Boolean(views.preGate), POST: Boolean(views.postGate), SKIP: Boolean(views.skip) };
    const block = [threads * lines, 1, 1] as const;
    // Sequences of one channel share its spectrum: a block takes some of them one after the other.
    const groups = Math.ceil(batch! / (circular ? 2 : 1) / lines);
    const items = Math.max(1, Math.min(8, Math.floor((groups * channels!) / 1024)));
    return {
      steps: [
        {
          kernel: kernel("spectrum", points, circular, none),
          args: [{ input: index.k! }, { temp: 0 }, kChannel!, kTap!, taps, origin, channels!],
          grid: [blocksFor(channels!, lines), 1, 1],
          block,
          sharedBytes,
        },
        {
          kernel: kernel("convolve", points, circular, flags),
          args: [
            { input: index.u! },
            place(index.preGate),
            place(index.postGate),
            place(index.skip),
            { temp: 0 },
            { output: 0 },
            ...walkOf(views.u, layout),
            ...walkOf(views.preGate, layout),
            ...walkOf(views.postGate, layout),
            ...walkOf(y, layout),
            batch!,
            length!,
            items,
            adjoint ? 1 : 0,
            views.skip?.strides[0] ?? 0,
          ],
          grid: [channels!, Math.ceil(groups / items), 1],
          block,
          sharedBytes,
        },
      ],
      temps: [8 * channels! * points],
    };
  },
};

export const fftConvFilterGradCuda: CudaSource<FftConvGradParams> = {
  accepts: anySequence,
  lower: ({ inputs, outputs, params }) => {
    const { layout, circular, origin, taps } = params;
    const views = named(params.inputs, inputs);
    const index = named(
      params.inputs,
      params.inputs.map((_, i) => i),
    );
    const u = views.u!;
    if (u.dtype !== "f32") return `no kernel for ${u.dtype}`;
    const [batch, channels, length] =
      layout === "bdl" ? u.shape : ([u.shape[0], u.shape[2], u.shape[1]] as number[]);
    const plan = planTransform(length!, circular);
    if (typeof plan === "string") return plan;
    if (channels === 0) return { steps: [] };
    const { points, threads, lines, sharedBytes } = plan;
    const [channelStride, tapStride] =
      layout === "bdl" ? outputs[0]!.strides : [outputs[0]!.strides[1], outputs[0]!.strides[0]];
    return {
      steps: [
        {
          kernel: kernel("filter_gradient", points, circular, {
            PRE: Boolean(views.preGate),
            POST: Boolean(views.postGate),
            SKIP: false,
          }),
          args: [
            { input: index.u! },
            place(index.preGate),
            { input: index.dy! },
            place(index.postGate),
            { output: 0 },
            ...walkOf(u, layout),
            ...walkOf(views.preGate, layout),
            ...walkOf(views.dy, layout),
            ...walkOf(views.postGate, layout),
            batch!,
            length!,
            taps,
            origin,
            channelStride!,
            tapStride!,
          ],
          grid: [channels!, 1, 1],
          block: [threads * lines, 1, 1],
          sharedBytes,
        },
      ],
    };
  },
};
