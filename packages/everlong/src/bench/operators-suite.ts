// `npm run bench -- operators`: the sequence operators beside their dense forms and PyTorch's.

import { compile, type Tensor } from "@everlong/core";
import { attention, attentionBlocks, butterflyConv, butterflyRadices, dftMatrix } from "@everlong/kernels";
import { localBlocks, stridedBlocks, unionOfBlocks } from "@everlong/nn";
import { layerCases } from "./layer-cases.ts";
import { drawn, operatorCase, ourPeer, ready, withGradients, type Work } from "./operator-case.ts";
import { torchPeer } from "./peers.ts";
import { denseConv, sparseConvolutions, streamCases } from "./sparse-cases.ts";
import type { BenchCase, CheckCase, Peer, Suite } from "./suite.ts";

const SIDE = 64;
const PATTERN = unionOfBlocks(localBlocks(1, 0), stridedBlocks(8));
const size = { queries: SIDE, keys: SIDE };

/** Causal attention of 4 heads of 64 over blocks of 64: the last two, and every eighth. */
const sparseAttention = (length: number): Work => ({
  shapes: Array.from({ length: 3 }, () => [1, length, 4, 64]),
  fn: (q, k, v) => {
    const count = Math.ceil(length / SIDE);
    const lists = PATTERN({ rows: count, columns: count, size });
    return attention(q!, k!, v!, {
      causal: true,
      blocks: attentionBlocks(size, lists, { device: q!.device }),
    });
  },
});
const denseAttention = (length: number): Work => ({
  shapes: Array.from({ length: 3 }, () => [1, length, 4, 64]),
  fn: (q, k, v) => attention(q!, k!, v!, { causal: true }),
});

const rows = (length: number): number[][] => [
  [4, 192, length],
  [192, length],
];
const butterfly =
  (learned: boolean) =>
  (length: number): Work => {
    const radices = butterflyRadices(2 * length);
    const matricesOn = (t: Tensor): Tensor[] =>
      radices.map((m) => dftMatrix(m, { device: t.device, dtype: t.dtype }));
    return {
      shapes: [...rows(length), ...(learned ? radices.map((m) => [2, m, m]) : [])],
      fn: (u, k, ...w) => butterflyConv(u!, k!, learned ? w : matricesOn(u!)),
    };
  };

const UNIT: Readonly<Record<string, number>> = { B: 1, KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 };

/** Bytes of the memory plan of a compiled forward and backward pass: temporaries, and scratch of a thread. */
async function planned(length: number): Promise<number> {
  const { shapes, fn } = withGradients(sparseAttention)(length);
  const inputs = await drawn(shapes);
  const step = compile((...t: Tensor[]) => fn(...t) as Tensor[]);
  const out = step(...inputs);
  const plan = step.plan();
  step.dispose();
  for (const t of [...inputs, ...out]) t[Symbol.dispose]();
  const sizes = /arena ([\d.]+) (\w+), scratch ([\d.]+) (\w+)/.exec(plan)!;
  return Number(sizes[1]) * UNIT[sizes[2]!]! + Number(sizes[3]) * UNIT[sizes[4]!]!;
}

/** Share of blocks kept out of `count` by `count`, drawn at random. */
const KEPT = [0.5, 0.25, 0.0625];

/** Time with a share of random blocks of `side` by `side` over the dense time, minus what the share allows (1.15 f + 0.1): at most 0. */
const shareCheck = (side: number, gradientsToo: boolean): CheckCase => ({
  name: `blocks of ${side}: time beyond 1.15 f + 0.1 of dense, ${gradientsToo ? "forward and backward" : "forward"}`,
  unit: "of dense",
  bound: 0,
  measure: async () => {
    const length = 2048;
    const count = length / side;
    const blockSize = { queries: side, keys: side };
    const plain = (blocks: boolean[][] | undefined) => (): Work => ({
      shapes: Array.from({ length: 3 }, () => [1, length, 4, 64]),
      fn: (q, k, v) => {
        const lists = blocks?.map((row) => row.flatMap((on, c) => (on ? [c] : [])));
        return attention(q!, k!, v!, lists ? { blocks: attentionBlocks(blockSize, lists) } : {});
      },
    });
    let state = 7;
    const uniform = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
    const masks = KEPT.map((f) =>
      Array.from({ length: count }, () => Array.from({ length: count }, () => uniform() < f)),
    );
    const works = [undefined, ...masks].map((m) => {
      const work = plain(m);
      return gradientsToo ? withGradients(work)(length) : work();
    });
    const runs = await Promise.all(works.map((w, i) => ready(`share ${i}`, w)));
    const best = runs.map(() => Number.POSITIVE_INFINITY);
    for (let round = 0; round < 7; round++)
      for (const [i, r] of runs.entries()) {
        const began = performance.now();
        r.run();
        best[i] = Math.min(best[i]!, performance.now() - began);
      }
    for (const r of runs) r.close();
    const beyond = masks.map((mask, i) => {
      const share = mask.flat().filter(Boolean).length / count ** 2;
      return best[i + 1]! / best[0]! - 1.15 * share - 0.1;
    });
    return Math.max(0, ...beyond);
  },
});

const torch = (name: string, length: number): Peer => torchPeer(name, length, 1, "operators_peer.py");

export const operatorsSuite: Suite = {
  name: "operators",
  describe:
    "sparse and padded attention, sparse, chunked and butterfly convolutions, rational functions, layers, float32",
  cases: (): readonly (BenchCase | CheckCase)[] => [
    ...[1536, 4096].flatMap((length) => [
      operatorCase(`block-sparse attention, L ${length}`, sparseAttention, length, [
        ourPeer("ours dense", denseAttention(length)),
        torch("attention", length - (length % SIDE)),
      ]),
      operatorCase(
        `block-sparse attention and gradients, L ${length}`,
        withGradients(sparseAttention),
        length,
        [
          ourPeer("ours dense", withGradients(denseAttention)(length)),
          torch("attention-gradients", length - (length % SIDE)),
        ],
      ),
    ]),
    ...[8, 16, SIDE].flatMap((side) => [shareCheck(side, false), shareCheck(side, true)]),
    {
      name: "block-sparse attention: planned memory, L 16384 over L 2048",
      unit: "x",
      bound: 8.5,
      measure: async () => {
        const short = await planned(2048);
        return (await planned(16_384)) / short;
      },
    },
    ...sparseConvolutions(),
    ...streamCases(),
    operatorCase("butterfly convolution, fixed, L 2048", butterfly(false), 2048, [
      ourPeer("ours FFT", denseConv(2048)),
      torch("butterfly", 2048),
    ]),
    operatorCase("butterfly convolution, learned, L 2048", butterfly(true), 2048, [
      ourPeer("ours fixed", butterfly(false)(2048)),
      torch("butterfly", 2048),
    ]),
    operatorCase("butterfly convolution and gradients, L 2048", withGradients(butterfly(true)), 2048, [
      ourPeer("ours FFT", withGradients(denseConv)(2048)),
      torch("butterfly-gradients", 2048),
    ]),
    ...layerCases(),
  ],
};
