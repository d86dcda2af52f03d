// The short depthwise convolution on the GPU beside PyTorch's and beside a copy of its input.

import { cast, compile, concat, device, random, realize, type Tensor } from "@everlong/core";
import { shortConv } from "@everlong/kernels";
import { cudaTorchPeer, finish } from "./cuda-torch.ts";
import type { BenchCase, Peer } from "./suite.ts";

const TAPS = 5;
/** Calls of one run, of ours and of the peers. */
const LAUNCHES = 20;
/** Parts that the input is made of: random numbers take more room than what is kept of them. */
const PARTS = 8;

function shortConvCase(batch: number, channels: number, length: number): BenchCase {
  const name = `short convolution k = ${TAPS} f16, ${batch} x ${channels} x ${length}`;
  const peer = (label: string, work: string): Peer =>
    cudaTorchPeer(label, `${work} ${batch} ${channels} ${length}`, LAUNCHES);
  return {
    name,
    unit: "ms",
    toUnit: (ms) => ms / LAUNCHES,
    tolerance: 1e-3,
    repeats: 7,
    peers: [peer("torch", "depthwise"), peer("torch copy", "copy")],
    prepare: async () => {
      const key = random.key(1, device("cuda"));
      const part = cast(random.normal(key, [batch, channels / PARTS, length]), "f16");
      const w = random.normal(key, [channels, TAPS]);
      const x = compile((t: Tensor) =>
        concat(
          Array.from({ length: PARTS }, () => t),
          1,
        ),
      )(part);
      realize(w);
      const fn = compile((u: Tensor, k: Tensor) => shortConv(u, k, { layout: "bdl" }), { name });
      return {
        run: () => {
          for (let i = 0; i < LAUNCHES; i++) fn(x, w)[Symbol.dispose]();
          finish();
        },
        error: async () => {
          const channel = channels - 3;
          const row = async (t: Tensor): Promise<ArrayLike<number>> =>
            (await cast(t.slice([batch - 1, channel]), "f32").data()) as ArrayLike<number>;
          const y = fn(x, w);
          const [got, input, taps] = await Promise.all([row(y), row(x), w.slice([channel]).data()]);
          y[Symbol.dispose]();
          let off = 0;
          let size = 0;
          for (let t = 0; t < length; t++) {
            let want = 0;
            for (let j = Math.max(0, TAPS - 1 - t); j < TAPS; j++)
              want += taps[j]! * input[t - TAPS + 1 + j]!;
            off += (got[t]! - want) ** 2;
            size += want ** 2;
          }
          return Math.sqrt(off / size);
        },
        close: () => {
          fn.dispose();
          x[Symbol.dispose]();
        },
      };
    },
  };
}

export const cudaShortConvCases = (): BenchCase[] => [
  shortConvCase(16, 8192, 8192),
  shortConvCase(16, 768, 1024),
];
