// Halves that the copy engine of sm_90 cannot read where they lie (heads that are no multiple of 8, rows off 16 bytes, axes that repeat) go
// through copies that it can read, and results through copies that it can write.

import { blocksFor, type CudaStep, type CudaWord } from "../cuda-step.ts";
import { plainKernel, type AttentionCall, type ReadCall, type Sizes } from "./cuda-call.ts";

/** Where the results of a call lie, and the temporaries that it takes. */
export interface Frame {
  readonly outputs: readonly CudaWord[];
  readonly temps: number[];
}

/** The next temporary. */
export const takeTemp = (temps: number[], bytes: number): CudaWord => ({ temp: temps.push(bytes) - 1 });

const TENSOR_WORDS = "from to perBatch perTime perHead times heads dim padded rows".split(" ");

const pad8 = (n: number): number => Math.ceil(n / 8) * 8;

/** Whether the copy engine reads and 16-byte stores write a call as it lies; the first `written` outputs are rows. */
export function liesStraight(call: AttentionCall, { sizes, views }: ReadCall, written: number): boolean {
  if (sizes.keyDim % 8 !== 0 || sizes.valueDim % 8 !== 0) return false;
  if (!call.outputs.slice(0, written).every((view) => view.aligned)) return false;
  return ["q", "k", "v", "dy"].every((name) => {
    const view = views[name];
    return !view || (view.aligned === true && view.strides.slice(0, 3).every((s) => s > 0 && s % 8 === 0));
  });
}

interface Tensor {
  readonly from: CudaWord;
  readonly to: CudaWord;
  readonly strides: readonly (CudaWord | undefined)[];
  readonly times: number;
  readonly heads: number;
  readonly dim: number;
}

const copyStep = (
  entry: "attention_widen" | "attention_narrow",
  { dtype, batch }: Sizes,
  tensors: readonly Tensor[],
): CudaStep => {
  const threads = tensors.map(
    ({ times, heads, dim }) => batch * times * heads * (entry === "attention_widen" ? pad8(dim) / 8 : dim),
  );
  const words = tensors.flatMap(({ from, to, strides, times, heads, dim }) => [
    from,
    to,
    strides[0] ?? 0,
    strides[1] ?? 0,
    strides[2] ?? 0,
    times,
    heads,
    dim,
    pad8(dim),
    batch * times * heads,
  ]);
  const names = tensors.flatMap((_, i) => TENSOR_WORDS.map((name) => (i === 0 ? name : `${name}${i}`)));
  return {
    kernel: plainKernel(entry, "kernel-rows.cu", names, { E: dtype, TENSOR: TENSOR_WORDS.length }),
    args: words,
    grid: [blocksFor(Math.max(...threads), 256), tensors.length, 1],
    block: [256, 1, 1],
  };
};

/** A call over copies: `read` is what kernels see, `before` and `after` copy. Results are shaped as the inputs named `results`. */
export function straightened(
  read: ReadCall,
  inputs: readonly string[],
  results: readonly ("q" | "k" | "v" | "dy")[],
): { readonly read: ReadCall; readonly before: CudaStep; readonly after: CudaStep; readonly frame: Frame } {
  const { sizes, words } = read;
  const temps: number[] = [];
  const shapeOf = (name: string): { times: number; heads: number; dim: number } => {
    const ofQueries = name === "q" || name === "dy";
    return {
      times: ofQueries ? sizes.queries : sizes.keys,
      heads: ofQueries ? sizes.heads : sizes.keyHeads,
      dim: name === "q" || name === "k" ? sizes.keyDim : sizes.valueDim,
    };
  };
  const take = (name: string): CudaWord => {
    const { times, heads, dim } = shapeOf(name);
    return takeTemp(temps, sizes.batch * times * heads * pad8(dim) * 2);
  };
  const there: Record<string, CudaWord> = {};
  const widened = inputs.map((name): Tensor => {
    const shape = shapeOf(name);
    const to = take(name);
    const row = pad8(shape.dim);
    there[name] = to;
    there[`${name}Batch`] = shape.times * shape.heads * row;
    there[`${name}Time`] = shape.heads * row;
    there[`${name}Head`] = row;
    return {
      ...shape,
      from: words[name]!,
      to,
      strides: ["Batch", "Time", "Head"].map((a) => words[name + a]),
    };
  });
  const outputs = results.map(take);
  const narrowed = results.map((name, i): Tensor => ({
    ...shapeOf(name),
    from: outputs[i]!,
    to: { output: i },
    strides: [],
  }));
  const dims = { keyDim: pad8(sizes.keyDim), valueDim: pad8(sizes.valueDim) };
  return {
    read: { views: read.views, sizes: { ...sizes, ...dims }, words: { ...words, ...there, ...dims } },
    before: copyStep("attention_widen", sizes, widened),
    after: copyStep("attention_narrow", sizes, narrowed),
    frame: { outputs, temps },
  };
}
