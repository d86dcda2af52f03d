// AdamW over all parameters of a model on the GPU, beside PyTorch's fused one.

import {
  cast,
  compile,
  device,
  mul,
  narrow,
  reshape,
  sizeOf,
  Variable,
  withDevice,
  type Tensor,
} from "@everlong/core";
import { AdamW } from "@everlong/train";
import { cudaTorchPeer, finish } from "./cuda-torch.ts";
import { BYTES_PER_MS, drawn, drop } from "./cuda-work.ts";
import type { BenchCase } from "./suite.ts";

/** A transformer's sizes. */
export interface ModelSizes {
  readonly layers: number;
  readonly width: number;
  readonly vocabulary: number;
  readonly positions: number;
}

/** The smallest GPT-2's. */
const SMALL_GPT: ModelSizes = { layers: 12, width: 768, vocabulary: 50_257, positions: 1024 };

/** Updates of one run. */
const CALLS = 20;
const [RATE, DECAY, BETAS, EPS] = [1e-3, 0.1, [0.9, 0.999], 1e-8] as const;
/** Updates that are computed again in float64. */
const CHECKED = 3;

/** Shapes of all parameters: embeddings, blocks of two norms, attention and an MLP, a norm. */
function shapesOf({ layers, width: d, vocabulary, positions }: ModelSizes): readonly (readonly number[])[] {
  const linear = (from: number, to: number): number[][] => [[from, to], [to]];
  const norm = [[d], [d]];
  const block = [
    ...norm,
    ...linear(d, 3 * d),
    ...linear(d, d),
    ...norm,
    ...linear(d, 4 * d),
    ...linear(4 * d, d),
  ];
  return [[vocabulary, d], [positions, d], ...Array.from({ length: layers }, () => block).flat(), ...norm];
}

/** Random tensors of these shapes. */
function tensorsOf(shapes: readonly (readonly number[])[], seed: number, scale: number): Tensor[] {
  const flat = drawn([shapes.reduce((sum, s) => sum + sizeOf(s), 0)], seed, "f32", scale);
  const cut = compile((all: Tensor) => {
    let at = 0;
    // A product, so that each has memory of its own.
    return shapes.map((s) => mul(reshape(narrow(all, 0, at, (at += sizeOf(s))), s), 1));
  });
  const made = cut(flat);
  cut.dispose();
  drop([flat]);
  return made;
}

/** The first numbers of a parameter after updates with these gradients in turn, in float64. */
function updated(p: Float64Array, gradients: readonly ArrayLike<number>[]): Float64Array {
  const [m, v] = [new Float64Array(p.length), new Float64Array(p.length)];
  const [b1, b2] = BETAS;
  const next = p.slice();
  gradients.forEach((g, step) => {
    for (let i = 0; i < p.length; i++) {
      m[i] = b1 * m[i]! + (1 - b1) * g[i]!;
      v[i] = b2 * v[i]! + (1 - b2) * g[i]! ** 2;
      const size = m[i]! / (1 - b1 ** (step + 1)) / (Math.sqrt(v[i]! / (1 - b2 ** (step + 1))) + EPS);
      next[i]! -= RATE * (DECAY * next[i]! + size);
    }
  });
  return next;
}

/** Numbers of a parameter that are compared. */
const SAMPLE = 5000;
const ends = async (t: Tensor): Promise<ArrayLike<number>> => {
  const flat = reshape(t, [t.size]);
  return (await narrow(flat, 0, Math.max(0, t.size - SAMPLE), t.size).data()) as ArrayLike<number>;
};

export function cudaAdamWCase(sizes: ModelSizes = SMALL_GPT): BenchCase {
  const shapes = shapesOf(sizes);
  const count = shapes.reduce((sum, s) => sum + sizeOf(s), 0);
  const name = `AdamW of ${shapes.length} parameters f32, ${count} numbers`;
  return {
    name,
    unit: "ms",
    toUnit: (ms) => ms / CALLS,
    // Of the change, of which the roundings of a parameter are a part.
    tolerance: 2e-5,
    repeats: 5,
    limit: () => (7 * 4 * count) / BYTES_PER_MS,
    peers: [
      cudaTorchPeer(
        "torch, fused",
        `adamw ${sizes.layers} ${sizes.width} ${sizes.vocabulary} ${sizes.positions}`,
        CALLS,
      ),
    ],
    prepare: () =>
      withDevice(device("cuda"), async () => {
        const values = tensorsOf(shapes, 1, 0.02);
        const variables = values.map((t, i) => new Variable(t, { name: `p${i}` }));
        const gradients = [2, 3].map((seed) => tensorsOf(shapes, seed, 1)) as [Tensor[], Tensor[]];
        const optimizer = new AdamW(new Map(variables.map((v) => [v.name, v])), {
          learningRate: RATE,
          weightDecay: DECAY,
          betas: BETAS,
          eps: EPS,
        });
        const update = compile(
          (g: Tensor[]) => {
            optimizer.apply(g);
            return cast(optimizer.step.value, "f32");
          },
          { name },
        );
        return {
          run: () => {
            for (let i = 0; i < CALLS; i++) drop([update(gradients[0])]);
            finish();
          },
          error: async () => {
            const sample = [0, 4, shapes.length - 3];
            const start = await Promise.all(sample.map((i) => ends(variables[i]!.current)));
            for (let i = 0; i < CHECKED; i++) drop([update(gradients[i % 2]!)]);
            let worst = 0;
            for (const [k, i] of sample.entries()) {
              const both = await Promise.all(gradients.map((g) => ends(g[i]!)));
              const before = Float64Array.from(start[k]!);
              const want = updated(
                before,
                Array.from({ length: CHECKED }, (_, s) => both[s % 2]!),
              );
              const got = await ends(variables[i]!.current);
              let [off, size] = [0, 0];
              want.forEach((x, j) => {
                off += (got[j]! - x) ** 2;
                size += (x - before[j]!) ** 2;
              });
              worst = Math.max(worst, Math.sqrt(off / size));
            }
            return worst;
          },
          close: () => {
            update.dispose();
            drop([...gradients.flat(), ...variables.map((v) => v.current)]);
            drop([...optimizer.state.values()].map((v) => v.current));
          },
        };
      }),
  };
}
