// CUDA sources of butterflies: a transform of one to 32 channels in shared memory, from end to end. Kernels specialise on the stages.

import { cudaFile } from "../cuda-file.ts";
import {
  blocksFor,
  overTwoAxes,
  type CudaCall,
  type CudaSource,
  type CudaStep,
  type CudaTable,
  type CudaTarget,
  type CudaView,
  type CudaWord,
} from "../cuda-step.ts";
import type {
  ButterflyAdjointParams,
  ButterflyConvParams,
  ButterflyFilterGradParams,
  ButterflyParams,
} from "./op.ts";
import { sequenceAxes, transformSize, type Layout } from "./transform-shape.ts";

const THREADS = 256;
/** Points of a block, where several channels fit. */
const POINTS_PER_BLOCK = 4096;
const MOST_ROWS = 32;

/** Elements of a row in shared memory; as in `kernel.cu`. */
const pitchOf = (size: number): number => size + ((size - 1) >> 4) + ((size - 1) >> 6);

const rootTable = (size: number): CudaTable => ({
  key: `butterfly roots ${size}`,
  bytes: 8 * size,
  fill: (memory) => {
    for (let i = 0; i < size; i++) {
      // Within half a turn the cosine and the sine keep their digits.
      const angle = (-2 * Math.PI * (i > size / 2 ? i - size : i)) / size;
      memory.setFloat32(8 * i, Math.cos(angle), true);
      memory.setFloat32(8 * i + 4, Math.sin(angle), true);
    }
  },
});

interface Plan {
  readonly size: number;
  readonly rows: number;
  readonly channels: number;
  readonly batch: number;
  readonly groups: number;
  /** Elements of a plane in shared memory. */
  readonly plane: number;
  readonly step: (launch: {
    readonly files: readonly string[];
    readonly entry: string;
    readonly words: readonly CudaWord[];
    readonly grid: CudaStep["grid"];
  }) => CudaStep;
}

interface Parts {
  /** Sequences that decide how threads walk memory. */
  readonly sequences: CudaView;
  readonly word: CudaWord;
  readonly re: CudaWord;
  readonly im: CudaWord;
  /** Position of the first matrix among the inputs. */
  readonly matrices: number;
  readonly planes: number;
}

/** The five words of sequences (or filters, without a batch axis). */
function sequenceWords(view: CudaView, word: CudaWord, layout: Layout): CudaWord[] {
  const { channel, time } = sequenceAxes(layout);
  const lead = view.shape.length - 2;
  const [c, t] = [channel - 1 + lead, time - 1 + lead];
  return [word, lead === 0 ? 0 : view.strides[0]!, view.strides[c]!, view.strides[t]!, view.shape[t]!];
}

/** The stages of a transform as C++: sizes of the matrix and of what a column steps over. */
function stagesOf(radices: readonly number[]): { readonly m: number; readonly n: number }[] {
  let n = transformSize(radices);
  return radices.map((m) => ({ m, n: (n /= m) }));
}

const line = (name: string, parts: readonly string[]): string => `#define ${name} ${parts.join(" ")}`;

/** C++ in front of the kernels. */
function headOf(radices: readonly number[], rows: number, timeLast: boolean, words: number): string {
  const stages = stagesOf(radices);
  const matrix = (i: number): string => `pointer<const float>(w, MATRIX_AT + ${i}), roots_of(w)`;
  const count = (i: number): string => (i === 0 ? "count" : `${radices[i]}`);
  const at = (i: number): string => `kept + ${i} * ROWS * PITCH`;
  let offset = 0;
  const sums = radices.map((m, i) => {
    const text = `store_sums<${m}>(to + ${offset}, sums_${i}, planes);`;
    offset += 2 * m * m;
    return text;
  });
  const backwards = stages.map((stage, i) => ({ ...stage, i })).toReversed();
  return [
    line("SIZE", [`${transformSize(radices)}`]),
    line("ROWS", [`${rows}`]),
    line("TIME_LAST", [`${timeLast}`]),
    line("FIRST", [`${radices[0]}`]),
    line("WORDS", [`${words}`]),
    line("MATRIX_AT", [`${words - radices.length}`]),
    line(
      "STAGES_UP(x, w, count)",
      stages.map(({ m, n }, i) => `up<${m}, ${n}, ${i === 0}>(x, ${matrix(i)}, ${count(i)});`),
    ),
    line(
      "STAGES_DOWN(x, w, count)",
      backwards.map(({ m, n, i }) => `down<${m}, ${n}, ${i === 0}, true>(x, ${matrix(i)}, ${count(i)});`),
    ),
    line(
      "DECLARE_SUMS",
      radices.map((m, i) => `Sums<${m}> sums_${i};`),
    ),
    line(
      "KEEP_STAGES(x, w, kept)",
      stages.flatMap(({ m, n }, i) => [
        `keep(x, ${at(i)});`,
        i === stages.length - 1 ? "" : `up<${m}, ${n}, ${i === 0}>(x, ${matrix(i)}, ${m});`,
      ]),
    ),
    line(
      "CORRELATE_STAGES(x, other, w, kept)",
      backwards.flatMap(({ m, n, i }) => [
        `untwist<${m}, ${n}>(x, roots_of(w)); keep(${at(i)}, other); correlate<${m}, ${n}>(x, other, sums_${i});`,
        i === 0 ? "" : `down<${m}, ${n}, false, false>(x, ${matrix(i)}, ${m});`,
      ]),
    ),
    line("STORE_SUMS(to, planes)", sums),
  ].join("\n");
}

/** What all kernels share; or the reason why there is none. */
function plan(
  { inputs, params }: CudaCall<ButterflyParams>,
  target: CudaTarget,
  given: Parts,
): Plan | string {
  const { layout, radices } = params;
  const { sequences, planes } = given;
  if (sequences.dtype !== "f32") return `no kernel for ${sequences.dtype}`;
  const { channel, time } = sequenceAxes(layout);
  const [batch, channels] = [sequences.shape[0]!, sequences.shape[channel]!];
  const size = transformSize(radices);
  const enough = 2 ** Math.ceil(Math.log2(Math.max(1, channels)));
  let rows = Math.min(MOST_ROWS, enough, 2 ** Math.max(0, Math.floor(Math.log2(POINTS_PER_BLOCK / size))));
  const bytes = (n: number): number => Math.max(8 * THREADS, 8 * n * pitchOf(size) * planes);
  while (rows > 1 && bytes(rows) > target.sharedLimit) rows /= 2;
  if (bytes(rows) > target.sharedLimit)
    return `a transform of ${size} points needs ${bytes(rows)} bytes of shared memory, there are ${target.sharedLimit}`;
  const timeLast = sequences.strides[time] === 1;
  const common: CudaWord[] = [
    ...sequenceWords(sequences, given.word, layout),
    channels,
    { table: 0 },
    given.re,
    given.im,
  ];
  const matrices = inputs.slice(given.matrices).map((_, i): CudaWord => ({ input: given.matrices + i }));
  return {
    size,
    rows,
    channels,
    batch,
    groups: Math.ceil(channels / rows),
    plane: rows * pitchOf(size),
    step: ({ files, entry, words, grid }) => {
      const args = [...common, ...words, ...matrices];
      const head = headOf(radices, rows, timeLast, args.length);
      return {
        kernel: {
          key: `${entry} ${head}`,
          entry,
          source: () => [head, ...files.map((f) => cudaFile(`butterfly/${f}`))].join("\n"),
        },
        args,
        grid,
        block: [THREADS, 1, 1],
        sharedBytes: bytes(rows),
        tables: [rootTable(size)],
      };
    },
  };
}

/** Matrices are read four numbers at a time. */
const alignment =
  (matrices: number): NonNullable<CudaSource<ButterflyParams>["alignment"]> =>
  (operand) =>
    "input" in operand && operand.input >= matrices ? 16 : 1;

/** A block for every group of channels and example. */
function transformed(made: Plan | string, entry: string): ReturnType<CudaSource<ButterflyParams>["lower"]> {
  if (typeof made === "string") return made;
  const { groups, batch } = made;
  if (groups * batch === 0) return { steps: [] };
  const grid = [groups, ...overTwoAxes(batch)] as const;
  return { steps: [made.step({ files: ["kernel.cu"], entry, words: [batch], grid })] };
}

/** `(x, w0, w1, ...) -> (re, im)`. */
export const butterflyCuda: CudaSource<ButterflyParams> = {
  alignment: alignment(1),
  accepts: (input) => input === 0,
  lower: (call, target) => {
    const made = plan(call, target, {
      sequences: call.inputs[0]!,
      word: { input: 0 },
      re: { output: 0 },
      im: { output: 1 },
      matrices: 1,
      planes: 1,
    });
    return transformed(made, "butterfly");
  },
};

/** `(re, im, w0, w1, ...) -> x`. */
export const butterflyAdjointCuda: CudaSource<ButterflyAdjointParams> = {
  alignment: alignment(2),
  lower: (call, target) => {
    const made = plan(call, target, {
      sequences: call.outputs[0]!,
      word: { output: 0 },
      re: { input: 0 },
      im: { input: 1 },
      matrices: 2,
      planes: 1,
    });
    return transformed(made, "butterfly_adjoint");
  },
};

const BLOCKS_PER_PROCESSOR = 4;

/** `(u, k, w0, w1, ...) -> y`. */
export const butterflyConvCuda: CudaSource<ButterflyConvParams> = {
  alignment: alignment(2),
  accepts: (input) => input < 2,
  lower: (call, target) => {
    const { inputs, outputs, params } = call;
    const made = plan(call, target, {
      sequences: inputs[0]!,
      word: { input: 0 },
      re: 0,
      im: 0,
      matrices: 2,
      planes: 2,
    });
    if (typeof made === "string") return made;
    const { groups, batch } = made;
    if (groups * batch === 0) return { steps: [] };
    // Every block transforms the filters once.
    const blocks = Math.min(batch, Math.ceil((BLOCKS_PER_PROCESSOR * target.processors) / groups));
    const step = made.step({
      files: ["kernel.cu", "kernel-conv.cu"],
      entry: "butterfly_convolve",
      words: [
        ...sequenceWords(outputs[0]!, { output: 0 }, params.layout),
        ...sequenceWords(inputs[1]!, { input: 1 }, params.layout),
        batch,
        params.adjoint ? 1 : 0,
        blocks,
        0,
      ],
      grid: [groups, blocks, 1],
    });
    return { steps: [step] };
  },
};

/** The launch that adds parts in their order. */
const total = (parts: CudaWord, result: CudaWord, each: number, count: number, of: number): CudaStep => ({
  kernel: {
    key: "butterfly total",
    entry: "butterfly_total",
    source: () => cudaFile("butterfly/kernel-total.cu"),
  },
  args: [parts, result, each, count, of],
  grid: [blocksFor(count, 256), 1, 1],
  block: [256, 1, 1],
});

/** `(u, dy, w0, w1, ...) -> dk`. */
export const butterflyFilterGradCuda: CudaSource<ButterflyFilterGradParams> = {
  alignment: alignment(2),
  accepts: (input) => input < 2,
  lower: (call, target) => {
    const { inputs, outputs, params } = call;
    const made = plan(call, target, {
      sequences: inputs[0]!,
      word: { input: 0 },
      re: 0,
      im: 0,
      matrices: 2,
      planes: 3,
    });
    if (typeof made === "string") return made;
    const { groups, batch, channels } = made;
    if (groups === 0) return { steps: [] };
    if (batch === 0) return "an empty batch";
    const each = channels * params.taps;
    const parts = Math.min(batch, Math.ceil((2 * target.processors) / groups));
    const result: CudaWord = parts === 1 ? { output: 0 } : { temp: 0 };
    const step = made.step({
      files: ["kernel.cu", "kernel-conv.cu"],
      entry: "butterfly_filter_grad",
      words: [
        ...sequenceWords(inputs[1]!, { input: 1 }, params.layout),
        ...sequenceWords(outputs[0]!, result, params.layout),
        batch,
        0,
        parts,
        each,
      ],
      grid: [groups, parts, 1],
    });
    if (parts === 1) return { steps: [step] };
    return { steps: [step, total({ temp: 0 }, { output: 0 }, each, each, parts)], temps: [4 * parts * each] };
  },
};

/** `(x, re, im, w0, w1, ...) -> (dw0, dw1, ...)`. */
export const butterflyMatrixGradCuda: CudaSource<ButterflyParams> = {
  alignment: alignment(3),
  accepts: (input) => input === 0,
  lower: (call, target) => {
    const { inputs, params } = call;
    const made = plan(call, target, {
      sequences: inputs[0]!,
      word: { input: 0 },
      re: { input: 1 },
      im: { input: 2 },
      matrices: 3,
      planes: 2,
    });
    if (typeof made === "string") return made;
    const { groups, batch, plane } = made;
    const units = groups * batch;
    if (units === 0) return "no sequences";
    const { radices } = params;
    const blocks = Math.min(units, 2 * target.processors);
    const kept = radices.length * plane;
    const sums = radices.reduce((sum, m) => sum + 2 * m * m, 0);
    const step = made.step({
      files: ["kernel.cu", "kernel-matrix-grad.cu"],
      entry: "butterfly_matrix_grad",
      words: [{ temp: 0 }, kept, { temp: 1 }, sums, groups, units],
      grid: [blocks, 1, 1],
    });
    let offset = 0;
    const totals = radices.map((m, output) => {
      const count = 2 * m * m;
      const part = total({ temp: 1, byteOffset: 4 * offset }, { output }, sums, count, blocks);
      offset += count;
      return part;
    });
    return { steps: [step, ...totals], temps: [8 * blocks * kept, 4 * blocks * sums] };
  },
};
