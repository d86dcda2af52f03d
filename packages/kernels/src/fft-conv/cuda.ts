// CUDA source of the long convolution and its filter gradient: one complex transform a sequence in one block (see kernel.cu).
// Sequences whose transform is longer than a block holds go through the FFT primitive instead.

import { cudaFile } from "../cuda-file.ts";
import { blocksFor, type CudaSource, type CudaStep, type CudaView, type CudaWord } from "../cuda-step.ts";
import { named } from "../inputs.ts";
import type { FftConvGradParams, FftConvParams, Layout } from "./op.ts";

const SHORTEST = 16;
const LONGEST = 8192;
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
    source: () => `${text}\n${cudaFile("fft-conv/kernel.cu")}`,
  };
}

const place = (index: number | undefined): CudaWord => (index === undefined ? 0 : { input: index });

const anySequence = (_: number, view: CudaView): boolean => view.shape.length <= 3;

export const fftConvCuda: CudaSource<FftConvParams> = {
  accepts: anySequence,
  lower: ({ inputs, outputs, params }) => {
    const { layout, circular, origin, adjoint } = params;
    const views = named(params.inputs, inputs);
    const index = named(
      params.inputs,
      params.inputs.map((_, i) => i),
    );
    const y = outputs[0]!;
    if (y.dtype !== "f32") return `no kernel for ${y.dtype}`;
    const [batch, channels, length] =
      layout === "bdl" ? y.shape : ([y.shape[0], y.shape[2], y.shape[1]] as number[]);
    const plan = planTransform(length!, circular);
    if (typeof plan === "string") return plan;
    if (batch! * channels! === 0) return { steps: [] };
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
