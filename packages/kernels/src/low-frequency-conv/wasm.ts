// The low-frequency convolution on the CPU: grid, tables and units of a call.

import { LONGEST, accepts, batchBlocks, filterWords, sequenceWords } from "../fft-conv/wasm.ts";
import { leafOf } from "../fft-conv/wasm-lengths.ts";
import { clusterOf } from "../fft-conv/wasm-staging.ts";
import { axesOf } from "../fft-conv/sequences.ts";
import { named } from "../inputs.ts";
import { argWords, targetKey } from "../wasm-emit.ts";
import type { ArgWord, WasmSource } from "../wasm-step.ts";
import type { LowFrequencyConvParams } from "./op.ts";
import { samplingOf, tableOf } from "./sampling.ts";
import { LOW_ARGS, buildLowFrequency, lowScratch, samplingWords, type LowArg } from "./wasm-kernel.ts";

/** Beyond this many points clusters would need too much scratch memory side by side. */
const CLUSTERED = 2 ** 19;

/** `(u, k, preGate?, postGate?) -> y`, see `lowFrequencyConvOp`. */
export const lowFrequencyConvWasm: WasmSource<LowFrequencyConvParams> = {
  accepts: (_, view) => accepts(view),
  lower: (call, target) => {
    const { params, inputs } = call;
    const { layout, bins, adjoint } = params;
    if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
    const at = named(
      params.inputs,
      inputs.map((_, i) => i),
    );
    const [u, k] = [inputs[at.u!]!, inputs[at.k!]!];
    const { time, channel } = axesOf(layout);
    const [batch, channels, length] = [u.shape[0]!, u.shape[channel]!, u.shape[time]!];
    if (batch * channels === 0) return { steps: [] };
    const sampling = samplingOf(length, Math.min(bins, length));
    if (sampling.size > LONGEST) return `sequences of ${length} need transforms longer than ${LONGEST}`;
    const leaf = leafOf(sampling.size)!;
    const columns = u.strides[channel] === 1;
    const lanes = 4 * target.width;
    const cluster = columns && channels > lanes && sampling.size <= CLUSTERED ? clusterOf(target.width) : 1;
    const clusters = Math.ceil(channels / (cluster * lanes));
    const { blocks, each } = batchBlocks(clusters, batch);
    const input =
      (index: number | undefined) =>
      (byteOffset: number): ArgWord => ({ input: index!, byteOffset });
    const sequence = (name: string, index: number | undefined): Record<string, ArgWord> =>
      sequenceWords(name, index === undefined ? undefined : inputs[index], layout, input(index));
    const words: Record<string, ArgWord> = {
      ...sequence("u", at.u),
      ...sequence("pre", at.preGate),
      ...sequence("post", at.postGate),
      ...sequenceWords("y", call.outputs[0], layout, (byteOffset) => ({ output: 0, byteOffset })),
      ...filterWords(k, layout, input(at.k)),
      batch,
      channels,
      length,
      taps: k.shape[time - 1]!,
      adjoint: adjoint ? 1 : 0,
      cluster,
      batchBlocks: blocks,
      batchesPerUnit: each,
      ...samplingWords(sampling, target.width),
    };
    const { width, periods } = sampling;
    return {
      steps: [
        {
          kernel: {
            key: `low-frequency/${targetKey(target)}/${leaf}/${width}/${periods}`,
            build: (module) => buildLowFrequency(module, leaf, width, periods),
          },
          entry: "lowFrequency",
          args: argWords(LOW_ARGS, words as { readonly [K in LowArg]: ArgWord }),
          units: clusters * blocks,
          grain: 1,
          scratchBytes: lowScratch(sampling, target.width, cluster),
          tables: [tableOf(sampling)],
        },
      ],
    };
  },
};
