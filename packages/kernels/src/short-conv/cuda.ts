// CUDA sources of the short depthwise convolution and its gradient.

import { cudaFile } from "../cuda-file.ts";
import { productOf } from "../cuda-rows.ts";
import {
  blocksFor,
  type CudaCall,
  type CudaSource,
  type CudaStep,
  type CudaView,
  type CudaWord,
} from "../cuda-step.ts";
import { named } from "../inputs.ts";
import type { ShortConvGradParams, ShortConvParams } from "./op.ts";

/** Taps and sliding sums of a thread live in registers. */
const MOST_TAPS = 64;
/** Taps up to which threads own several channels. */
const FEW_TAPS = 8;
const ELEMENT = { f32: "float", f16: "f16", bf16: "bf16" } as const;

type Call = CudaCall<ShortConvParams | ShortConvGradParams>;

/** x and dy may lie anywhere as long as their last axis is dense. */
const accepts = (input: number, view: CudaView, { params }: Call): boolean =>
  ["x", "dy"].includes(params.inputs[input]!) && (view.strides[2] === 1 || view.shape[2] === 1);

interface Shape {
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  readonly taps: number;
}

/** A call taken apart, and a maker of its launches; or the reason why there is no kernel. */
function read({ inputs, outputs, params }: Call):
  | {
      readonly shape: Shape;
      readonly has: (name: string) => boolean;
      readonly step: (
        file: string,
        entry: string,
        most: number,
        outputs: Readonly<Record<string, CudaWord>>,
        grid?: (groups: number, runs: number) => readonly [number, number, number],
      ) => CudaStep;
      readonly channelsOf: (most: number) => number;
    }
  | string {
  const views = named(params.inputs as readonly string[], inputs) as Readonly<Record<string, CudaView>>;
  const { x, w } = views as { x: CudaView; w: CudaView };
  const { dtype } = x;
  if (dtype !== "f32" && dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
  const taps = w.shape[1]!;
  if (taps > MOST_TAPS) return `${taps} taps are more than ${MOST_TAPS}`;
  const timeLast = params.layout === "bdl";
  const [batch, p, q] = x.shape as [number, number, number];
  const [channels, length] = timeLast ? [p, q] : [q, p];
  const at = (name: string): CudaWord => {
    const input = (params.inputs as readonly string[]).indexOf(name);
    return input < 0 ? 0 : { input };
  };
  const ways = ["x", "dy"].flatMap((name) => (views[name] ? [views[name]] : []));
  /** Elements that one access moves. */
  const vectorOf = (most: number): number => {
    const full = Math.min(most, dtype === "f32" ? 4 : 8);
    const fits = ways.every((v) => v.aligned && v.strides[0]! % full === 0 && v.strides[1]! % full === 0);
    return fits && outputs[0]!.aligned && q % full === 0 && (timeLast || taps <= FEW_TAPS) ? full : 1;
  };
  const words = {
    ...Object.fromEntries(["x", "w", "bias", "inputBias", "dy"].map((name) => [name, at(name)])),
    ...Object.fromEntries(
      ["x", "dy"].flatMap((name) => [
        [`${name}Batch`, views[name]?.strides[0] ?? 0],
        [`${name}Row`, views[name]?.strides[1] ?? 0],
      ]),
    ),
    batch,
    length,
  } as Record<string, CudaWord>;
  return {
    shape: { batch, channels, length, taps },
    has: (name) => views[name] !== undefined,
    channelsOf: (most) => (timeLast ? 1 : vectorOf(most)),
    step: (file, entry, most, outputs, grid) => {
      const vector = vectorOf(most);
      const run = timeLast ? vector : 4;
      const groups = timeLast ? channels : channels / vector;
      const runs = Math.ceil(length / run);
      const all = { ...words, groups, runs, ...outputs };
      const head = [
        ...Object.entries({
          E: ELEMENT[dtype],
          W: taps,
          VEC: vector,
          RUN: run,
          TIME_LAST: timeLast ? 1 : 0,
          SILU: params.silu ? 1 : 0,
          BIAS: views["bias"] ? 1 : 0,
          INPUT_BIAS: views["inputBias"] ? 1 : 0,
        }).map(([name, value]) => `#define ${name} ${value}`),
        `enum { ${Object.keys(all)
          .map((name, i) => `w_${name} = ${i}`)
          .join(", ")}, WORDS = ${Object.keys(all).length} };`,
      ].join("\n");
      return {
        kernel: {
          key: `short-conv ${entry} ${head}`,
          entry,
          source: () => [head, cudaFile("short-conv/kernel.cu"), cudaFile(`short-conv/${file}`)].join("\n"),
        },
        args: Object.values(all),
        grid: grid ? grid(groups, runs) : [blocksFor(batch * groups * runs, 256), 1, 1],
        block: [256, 1, 1],
      };
    },
  };
}

export const shortConvCuda: CudaSource<ShortConvParams> = {
  accepts,
  lower: (call) => {
    const made = read(call);
    if (typeof made === "string") return made;
    if (productOf(call.outputs[0]!.shape) === 0) return { steps: [] };
    return { steps: [made.step("kernel-forward.cu", "short_conv", 8, { y: { output: 0 } })] };
  },
};

/** Blocks that keep the GPU busy while each sums as much as possible. */
const BLOCKS_PER_PROCESSOR = 8;
/** Positions of a channel below which a block's own costs count. */
const LEAST_PER_BLOCK = 256;

export const shortConvGradCuda: CudaSource<ShortConvGradParams> = {
  accepts,
  lower: (call, target) => {
    const made = read(call);
    if (typeof made === "string") return made;
    const { batch, channels, length, taps } = made.shape;
    if (channels === 0) return { steps: [] };
    const timeLast = call.params.layout === "bdl";
    const across = timeLast ? channels : Math.ceil(channels / made.channelsOf(4) / 32);
    const segments = Math.max(
      1,
      Math.min(
        Math.ceil((BLOCKS_PER_PROCESSOR * target.processors) / across),
        Math.ceil((batch * length) / LEAST_PER_BLOCK),
      ),
    );
    // Each launch is told only where it writes and what it adds up: the next step waits for the first alone.
    const step = (
      entry: string,
      places: Partial<Record<"dx" | "dw" | "dbias" | "partial", CudaWord>>,
      grid?: (groups: number, runs: number) => readonly [number, number, number],
    ): CudaStep =>
      made.step(
        "kernel-grad.cu",
        entry,
        4,
        { dx: 0, dw: 0, dbias: 0, partial: 0, ...places, segments },
        grid,
      );
    const partial = { temp: 0 };
    const dbias = made.has("bias") ? { output: 2 } : 0;
    const inputGrad = batch * length > 0 ? [step("short_conv_input_grad", { dx: { output: 0 } })] : [];
    return {
      steps: [
        ...inputGrad,
        step("short_conv_filter_grad", { partial }, () => [across, segments, 1]),
        step("short_conv_combine", { dw: { output: 1 }, dbias, partial }, () => [
          blocksFor(channels * (taps + 1), 256),
          1,
          1,
        ]),
      ],
      temps: [segments * channels * (taps + 1) * 4],
    };
  },
};
