// Convolutions of f16 and bf16 sequences on the tensor cores: which transform, and its launches (tensor-*.cu, spectrum-half.cu).

import { cudaFile } from "../cuda-file.ts";
import type { CudaLowering, CudaStep, CudaTarget, CudaView, CudaWord } from "../cuda-step.ts";
import { tensorTable } from "./cuda-tensor-tables.ts";
import type { FftConvInput, Layout } from "./op.ts";

/** Longest sequence of one block. */
const LONGEST = 32_768;
/** Points of the longest float32 transform of one block; filters of longer ones go through in parts. */
const POINTS = 8192;

/** Which transform serves sequences of a length: 256 `factor` points. */
export interface TensorPlan {
  /** 4: one warp. Else a block of factor / 8 warps. */
  readonly factor: number;
  /** Two rows are one complex transform. Otherwise a row is one modulo x^N - i, and a circular filter reaches back over its period. */
  readonly paired: boolean;
}

/** The transform of sequences up to {@link LONGEST}, or the reason why there is none. */
function planTensor(length: number, circular: boolean, target: CudaTarget): TensorPlan | string {
  if (length > LONGEST) return `sequences of ${length} are longer than ${LONGEST}`;
  const factor = Math.max(4, 2 ** Math.ceil(Math.log2(length / 256)));
  if (sharedBytes(factor) > target.sharedLimit)
    return `a transform of ${256 * factor} points needs ${sharedBytes(factor)} bytes of shared memory, the GPU has ${target.sharedLimit}`;
  return { factor, paired: circular && length === 256 * factor };
}

const sharedBytes = (factor: number): number => (factor < 8 ? 0 : 1024 * factor);

const text = (
  flags: Readonly<Record<string, number>>,
  files: readonly string[],
): CudaStep["kernel"]["source"] => {
  const defines = Object.entries(flags).map(([name, value]) => `#define ${name} ${value}`);
  return () => [...defines, ...files.map((f) => cudaFile(`fft-conv/${f}.cu`))].join("\n");
};

const kernel = (
  entry: string,
  flags: Readonly<Record<string, number>>,
  files: readonly string[],
): CudaStep["kernel"] => ({
  key: `fft-conv ${entry} ${JSON.stringify(flags)}`,
  entry,
  source: text(flags, files),
});

/** Where a filter comes from and where its spectrum goes. */
export interface SpectrumCall {
  readonly k: CudaWord;
  readonly skip: CudaWord | undefined;
  /** Strides of a filter's channels and taps, of skips. */
  readonly strides: readonly [channel: number, tap: number, skip: number];
  readonly taps: number;
  readonly origin: number;
  readonly circular: boolean;
  readonly length: number;
  readonly channels: number;
  readonly spectrum: CudaWord;
  readonly gains: CudaWord;
}

/** The launch that transforms filters. */
function spectrumStep(call: SpectrumCall, { factor, paired }: TensorPlan): CudaStep {
  const points = Math.min(POINTS, 256 * factor);
  const residues = (256 * factor) / points;
  const flags = { FACTOR: factor, TWISTED: paired ? 0 : 1, RESIDUES: residues, POINTS: points };
  // In a twisted transform a circular filter is one of two sides: the tap of lag l stands at lag l - length too.
  const wraps = call.circular && !paired;
  return {
    kernel: kernel("spectrum_half", flags, ["transform", "tensor-instructions", "spectrum-half"]),
    args: [
      call.k,
      call.spectrum,
      call.gains,
      call.skip ?? 0,
      call.strides[0],
      call.strides[1],
      call.taps,
      call.origin,
      wraps ? call.length : call.origin,
      wraps ? 1 : 0,
      call.strides[2],
      call.skip === undefined ? 0 : 1,
    ],
    grid: [residues, call.channels, 1],
    block: [points / 16, 1, 1],
    sharedBytes: 8 * (points + points / 16),
  };
}

/** Sequences `[B, D, L]` with contiguous time: an address, and the strides of batch and channel. */
interface Sequences {
  readonly word: CudaWord;
  readonly batch: number;
  readonly channel: number;
}

export interface ConvolveCall {
  readonly u: Sequences;
  readonly preGate: Sequences | undefined;
  readonly postGate: Sequences | undefined;
  readonly y: Sequences;
  readonly dtype: "f16" | "bf16";
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  readonly adjoint: boolean;
  readonly spectrum: CudaWord;
  readonly gains: CudaWord;
}

const nowhere: Sequences = { word: 0, batch: 0, channel: 0 };

/** The launch that convolves. */
function convolveStep(call: ConvolveCall, { factor, paired }: TensorPlan): CudaStep {
  const { u, preGate = nowhere, postGate = nowhere, y, channels } = call;
  const warp = factor < 8;
  const flags = {
    ...(warp ? {} : { FACTOR: factor }),
    PAIRED: paired ? 1 : 0,
    BRAIN: call.dtype === "bf16" ? 1 : 0,
    PRE: call.preGate ? 1 : 0,
    POST: call.postGate ? 1 : 0,
    SCALED: 1,
  };
  const name = warp ? "warp" : "block";
  const files = ["tensor-instructions", "tensor-256", "tensor-sequences", `tensor-${name}`];
  const groups = Math.ceil(call.batch / (paired ? 2 : 1));
  // Rows of one channel share its spectrum and the constants: a block takes some of them one after the other.
  const parts = Math.ceil(groups / Math.max(1, Math.min(8, Math.floor((groups * channels) / 2048))));
  const items = Math.ceil(groups / parts);
  const jobs = channels * Math.ceil(groups / items);
  return {
    kernel: kernel(`convolve_${name}`, flags, files),
    args: [
      u.word,
      preGate.word,
      postGate.word,
      call.spectrum,
      call.gains,
      y.word,
      { table: 0 },
      ...[u, preGate, postGate, y].flatMap((s) => [s.batch, s.channel]),
      call.batch,
      call.length,
      items,
      call.adjoint ? 1 : 0,
      warp ? channels : 1,
    ],
    grid: [warp ? Math.ceil(jobs / 4) : jobs, 1, 1],
    block: [warp ? 128 : 4 * factor, 1, 1],
    sharedBytes: sharedBytes(factor),
    tables: [tensorTable({ factor, paired })],
  };
}

/** A convolution of half-precision sequences. */
export interface TensorCall {
  readonly views: { readonly [K in FftConvInput]?: CudaView };
  readonly index: { readonly [K in FftConvInput]?: number };
  readonly y: CudaView;
  readonly layout: Layout;
  readonly circular: boolean;
  readonly origin: number;
  readonly adjoint: boolean;
}

/** Elements that a block of transpose.cu takes in either direction. */
const TILE = 64;

/** Launches that bring sequences `[B, L, D]` into rows of time, and back. */
class RowMaker {
  readonly before: CudaStep[] = [];
  readonly after: CudaStep[] = [];
  readonly temps: number[];
  private readonly shape: readonly [batch: number, channels: number, length: number];

  constructor(shape: RowMaker["shape"], temps: number[]) {
    this.shape = shape;
    this.temps = temps;
  }

  private newRows(): Sequences {
    const [batch, channels, length] = this.shape;
    const temp = this.temps.push(2 * batch * channels * length) - 1;
    return { word: { temp }, batch: channels * length, channel: length };
  }

  /** `strides`: batch, time, channel. */
  toRows(word: CudaWord, strides: readonly number[]): Sequences {
    const rows = this.newRows();
    const [, channels, length] = this.shape;
    this.before.push(
      this.step([
        word,
        rows.word,
        strides[0]!,
        strides[1]!,
        strides[2]!,
        rows.batch,
        length,
        length,
        channels,
      ]),
    );
    return rows;
  }

  fromRows(word: CudaWord): Sequences {
    const rows = this.newRows();
    const [, channels, length] = this.shape;
    this.after.push(
      this.step([rows.word, word, rows.batch, length, 1, channels * length, channels, channels, length]),
    );
    return rows;
  }

  // Words: from, to; strides of from (batch, row, column); of to (batch, column); rows, columns.
  private step(args: readonly CudaWord[]): CudaStep {
    const [rows, columns] = args.slice(-2) as number[];
    return {
      kernel: kernel("transpose", {}, ["transpose"]),
      args,
      grid: [Math.ceil(columns! / TILE), Math.ceil(rows! / TILE), this.shape[0]],
      block: [256, 1, 1],
    };
  }
}

/** The launches of a convolution on the tensor cores, or the reason why there are none. */
export function lowerTensor(call: TensorCall, target: CudaTarget): CudaLowering | string {
  const { views, index, y, layout, circular, origin, adjoint } = call;
  const rowwise = layout === "bdl";
  const [batch, channels, length] = (rowwise ? y.shape : [y.shape[0], y.shape[2], y.shape[1]]) as [
    number,
    number,
    number,
  ];
  if (y.dtype !== "f16" && y.dtype !== "bf16") return `no tensor-core kernel for ${y.dtype}`;
  if (Math.max(channels, rowwise ? 0 : batch) > 65_535) return "batch or channels are too many";
  const plan = planTensor(length, circular, target);
  if (typeof plan === "string") return plan;
  const k = views.k!;
  const [spectrum, gains] = [{ temp: 0 }, { temp: 1 }];
  const temps = [4 * channels * 256 * plan.factor, 4 * channels];
  const rows = new RowMaker([batch, channels, length], temps);
  const sequences = (name: FftConvInput): Sequences | undefined => {
    const view = views[name];
    if (!view) return undefined;
    const word = { input: index[name]! };
    return rowwise
      ? { word, batch: view.strides[0]!, channel: view.strides[1]! }
      : rows.toRows(word, view.strides);
  };
  const filter = spectrumStep(
    {
      k: { input: index.k! },
      skip: views.skip && { input: index.skip! },
      strides: [k.strides[rowwise ? 0 : 1]!, k.strides[rowwise ? 1 : 0]!, views.skip?.strides[0] ?? 0],
      taps: k.shape[rowwise ? 1 : 0]!,
      origin,
      circular,
      length,
      channels,
      spectrum,
      gains,
    },
    plan,
  );
  const main = convolveStep(
    {
      u: sequences("u")!,
      preGate: sequences("preGate"),
      postGate: sequences("postGate"),
      y: rowwise
        ? { word: { output: 0 }, batch: y.strides[0]!, channel: y.strides[1]! }
        : rows.fromRows({ output: 0 }),
      dtype: y.dtype,
      batch,
      channels,
      length,
      adjoint,
      spectrum,
      gains,
    },
    plan,
  );
  return { steps: [filter, ...rows.before, main, ...rows.after], temps };
}
