// CUDA sources of the sine network: a block makes all layers of 8 positions.

import { cudaFile } from "../cuda-file.ts";
import {
  blocksFor,
  type CudaCall,
  type CudaSource,
  type CudaStep,
  type CudaTarget,
  type CudaWord,
} from "../cuda-step.ts";
import { trained, type SineNetworkParams } from "./params.ts";

const ROWS = 8;
/** Weights that a launch holds words for. */
const LAYERS = 8;

interface Plan {
  readonly input: (name: string) => CudaWord;
  readonly length: number;
  readonly sizes: readonly [
    length: number,
    features: number,
    width: number,
    channels: number,
    layers: number,
  ];
  readonly weights: readonly CudaWord[];
  /** Floats of the largest weight in shared memory, a row one longer than it is. */
  readonly largest: number;
  readonly blocks: number;
}

function plan({ inputs, params }: CudaCall<SineNetworkParams>): Plan | string {
  const names: readonly string[] = params.inputs;
  const view = (name: string): (typeof inputs)[number] | undefined => inputs[names.indexOf(name)];
  const layers = params.hidden + 1;
  if (inputs.some((v) => v.dtype !== "f32")) return `no kernel for ${inputs[0]!.dtype}`;
  if (layers < 2 || layers > LAYERS) return `${layers} layers: only 2 to ${LAYERS}`;
  const [length, features] = view("z")!.shape as [number, number];
  const width = view("frequency")!.shape[0]!;
  const channels = view(`w${params.hidden}`)!.shape[0]!;
  if (width > 256) return `layers of ${width} features: at most 256`;
  const input = (name: string): CudaWord => {
    const at = names.indexOf(name);
    return at < 0 ? 0 : { input: at };
  };
  const all = Array.from({ length: LAYERS }, (_, i) => i);
  return {
    input,
    length,
    sizes: [length, features, width, channels, layers],
    weights: [...all.map((i) => input(`w${i}`)), ...all.map((i) => input(`b${i}`))],
    largest: Math.max(width * (features + 1), width * (width + 1), channels * (width + 1)),
    blocks: blocksFor(length, ROWS),
  };
}

const kernel = (entry: string): CudaStep["kernel"] => {
  const head = `#define MMA "bf16"\nconstexpr int ROWS = ${ROWS}, LAYERS = ${LAYERS};`;
  return {
    key: `${entry} ${head}`,
    entry,
    source: () => [head, cudaFile("tensor-cores.cu"), cudaFile("sine-network/kernel.cu")].join("\n"),
  };
};

const tooLarge = (bytes: number, target: CudaTarget): string | undefined =>
  bytes > target.sharedLimit
    ? `needs ${bytes} bytes of shared memory a block, the GPU has ${target.sharedLimit}`
    : undefined;

export const sineNetworkCuda: CudaSource<SineNetworkParams> = {
  lower: (call, target) => {
    const p = plan(call);
    if (typeof p === "string") return p;
    const [, features, width] = p.sizes;
    const sharedBytes = 4 * (2 * ROWS * Math.max(features, width) + p.largest);
    if (p.length === 0) return { steps: [] };
    return (
      tooLarge(sharedBytes, target) ?? {
        steps: [
          {
            kernel: kernel("sine_network"),
            args: [
              ...["z", "frequency", "time", "decay"].map(p.input),
              { output: 0 },
              ...p.sizes,
              { f32: call.params.shift },
              ...p.weights,
            ],
            grid: [p.blocks, 1, 1],
            block: [256, 1, 1],
            sharedBytes,
            blockFunction: "sine_network_block",
          },
        ],
      }
    );
  },
};

export const sineNetworkGradCuda: CudaSource<SineNetworkParams> = {
  lower: (call, target) => {
    const p = plan(call);
    if (typeof p === "string") return p;
    const [, features, width, channels, layers] = p.sizes;
    const held = features + 2 * (layers - 1) * width + Math.max(channels, width) + Math.max(features, width);
    const sharedBytes = 4 * (ROWS * held + p.largest);
    if (p.length === 0) return "no positions";
    // The order in which a block sums: frequency, then weight and bias of each layer.
    const outputs = trained(call.params.inputs);
    const order = ["frequency", ...Array.from({ length: layers }, (_, i) => [`w${i}`, `b${i}`]).flat()];
    const present = order.filter((n) => (outputs as readonly string[]).includes(n));
    const sizeOf = (name: string): number =>
      call.inputs[(call.params.inputs as readonly string[]).indexOf(name)]!.shape.reduce((a, b) => a * b, 1);
    let total = 0;
    const firsts = present.map((n) => {
      const first = total;
      total += sizeOf(n);
      return first;
    });
    const padding = Array.from({ length: 2 * LAYERS + 1 - present.length }, () => 0);
    const place = (name: string): CudaWord => ({ output: (outputs as readonly string[]).indexOf(name) });
    return (
      tooLarge(sharedBytes, target) ?? {
        steps: [
          {
            kernel: kernel("sine_network_grad"),
            args: [
              ...["z", "frequency", "time", "decay", "dy"].map(p.input),
              place("z"),
              { temp: 0 },
              total,
              ...p.sizes,
              { f32: call.params.shift },
              ...p.weights,
            ],
            grid: [p.blocks, 1, 1],
            block: [256, 1, 1],
            sharedBytes,
            blockFunction: "sine_network_grad_block",
          },
          {
            kernel: kernel("sine_network_sums"),
            args: [
              { temp: 0 },
              p.blocks,
              total,
              present.length,
              ...firsts,
              ...padding,
              ...present.map(place),
              ...padding,
            ],
            grid: [blocksFor(total, 256), 1, 1],
            block: [256, 1, 1],
            blockFunction: "sine_network_sums_block",
          },
        ],
        temps: [4 * total * p.blocks],
      }
    );
  },
};
