// The Hyena operator on the GPU beside attention, as its paper times it (Poli et al. 2023, figure 4.3): forward, order 2, width 768, with
// projections, short convolution, gates and the long convolution. Attention is timed bare and with its projections.

import { cast, compile, device, random, realize, type Tensor } from "@everlong/core";
import { FrozenHyena, Hyena } from "@everlong/nn";
import { cudaTorchPeer, finish } from "./cuda-torch.ts";
import type { BenchCase, Peer } from "./suite.ts";

const WIDTH = 768;
/** Heads of attention: 64 channels each. */
const HEADS = 12;
/** Calls of one run. */
const LAUNCHES = 20;

async function distance(got: Tensor, want: Tensor): Promise<number> {
  const [a, b] = (await Promise.all([cast(got, "f32").data(), want.data()])) as ArrayLike<number>[];
  let off = 0;
  let size = 0;
  for (let i = 0; i < b!.length; i++) {
    off += (a![i]! - b![i]!) ** 2;
    size += b![i]! ** 2;
  }
  return Math.sqrt(off / size);
}

function hyenaCase(batch: number, length: number, dtype: "f16" | "bf16"): BenchCase {
  const name = `Hyena operator ${dtype}, filter kept, ${batch} x ${length} x ${WIDTH}`;
  const attention = (backend: string): string =>
    `attention ${backend} forward heads ${batch} ${HEADS} ${HEADS} ${length} ${length} ${WIDTH / HEADS}`;
  const peers: Peer[] = [
    cudaTorchPeer("cuDNN attention", attention("cudnn"), LAUNCHES),
    cudaTorchPeer("FlashAttention 2", attention("flash"), LAUNCHES),
    cudaTorchPeer("plain attention", attention("plain"), LAUNCHES),
    cudaTorchPeer(
      "cuDNN attention with projections",
      `layer cudnn ${batch} ${length} ${WIDTH} ${HEADS} ${dtype}`,
      LAUNCHES,
    ),
  ];
  return {
    name,
    unit: "ms",
    toUnit: (ms) => ms / LAUNCHES,
    tolerance: dtype === "f16" ? 3e-3 : 1.5e-2,
    repeats: 5,
    peers,
    prepare: async () => {
      const layer = new Hyena({ key: random.key(1, device("cuda")), dim: WIDTH, maxLength: length });
      const x = cast(random.normal(random.key(2, device("cuda")), [batch, length, WIDTH]), dtype);
      realize([x]);
      const operator = new FrozenHyena(layer, { length, dtype });
      const forward = compile((t: Tensor) => operator.forward(t), { name });
      return {
        run: () => {
          for (let i = 0; i < LAUNCHES; i++) forward(x)[Symbol.dispose]();
          finish();
        },
        // The layer itself in float32 shares neither layout nor kernels.
        error: async () => {
          using y = forward(x);
          using want = layer.forward(cast(x, "f32"));
          return await distance(y, want);
        },
        close: () => {
          forward.dispose();
          x[Symbol.dispose]();
        },
      };
    },
  };
}

/** Equal numbers of positions at 2,048 and 8,192, and one long sequence. */
export const cudaHyenaCases = (): BenchCase[] =>
  (
    [
      [8, 2048],
      [2, 8192],
      [3, 6000],
      [1, 65_536],
    ] as const
  ).flatMap(([batch, length]) => [
    hyenaCase(batch, length, "f16"),
    ...(length === 65_536 ? [hyenaCase(batch, length, "bf16")] : []),
  ]);
