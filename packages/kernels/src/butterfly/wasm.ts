// Butterflies on the CPU: how calls become units of the kernels in wasm-kernels.ts.

import { argWords, inputWord, targetKey } from "../wasm-emit.ts";
import type {
  ArgWord,
  WasmCall,
  WasmLowering,
  WasmSource,
  WasmStep,
  WasmTable,
  WasmTarget,
  WasmView,
} from "../wasm-step.ts";
import { sumPartsStep } from "../wasm-sum-parts.ts";
import type {
  ButterflyAdjointParams,
  ButterflyConvParams,
  ButterflyFilterGradParams,
  ButterflyParams,
} from "./op.ts";
import { sequenceAxes, transformSize } from "./transform-shape.ts";
import { defineConvolutions } from "./wasm-convolutions.ts";
import { ARGS, STAGES, buildTransforms, type Arg } from "./wasm-kernels.ts";
import { tileBytes, vectorBytes } from "./wasm-stages.ts";

/** Twiddles of all stages one behind the other: cosine and sine of `-2 pi k b / m n`, rows k. */
const twiddleTable = (radices: readonly number[]): WasmTable => {
  let n = transformSize(radices);
  const sizes = radices.map((m) => ({ m, n: (n /= m) }));
  return {
    key: `butterfly/${radices.join()}`,
    bytes: 8 * sizes.reduce((sum, s) => sum + s.m * s.n, 0),
    fill: (memory, at) => {
      let to = at;
      for (const s of sizes)
        for (let k = 0; k < s.m; k++)
          for (let b = 0; b < s.n; b++) {
            const angle = (-2 * Math.PI * k * b) / (s.m * s.n);
            memory.setFloat32(to, Math.cos(angle), true);
            memory.setFloat32(to + 4, Math.sin(angle), true);
            to += 8;
          }
    },
  };
};

const strides = (view: WasmView, axis: number): number =>
  view.shape[axis] === 1 ? 0 : 4 * view.strides[axis]!;

const NO_CONVOLUTION = {
  k: 0,
  kChannel: 0,
  kTap: 0,
  taps: 0,
  tapCount: 0,
  y: 0,
  yBatch: 0,
  yChannel: 0,
  yTime: 0,
  batch: 0,
  batchBlocks: 1,
  adjoint: 0,
  scale: 0,
};

interface Parts {
  readonly x: { readonly view: WasmView; readonly word: ArgWord };
  readonly re: { readonly view: WasmView; readonly word: ArgWord };
  readonly im: ArgWord;
  /** Index of the first matrix among the inputs. */
  readonly matrices: number;
}

/** Largest scratch of a thread: longer transforms run out of primitives. */
const SCRATCH_LIMIT = 2 ** 27;

function plan<P extends ButterflyParams>(
  call: WasmCall<P>,
  target: WasmTarget,
  parts: Parts,
):
  | {
      readonly words: { readonly [K in Arg]: ArgWord };
      readonly groups: number;
      readonly batch: number;
      readonly tile: number;
      readonly table: WasmTable;
    }
  | string {
  const { radices, layout } = call.params;
  if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
  const { channel, time } = sequenceAxes(layout);
  const { x, re } = parts;
  const size = transformSize(radices);
  const lanes = 4 * target.width;
  const [channels, length] = [x.view.shape[channel]!, x.view.shape[time]!];
  const table = twiddleTable(radices);
  const tile = tileBytes(Math.max(...radices), target.width);
  const named: Record<string, ArgWord> = {};
  for (const i of STAGES) {
    named[`m${i}`] = radices[i] ?? 1;
    const at = parts.matrices + i;
    named[`w${i}`] = i < radices.length ? inputWord(at, call.inputs[at]!) : 0;
  }
  const words = {
    x: x.word,
    xBatch: strides(x.view, 0),
    xChannel: strides(x.view, channel) || 4,
    xTime: strides(x.view, time) || 4,
    re: re.word,
    im: parts.im,
    spectrumBatch: strides(re.view, 0),
    spectrumTime: strides(re.view, 1) || 4,
    spectrumChannel: strides(re.view, 2) || 4,
    channels,
    groups: Math.ceil(channels / lanes),
    length,
    size,
    stages: radices.length,
    count: Math.ceil(length / (size / radices[0]!)),
    table: { table: 0 },
    tile,
    sums: 0,
    parts: 1,
    work: 0,
    partBytes: 0,
    sumBytes: table.bytes,
    ...NO_CONVOLUTION,
    ...named,
  } as unknown as { readonly [K in Arg]: ArgWord };
  return { words, groups: Math.ceil(channels / lanes), batch: x.view.shape[0]!, tile, table };
}

const kernelOf = (target: WasmTarget): WasmStep["kernel"] => ({
  key: `butterfly/${targetKey(target)}`,
  build: (module) => {
    const { stages, moves } = buildTransforms(module);
    defineConvolutions(module, stages, moves);
  },
});

/** Sequences and spectra may lie anywhere, matrices are contiguous. */
const accepts = (input: number, view: WasmView, sequences: number): boolean =>
  input < sequences && view.dtype === "f32";

function transformStep(
  call: WasmCall<ButterflyParams>,
  target: WasmTarget,
  entry: string,
  parts: Parts,
): WasmLowering | string {
  const made = plan(call, target, parts);
  if (typeof made === "string") return made;
  const { words, groups, batch, tile, table } = made;
  const size = transformSize(call.params.radices);
  const scratchBytes = tile + 2 * size * vectorBytes(target.width);
  if (scratchBytes > SCRATCH_LIMIT) return `a transform of ${size} points needs too much scratch memory`;
  if (batch * groups === 0) return { steps: [] };
  return {
    steps: [
      {
        kernel: kernelOf(target),
        entry,
        args: argWords(ARGS, words),
        units: batch * groups,
        grain: 1,
        scratchBytes,
        tables: [table],
      },
    ],
  };
}

export const butterflyWasm: WasmSource<ButterflyParams> = {
  accepts: (input, view) => accepts(input, view, 1),
  lower: (call, target) =>
    transformStep(call, target, "butterfly", {
      x: { view: call.inputs[0]!, word: inputWord(0, call.inputs[0]!) },
      re: { view: call.outputs[0]!, word: { output: 0 } },
      im: { output: 1 },
      matrices: 1,
    }),
};

export const butterflyAdjointWasm: WasmSource<ButterflyAdjointParams> = {
  // both parts of a spectrum move with the same strides
  accepts: () => false,
  lower: (call, target) =>
    transformStep(call, target, "butterflyAdjoint", {
      x: { view: call.outputs[0]!, word: { output: 0 } },
      re: { view: call.inputs[0]!, word: inputWord(0, call.inputs[0]!) },
      im: inputWord(1, call.inputs[1]!),
      matrices: 2,
    }),
};

/** The batch is cut into at most this many parts, whose sums are added in order. */
const PARTS = 16;

export const butterflyMatrixGradWasm: WasmSource<ButterflyParams> = {
  accepts: (input, view) => accepts(input, view, 1),
  lower: (call, target) => {
    const made = plan(call, target, {
      x: { view: call.inputs[0]!, word: inputWord(0, call.inputs[0]!) },
      re: { view: call.inputs[1]!, word: inputWord(1, call.inputs[1]!) },
      im: inputWord(2, call.inputs[2]!),
      matrices: 3,
    });
    if (typeof made === "string") return made;
    const { words, groups, batch, tile, table } = made;
    const { radices } = call.params;
    const partBytes = 8 * radices.reduce((total, m) => total + m * m, 0);
    const vector = vectorBytes(target.width);
    const planes = 2 + radices.length;
    const scratchBytes = tile + (partBytes * vector) / 4 + planes * 2 * transformSize(radices) * vector;
    if (scratchBytes > SCRATCH_LIMIT) return "a transform of this length needs too much scratch memory";
    const work = batch * groups;
    if (work === 0) return "an empty batch";
    const parts = Math.min(PARTS, work);
    const steps: WasmStep[] = [
      {
        kernel: kernelOf(target),
        entry: "butterflyMatrixGrad",
        args: argWords(ARGS, { ...words, sums: { temp: 0 }, parts, work, partBytes }),
        units: parts,
        grain: 1,
        scratchBytes,
        tables: [table],
      },
    ];
    let byteOffset = 0;
    for (const [i, m] of radices.entries()) {
      const bytes = 8 * m * m;
      steps.push(
        sumPartsStep(target, {
          from: { temp: 0, byteOffset },
          to: { output: i },
          stride: partBytes,
          parts,
          bytes,
        }),
      );
      byteOffset += bytes;
    }
    return { steps, temps: [parts * partBytes] };
  },
};

/** Words of the filters and of the second sequences of a convolution. */
function convolutionWords(
  params: ButterflyParams,
  filters: { readonly view: WasmView; readonly word: ArgWord },
  second: { readonly view: WasmView; readonly word: ArgWord },
): Record<string, ArgWord> {
  const { channel, time } = sequenceAxes(params.layout);
  const size = transformSize(params.radices);
  const taps = filters.view.shape[time - 1]!;
  return {
    k: filters.word,
    kChannel: strides(filters.view, channel - 1) || 4,
    kTap: strides(filters.view, time - 1) || 4,
    taps,
    tapCount: Math.ceil(taps / (size / params.radices[0]!)),
    y: second.word,
    yBatch: strides(second.view, 0),
    yChannel: strides(second.view, channel) || 4,
    yTime: strides(second.view, time) || 4,
    batch: second.view.shape[0]!,
    scale: { f32: 1 / size },
  };
}

/** A unit is a group of channels with a part of the batch: all of it, or less where there are few groups. */
const ENOUGH_UNITS = 32;

export const butterflyConvWasm: WasmSource<ButterflyConvParams> = {
  accepts: (input, view) => accepts(input, view, 2),
  lower: (call, target) => {
    const [u, k] = call.inputs as [WasmView, WasmView];
    const sequences = { view: u, word: inputWord(0, u) };
    const made = plan(call, target, { x: sequences, re: sequences, im: 0, matrices: 2 });
    if (typeof made === "string") return made;
    const { words, groups, batch, tile, table } = made;
    const scratchBytes = tile + 4 * transformSize(call.params.radices) * vectorBytes(target.width);
    if (scratchBytes > SCRATCH_LIMIT) return "a transform of this length needs too much scratch memory";
    if (batch * groups === 0) return { steps: [] };
    const batchBlocks = Math.min(batch, Math.ceil(ENOUGH_UNITS / groups));
    const filters = { view: k, word: inputWord(1, k) };
    const convolution = {
      ...convolutionWords(call.params, filters, { view: call.outputs[0]!, word: { output: 0 } }),
      batchBlocks,
      adjoint: call.params.adjoint ? 1 : 0,
    };
    return {
      steps: [
        {
          kernel: kernelOf(target),
          entry: "butterflyConvolve",
          args: argWords(ARGS, { ...words, ...convolution }),
          units: groups * batchBlocks,
          grain: 1,
          scratchBytes,
          tables: [table],
        },
      ],
    };
  },
};

export const butterflyFilterGradWasm: WasmSource<ButterflyFilterGradParams> = {
  accepts: (input, view) => accepts(input, view, 2),
  lower: (call, target) => {
    const [u, dy] = call.inputs as [WasmView, WasmView];
    const sequences = { view: u, word: inputWord(0, u) };
    const made = plan(call, target, { x: sequences, re: sequences, im: 0, matrices: 2 });
    if (typeof made === "string") return made;
    const { words, groups, batch, tile, table } = made;
    const scratchBytes = tile + 6 * transformSize(call.params.radices) * vectorBytes(target.width);
    if (scratchBytes > SCRATCH_LIMIT) return "a transform of this length needs too much scratch memory";
    if (groups === 0) return { steps: [] };
    if (batch === 0) return "an empty batch";
    const filters = { view: call.outputs[0]!, word: { output: 0 } };
    const second = { view: dy, word: inputWord(1, dy) };
    return {
      steps: [
        {
          kernel: kernelOf(target),
          entry: "butterflyFilterGrad",
          args: argWords(ARGS, { ...words, ...convolutionWords(call.params, filters, second) }),
          units: groups,
          grain: 1,
          scratchBytes,
          tables: [table],
        },
      ],
    };
  },
};
