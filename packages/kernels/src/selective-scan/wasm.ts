import { named } from "../inputs.ts";
import { argWords, byteStride, targetKey } from "../wasm-emit.ts";
import type { ArgWord, WasmCall, WasmSource, WasmStep, WasmView } from "../wasm-step.ts";
import { sumPartsStep } from "../wasm-sum-parts.ts";
import type { SelectiveScanGradParams, SelectiveScanParams } from "./op.ts";
import {
  ARGS,
  backwardScratch,
  blockChannels,
  buildBackward,
  buildForward,
  forwardScratch,
  type Arg,
} from "./wasm-kernel.ts";

type AnyParams = { readonly inputs: readonly string[] };
type Words = { readonly [K in Arg]: ArgWord };

const NONE = Object.fromEntries(ARGS.map((name) => [name, 0])) as Words;
const SEQUENCES = ["u", "delta", "dy"];

const accepts = (input: number, view: WasmView, call: WasmCall<AnyParams>): boolean =>
  view.dtype === "f32" && SEQUENCES.includes(call.params.inputs[input]!);

interface Sizes {
  readonly batch: number;
  readonly time: number;
  readonly channels: number;
  readonly states: number;
  readonly blocks: number;
}

function words(
  call: WasmCall<AnyParams>,
  width: number,
): { words: Words; sizes: Sizes; has: (name: string) => boolean } | string {
  const { params, inputs } = call;
  if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
  const at = named(
    params.inputs,
    inputs.map((_, i) => i),
  ) as Record<string, number>;
  const [batch, time, channels] = inputs[at["u"]!]!.shape as [number, number, number];
  const states = inputs[at["a"]!]!.shape[1]!;
  if (batch * time * channels * states === 0) return "an empty axis";
  const found: Record<string, ArgWord> = {};
  for (const name of params.inputs) {
    const view = inputs[at[name]!]!;
    found[name] = { input: at[name]!, byteOffset: 4 * view.offset };
    if (!SEQUENCES.includes(name)) continue;
    found[`${name}Batch`] = byteStride(view, 0);
    found[`${name}Time`] = byteStride(view, 1);
    found[`${name}Channel`] = byteStride(view, 2);
  }
  const blocks = Math.ceil(channels / width);
  return {
    words: { ...NONE, ...found, time, channels, states, blocks },
    sizes: { batch, time, channels, states, blocks },
    has: (name) => at[name] !== undefined,
  };
}

export const selectiveScanWasm: WasmSource<SelectiveScanParams> = {
  accepts,
  lower: (call, target) => {
    const found = words(call, blockChannels(target));
    if (typeof found === "string") return found;
    const { batch, blocks, states } = found.sizes;
    const stretch = 32;
    return {
      steps: [
        {
          kernel: { key: `selectiveScan/${targetKey(target)}`, build: buildForward },
          entry: "selectiveScan",
          args: argWords(ARGS, { ...found.words, y: { output: 0 }, last: { output: 1 }, stretch }),
          units: batch * blocks,
          grain: 1,
          scratchBytes: forwardScratch(target, states, stretch),
        },
      ],
    };
  },
};

/**
 * Groups of channel blocks, whose parts of the vectors' gradients are added up: as many whatever the batch, so that a row's
 * sums do not depend on its batch mates.
 */
const GROUPS = 8;

/** A unit is a batch entry with a group of channel blocks. */
export const selectiveScanGradWasm: WasmSource<SelectiveScanGradParams> = {
  accepts,
  lower: (call, target) => {
    const found = words(call, blockChannels(target));
    if (typeof found === "string") return found;
    const { batch, time, channels, states, blocks } = found.sizes;
    // memory for states: those at the start of every stretch, and all within one
    const stretch = Math.max(32, Math.ceil(Math.sqrt(time)));
    const blocksPerGroup = Math.ceil(blocks / Math.min(blocks, GROUPS));
    const groups = Math.ceil(blocks / blocksPerGroup);
    const vectorBytes = 4 * batch * time * states;
    const stateBytes = 4 * channels * states;
    const temps: number[] = [];
    const steps: WasmStep[] = [];
    const summed = (output: number, parts: number, bytes: number): ArgWord => {
      if (parts === 1) return { output };
      const temp = temps.push(parts * bytes) - 1;
      steps.push(sumPartsStep(target, { from: { temp }, to: { output }, stride: bytes, parts, bytes }));
      return { temp };
    };
    const args: Words = {
      ...found.words,
      du: { output: 0 },
      ddelta: { output: 1 },
      da: summed(2, batch, stateBytes),
      db: summed(3, groups, vectorBytes),
      dc: summed(4, groups, vectorBytes),
      dinitial: found.has("initial") ? { output: 5 } : 0,
      stretch,
      groups,
      blocksPerGroup,
      groupBytes: vectorBytes,
    };
    steps.unshift({
      kernel: { key: `selectiveScanGrad/${targetKey(target)}`, build: buildBackward },
      entry: "selectiveScanGrad",
      args: argWords(ARGS, args),
      units: batch * groups,
      grain: 1,
      scratchBytes: backwardScratch(target, { states, stretch, time, blocksPerGroup }),
    });
    return { steps, ...(temps.length > 0 ? { temps } : {}) };
  },
};
