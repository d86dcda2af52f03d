// Calls of more channels than the second and third axis of a grid have blocks, a slice of the channels after the other.

import type { CudaCall, CudaLowering, CudaProduct, CudaStep, CudaView, CudaWord } from "../cuda-step.ts";

/** Blocks of a grid's second and third axis. */
const MOST_BLOCKS = 65_535;
/** Channels of a slice: slices begin where memory is as aligned as at the first channel. */
const SLICE = 32_768;

/** Channels `first` on of `of` channels. */
export interface Slice {
  readonly first: number;
  readonly of: number;
}

/** The axis of channels in each input and each output; undefined: none. */
export interface ChannelAxes {
  readonly inputs: readonly (number | undefined)[];
  readonly outputs: readonly (number | undefined)[];
}

const bytesOf = ({ dtype }: CudaView): number => (dtype === "f32" ? 4 : 2);

/** The launches of a call of `channels` channels, of one that is cut where they are too many. */
export function inSlices<P>(
  call: CudaCall<P>,
  axes: ChannelAxes,
  channels: number,
  lower: (call: CudaCall<P>, slice: Slice) => CudaLowering | string,
): CudaLowering | string {
  if (channels <= MOST_BLOCKS) return lower(call, { first: 0, of: channels });
  const steps: (CudaStep | CudaProduct)[] = [];
  // Slices follow each other, and share temporaries.
  const temps: number[] = [];
  for (let first = 0; first < channels; first += SLICE) {
    const count = Math.min(SLICE, channels - first);
    const cut = (view: CudaView, axis: number | undefined): CudaView =>
      axis === undefined ? view : { ...view, shape: view.shape.with(axis, count) };
    const inputs = call.inputs.map((v, i) => cut(v, axes.inputs[i]));
    const outputs = call.outputs.map((v, i) => cut(v, axes.outputs[i]));
    const made = lower({ ...call, inputs, outputs }, { first, of: channels });
    if (typeof made === "string") return made;
    made.temps?.forEach((bytes, i) => (temps[i] = Math.max(temps[i] ?? 0, bytes)));
    const skipped = (view: CudaView, axis: number | undefined): number =>
      axis === undefined ? 0 : first * view.strides[axis]! * bytesOf(view);
    const ahead = (word: CudaWord): CudaWord => {
      if (typeof word === "number" || "f32" in word || "table" in word || "temp" in word) return word;
      const bytes =
        "input" in word
          ? skipped(call.inputs[word.input]!, axes.inputs[word.input])
          : skipped(call.outputs[word.output]!, axes.outputs[word.output]);
      return { ...word, byteOffset: (word.byteOffset ?? 0) + bytes };
    };
    for (const step of made.steps)
      steps.push("library" in step ? step : { ...step, args: step.args.map(ahead) });
  }
  return { steps, temps };
}
