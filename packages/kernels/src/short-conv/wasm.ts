import { named } from "../inputs.ts";
import { argWords, byteStride, inputWord, targetKey } from "../wasm-emit.ts";
import type { ArgWord, WasmCall, WasmSource, WasmStep, WasmTarget, WasmView } from "../wasm-step.ts";
import { sumPartsStep } from "../wasm-sum-parts.ts";
import type { ShortConvGradParams, ShortConvParams } from "./op.ts";
import { ARGS, CHANNELS, buildShortConv, buildShortConvGrad, scratchOf, type Arg } from "./wasm-kernel.ts";

type AnyParams = {
  readonly layout: "bld" | "bdl";
  readonly silu: boolean;
  readonly inputs: readonly string[];
};

const NONE = Object.fromEntries(ARGS.map((name) => [name, 0])) as { readonly [K in Arg]: ArgWord };

/** Sequences may lie anywhere as long as time or channels are next to each other; filters are dense. */
const acceptsSequence = (input: number, view: WasmView, call: WasmCall<AnyParams>): boolean =>
  view.dtype === "f32" && ["x", "dy"].includes(call.params.inputs[input]!);

interface Plan {
  readonly at: { readonly [name: string]: number };
  readonly words: { readonly [K in Arg]: ArgWord };
  readonly batch: number;
  readonly channels: number;
  readonly length: number;
  readonly width: number;
  readonly blocks: number;
}

function plan(call: WasmCall<AnyParams>): Plan | string {
  const { params, inputs } = call;
  if (inputs.some((v) => v.dtype !== "f32")) return "computes in f32 only";
  const at = named(
    params.inputs,
    inputs.map((_, i) => i),
  ) as Record<string, number>;
  if (at["inputBias"] !== undefined) return "no kernel with a bias of the input";
  const [time, channel] = params.layout === "bld" ? [1, 2] : [2, 1];
  const x = inputs[at["x"]!]!;
  const [batch, channels, length] = [x.shape[0]!, x.shape[channel]!, x.shape[time]!];
  const width = inputs[at["w"]!]!.shape[1]!;
  const strides = (name: string, view: WasmView): Record<string, number> => ({
    [`${name}Batch`]: byteStride(view, 0),
    [`${name}Time`]: byteStride(view, time),
    [`${name}Channel`]: byteStride(view, channel),
  });
  const word = (name: string): ArgWord =>
    at[name] === undefined ? 0 : inputWord(at[name], inputs[at[name]]!);
  const blocks = Math.ceil(channels / CHANNELS);
  const dy = at["dy"] === undefined ? undefined : inputs[at["dy"]]!;
  const words = {
    ...NONE,
    x: word("x"),
    w: word("w"),
    bias: word("bias"),
    dy: word("dy"),
    ...strides("x", x),
    ...strides("out", call.outputs[0]!),
    ...(dy ? strides("dy", dy) : {}),
    out: { output: 0 },
    length,
    channels,
    width,
    blocks,
  } as { readonly [K in Arg]: ArgWord };
  return { at, words, batch, channels, length, width, blocks };
}

const kernelKey = (name: string, silu: boolean, target: WasmTarget): string =>
  `${name}/${silu ? "silu" : "plain"}/${targetKey(target)}`;

export const shortConvWasm: WasmSource<ShortConvParams> = {
  accepts: acceptsSequence,
  lower: (call, target) => {
    const found = plan(call);
    if (typeof found === "string") return found;
    const { words, batch, length, width, blocks } = found;
    const timePerUnit = 128;
    const ranges = Math.ceil(length / timePerUnit);
    const { silu } = call.params;
    return {
      steps: [
        {
          kernel: {
            key: kernelKey("shortConv", silu, target),
            build: (module) => buildShortConv(module, silu),
          },
          entry: "shortConv",
          args: argWords(ARGS, { ...words, timePerUnit, ranges }),
          units: batch * ranges * blocks,
          grain: 1,
          scratchBytes: scratchOf(width),
        },
      ],
    };
  },
};

export const shortConvGradWasm: WasmSource<ShortConvGradParams> = {
  accepts: acceptsSequence,
  lower: (call, target) => {
    const found = plan(call);
    if (typeof found === "string") return found;
    const { at, words, batch, channels, length, width, blocks } = found;
    if (batch * length === 0) return "an empty sequence";
    // each range of time leaves its own sums for the filter: few ranges, of whole blocks
    const timePerUnit = Math.max(128, 64 * Math.ceil((batch * length) / 256 / 64));
    const ranges = Math.ceil(length / timePerUnit);
    const parts = batch * ranges;
    const hasBias = at["bias"] !== undefined;
    const { silu } = call.params;
    const filterBytes = 4 * channels * width;
    const steps: WasmStep[] = [
      {
        kernel: {
          key: kernelKey("shortConvGrad", silu, target),
          build: (module) => buildShortConvGrad(module, silu),
        },
        entry: "shortConvGrad",
        args: argWords(ARGS, {
          ...words,
          timePerUnit,
          ranges,
          dw: { temp: 0 },
          dbias: hasBias ? { temp: 1 } : 0,
        }),
        units: parts * blocks,
        grain: 1,
        scratchBytes: scratchOf(width),
      },
      sumPartsStep(target, {
        from: { temp: 0 },
        to: { output: 1 },
        stride: filterBytes,
        parts,
        bytes: filterBytes,
      }),
    ];
    if (!hasBias) return { steps, temps: [parts * filterBytes] };
    const biasBytes = 4 * channels;
    steps.push(
      sumPartsStep(target, {
        from: { temp: 1 },
        to: { output: 2 },
        stride: biasBytes,
        parts,
        bytes: biasBytes,
      }),
    );
    return { steps, temps: [parts * filterBytes, parts * biasBytes] };
  },
};
