// The long convolution on the CPU: transform length, reach and units of a call.

import { named } from "../inputs.ts";
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
import type { FftConvCachedParams, FftConvSpectrumParams } from "./cached-op.ts";
import type { FftConvGradParams, FftConvInput, FftConvParams, Layout } from "./op.ts";
import {
  buildConv,
  CONV_ARGS,
  scratchBytes,
  sequenceStride,
  SPECTRA_HEADER,
  type ConvArg,
} from "./wasm-conv.ts";
import { clusterOf } from "./wasm-staging.ts";
import { elementBytes, fillTable, leafOf, niceLength, tableLayout } from "./wasm-lengths.ts";

/** Longest transform: positions and table offsets stay within 32 bits. */
export const LONGEST: number = 2 ** 22;
/** Units that give several threads something to do. */
const ENOUGH_UNITS = 8;

const bytes = (elements: number): number => 4 * elements;

/** Twiddles of transforms of length `m`. */
export const twiddleTable = (m: number): WasmTable => ({
  key: `fft/${m}`,
  bytes: tableLayout(m).bytes,
  fill: (memory, at) => fillTable(memory, at, m),
});

interface Reach {
  readonly length: number;
  readonly taps: number;
  readonly origin: number;
  readonly circular: boolean;
}

/**
 * The transform length for a linear convolution: results 0 .. L - 1 must stay free of what wraps around at 2 M, on either side and
 * for the adjoint too (README.md, "How long").
 */
export const transformLength = ({ length, taps, origin }: Reach): number =>
  niceLength(Math.ceil((length + Math.max(origin, taps - 1 - origin)) / 2));

/** How a sequence is cut: into `count` blocks of `results` each, which come out of transforms of `size` points. */
interface Blocks {
  readonly size: number;
  readonly count: number;
  readonly results: number;
}

/** Points of a transform that stay in a core's cache together with their spectrum and their sequence. */
const CACHED = 4096;
/** Measured costs, in about a nanosecond for 8 channels: of a level for a point, within the cache and beyond; of taking in an input. */
const LEVEL = { cached: 0.6, beyond: 0.75 };
const INPUT = 1;

/**
 * The cheapest cut. Filters much shorter than the sequence act on blocks (overlap-save): of 2M inputs, `taps - 1` of which the block before has
 * too, come 2M - taps + 1 results. The choice depends on lengths alone, so that no result depends on the rest of a batch.
 */
export function blocksOf(reach: Reach): Blocks {
  const { length, taps, circular } = reach;
  const cost = (size: number, count: number, inputs: number): number =>
    count * (size * Math.log2(size) * (size <= CACHED ? LEVEL.cached : LEVEL.beyond) + inputs * INPUT);
  const whole = transformLength(reach);
  let best = { size: whole, count: 1, results: length };
  if (circular) return best;
  let least = cost(whole, 1, length);
  for (let size = niceLength(Math.max(16, taps)); size < whole; size = niceLength(size + 1)) {
    const results = 2 * size - taps + 1;
    const count = Math.ceil(length / results);
    const here = cost(size, count, 2 * size);
    if (here >= least) continue;
    least = here;
    best = { size, count, results };
  }
  return best;
}

const axes = (layout: Layout): { batch: number; channel: number; time: number } =>
  layout === "bdl" ? { batch: 0, channel: 1, time: 2 } : { batch: 0, channel: 2, time: 1 };

/** Words of a sequence tensor under `name`. */
export function sequenceWords<N extends string>(
  name: N,
  view: WasmView | undefined,
  layout: Layout,
  address: (byteOffset: number) => ArgWord,
): Record<string, ArgWord> {
  if (!view) return { [name]: 0, [`${name}Batch`]: 0, [`${name}Channel`]: 0, [`${name}Time`]: 0 };
  const axis = axes(layout);
  return {
    [name]: address(bytes(view.offset)),
    [`${name}Batch`]: bytes(view.strides[axis.batch]!),
    [`${name}Channel`]: bytes(view.strides[axis.channel]!),
    [`${name}Time`]: bytes(view.strides[axis.time]!),
  };
}

/** Words of a filter. */
export function filterWords(
  view: WasmView,
  layout: Layout,
  address: (byteOffset: number) => ArgWord,
): Record<string, ArgWord> {
  const [channel, tap] = layout === "bdl" ? [0, 1] : [1, 0];
  return {
    k: address(bytes(view.offset)),
    kChannel: bytes(view.strides[channel]!),
    kTap: bytes(view.strides[tap]!),
  };
}

/** Reads any strides; fast where time or channels are contiguous, so only such views are taken as they are. */
export const accepts = (view: WasmView): boolean =>
  view.dtype === "f32" && view.shape.some((n, axis) => view.strides[axis] === 1 || n === 1);

interface Plan {
  readonly size: number;
  /** Blocks of all sequences. */
  readonly entries: number;
  /** Groups of channels per unit, and how many units of that kind there are. */
  readonly cluster: number;
  readonly clusters: number;
  /** Whether any sequence is of length 2 M. */
  readonly both: boolean;
  readonly words: { readonly [K in ConvArg]?: ArgWord };
  readonly table: WasmTable;
  readonly key: string;
}

function planOf(
  reach: Reach,
  batch: number,
  channels: number,
  columns: boolean,
  adjoint: boolean,
  target: WasmTarget,
): Plan | string {
  const cut = blocksOf(reach);
  const { size } = cut;
  if (size > LONGEST) return `sequences of ${reach.length} need transforms longer than ${LONGEST}`;
  const { length, taps, origin, circular } = reach;
  const layout = tableLayout(size);
  const flag = (x: boolean): number => (x ? 1 : 0);
  const lanes = 4 * target.width;
  // very long sequences would need too much scratch memory side by side
  const cluster = columns && channels > lanes && size <= 2 ** 19 ? clusterOf(target.width) : 1;
  // blocks are as long as what their transforms hold
  const sequenceBoth = length > size || cut.count > 1;
  const behind = adjoint ? origin : taps - 1 - origin;
  const filterBoth = taps - origin > size || origin > 0;
  const both = sequenceBoth || filterBoth || circular;
  return {
    size,
    cluster,
    clusters: Math.ceil(channels / (cluster * lanes)),
    both,
    entries: batch * cut.count,
    table: twiddleTable(size),
    key: `fft-conv/${target.width}${target.relaxed ? "r" : "s"}/${leafOf(size)!}`,
    words: {
      batch: batch * cut.count,
      blocks: cut.count,
      blockResults: cut.results,
      lead: cut.count > 1 ? behind : 0,
      channels,
      length,
      taps,
      origin,
      size,
      table: { table: 0 },
      tableFirst: layout.first,
      tableLast: layout.last,
      sequenceBoth: flag(sequenceBoth),
      filterBoth: flag(filterBoth),
      resultBoth: flag(sequenceBoth || circular),
      circular: flag(circular),
      cluster,
      sequenceStride: sequenceStride(size, target.width, both),
    },
  };
}

const listWords = (words: Readonly<Record<string, ArgWord>>): ArgWord[] =>
  CONV_ARGS.map((name) => words[name] ?? 0);

/** Batch entries per unit: all of them, or fewer where there are few clusters. */
export function batchBlocks(clusters: number, batch: number): { blocks: number; each: number } {
  const wanted = Math.min(Math.ceil(batch / 4), Math.ceil(ENOUGH_UNITS / clusters));
  const each = Math.max(1, Math.ceil(batch / Math.max(1, wanted)));
  return { blocks: Math.max(1, Math.ceil(batch / each)), each };
}

/** Positions of the inputs by name. */
const positions = <N extends string>(names: readonly N[]): { readonly [K in N]?: number } =>
  named(
    names,
    names.map((_, i) => i),
  );

const kernelOf = (plan: Plan): WasmStep["kernel"] => ({
  key: plan.key,
  build: (module) => buildConv(module, leafOf(plan.size)!),
});

const input =
  (index: number | undefined) =>
  (byteOffset: number): ArgWord => ({ input: index!, byteOffset });

/** Bytes of the kept spectra of all groups. */
const spectraBytes = (plan: Plan, target: WasmTarget): number =>
  SPECTRA_HEADER + plan.clusters * plan.cluster * plan.size * elementBytes(target.width);

/** The filters of a call, as words; or the reason why they cannot be read. */
function filters(
  at: { readonly k?: number; readonly skip?: number },
  inputs: readonly WasmView[],
  layout: Layout,
): Record<string, ArgWord> | string {
  const skip = at.skip === undefined ? undefined : inputs[at.skip]!;
  if (skip && skip.shape[0]! > 1 && skip.strides[0] !== 1) return "the skip weights must be contiguous";
  return {
    ...filterWords(inputs[at.k!]!, layout, input(at.k)),
    skip: skip ? { input: at.skip!, byteOffset: bytes(skip.offset) } : 0,
  };
}

function spectraStep(plan: Plan, words: Record<string, ArgWord>, target: WasmTarget): WasmStep {
  return {
    kernel: kernelOf(plan),
    entry: "filterSpectra",
    args: listWords({ ...plan.words, ...words }),
    units: plan.clusters,
    grain: 1,
    scratchBytes: scratchBytes(plan.size, target.width, plan.both, plan.cluster, 0),
    tables: [plan.table],
  };
}

/** Lowers a convolution whose filters are inputs, or whose spectra are. */
function lowerConvolution(
  call: WasmCall<{ readonly layout: Layout; readonly adjoint: boolean }>,
  reach: Omit<Reach, "length">,
  at: { readonly [K in FftConvInput | "spectrum"]?: number },
  target: WasmTarget,
): WasmLowering | string {
  const { inputs } = call;
  const { layout, adjoint } = call.params;
  if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
  const axis = axes(layout);
  const u = inputs[at.u!]!;
  const [batch, channels, length] = [u.shape[axis.batch]!, u.shape[axis.channel]!, u.shape[axis.time]!];
  if (batch * channels === 0) return { steps: [] };
  const columns = u.strides[axis.channel] === 1;
  const plan = planOf({ ...reach, length }, batch, channels, columns, adjoint, target);
  if (typeof plan === "string") return plan;
  const filter = at.k === undefined ? {} : filters(at, inputs, layout);
  if (typeof filter === "string") return filter;
  const sequenceOf = (name: string, index: number | undefined): Record<string, ArgWord> =>
    sequenceWords(name, index === undefined ? undefined : inputs[index], layout, input(index));
  const { blocks, each } = batchBlocks(plan.clusters, plan.entries);
  // units of the same channels share spectra made beforehand
  const shared = at.k !== undefined && blocks > 1;
  const given = at.spectrum === undefined ? 0 : input(at.spectrum)(bytes(inputs[at.spectrum]!.offset));
  const convolve: WasmStep = {
    kernel: kernelOf(plan),
    entry: "convolve",
    args: listWords({
      ...plan.words,
      ...sequenceOf("u", at.u),
      ...sequenceOf("pre", at.preGate),
      ...sequenceOf("post", at.postGate),
      ...sequenceWords("y", call.outputs[0], layout, (byteOffset) => ({ output: 0, byteOffset })),
      ...filter,
      spectra: shared ? { temp: 0 } : given,
      adjoint: adjoint ? 1 : 0,
      batchBlocks: blocks,
      batchesPerUnit: each,
    }),
    units: plan.clusters * blocks,
    grain: 1,
    scratchBytes: scratchBytes(plan.size, target.width, plan.both, plan.cluster, plan.cluster + 1),
    tables: [plan.table],
  };
  if (!shared) return { steps: [convolve] };
  const spectra = spectraStep(plan, { ...filter, spectra: { temp: 0 } }, target);
  return { steps: [spectra, convolve], temps: [spectraBytes(plan, target)] };
}

/** `(u, k, skip?, preGate?, postGate?) -> y`, see `fftConvOp`. */
export const fftConvWasm: WasmSource<FftConvParams> = {
  accepts: (_, view) => accepts(view),
  lower: (call, target) => {
    const { layout, origin, circular, inputs } = call.params;
    const at = positions(inputs);
    const taps = call.inputs[at.k!]!.shape[layout === "bdl" ? 1 : 0]!;
    return lowerConvolution(call, { taps, origin, circular }, at, target);
  },
};

/** `(k, skip?) -> spectrum`, see `fftConvSpectrumOp`: a header, then the spectra of groups of 4 (8) channels. */
export const fftConvSpectrumWasm: WasmSource<FftConvSpectrumParams> = {
  accepts: (_, view) => accepts(view),
  lower: (call, target) => {
    const { layout, circular, origin, length, inputs } = call.params;
    if (call.inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const at = positions(inputs);
    const [channelAxis, tapAxis] = layout === "bdl" ? [0, 1] : [1, 0];
    const k = call.inputs[at.k!]!;
    const [channels, taps] = [k.shape[channelAxis]!, k.shape[tapAxis]!];
    if (channels === 0) return { steps: [] };
    const plan = planOf({ length, taps, origin, circular }, 1, channels, false, false, target);
    if (typeof plan === "string") return plan;
    const filter = filters(at, call.inputs, layout);
    if (typeof filter === "string") return filter;
    return { steps: [spectraStep(plan, { ...filter, spectra: { output: 0 } }, target)] };
  },
};

/** `(u, spectrum, preGate?, postGate?) -> y`, see `fftConvCachedOp`. */
export const fftConvCachedWasm: WasmSource<FftConvCachedParams> = {
  accepts: (_, view) => accepts(view),
  lower: (call, target) => {
    const { origin, circular, taps, inputs } = call.params;
    return lowerConvolution(call, { taps, origin, circular }, positions(inputs), target);
  },
};

/** `(u, dy, preGate?, postGate?) -> dk`, see `fftConvFilterGradOp`: summed over the batch between the transforms. */
export const fftConvFilterGradWasm: WasmSource<FftConvGradParams> = {
  accepts: (_, view) => accepts(view),
  lower: (call: WasmCall<FftConvGradParams>, target): WasmLowering | string => {
    const { params, inputs } = call;
    if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const at = positions(params.inputs);
    const axis = axes(params.layout);
    const u = inputs[at.u!]!;
    const [batch, channels, length] = [u.shape[axis.batch]!, u.shape[axis.channel]!, u.shape[axis.time]!];
    if (channels === 0) return { steps: [] };
    if (batch === 0) return "an empty batch";
    const { taps, origin, circular } = params;
    // all lags of a period fold onto the taps, so none may alias
    const reach = { length, taps: circular ? length : taps, origin, circular };
    const columns = u.strides[axis.channel] === 1;
    const plan = planOf(reach, batch, channels, columns, false, target);
    if (typeof plan === "string") return plan;
    const sequenceOf = (name: string, index: number | undefined): Record<string, ArgWord> =>
      sequenceWords(name, index === undefined ? undefined : inputs[index], params.layout, (byteOffset) => ({
        input: index!,
        byteOffset,
      }));
    const { blocks, each } = batchBlocks(plan.clusters, plan.entries);
    const spectrumBytes = plan.size * elementBytes(target.width);
    const args = listWords({
      ...plan.words,
      taps,
      // the gradient reaches the back of the sequence where the filter does, and where a period folds
      filterBoth: circular ? 1 : plan.words.filterBoth!,
      ...sequenceOf("u", at.u),
      ...sequenceOf("pre", at.preGate),
      ...sequenceOf("post", at.postGate),
      ...sequenceOf("y", at.dy),
      ...filterWords(call.outputs[0]!, params.layout, (byteOffset) => ({ output: 0, byteOffset })),
      batchBlocks: blocks,
      batchesPerUnit: each,
      partSpectra: blocks > 1 ? { temp: 0 } : 0,
    });
    const step = {
      kernel: kernelOf(plan),
      args,
      grain: 1,
      tables: [plan.table],
    };
    const gather = {
      ...step,
      entry: "filterGradient",
      units: plan.clusters * blocks,
      scratchBytes: scratchBytes(plan.size, target.width, plan.both, 2 * plan.cluster, plan.cluster + 2),
    };
    if (blocks === 1) return { steps: [gather] };
    const finish = {
      ...step,
      entry: "finishGradient",
      units: plan.clusters,
      scratchBytes: scratchBytes(plan.size, target.width, plan.both, plan.cluster, plan.cluster),
    };
    return { steps: [gather, finish], temps: [plan.clusters * blocks * plan.cluster * spectrumBytes] };
  },
};
