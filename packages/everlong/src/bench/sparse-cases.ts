// Sparse convolutions at several kept shares beside the dense one and PyTorch's; attention with padding; convolutions in chunks; the
// rational functions of S4.

import { Complex, abs, neg, sub, tensor, type Tensor } from "@everlong/core";
import { attention, chunkedConv, fftConv, lowFrequencyConv, partialConv, resolvent } from "@everlong/kernels";
import { operatorCase, ourPeer, withGradients, type Work } from "./operator-case.ts";
import { torchPeer } from "./peers.ts";
import type { BenchCase, Peer } from "./suite.ts";

const torch = (name: string, length: number): Peer => torchPeer(name, length, 1, "operators_peer.py");

const rows = (length: number): number[][] => [
  [4, 192, length],
  [192, length],
];

export const denseConv = (length: number): Work => ({
  shapes: rows(length),
  fn: (u, k) => fftConv(u!, k!),
});
const partial =
  (share: number) =>
  (length: number): Work => ({
    shapes: rows(length),
    fn: (u, k) => partialConv(u!, k!, Math.ceil(length / share)),
  });
const lowFrequency =
  (share: number) =>
  (length: number): Work => ({
    shapes: rows(length),
    fn: (u, k) => lowFrequencyConv(u!, k!, Math.ceil(length / share)),
  });

/** Kept shares 1/n by length. */
const SHARES: readonly (readonly [length: number, shares: readonly number[]])[] = [
  [1024, [8]],
  [6000, [8]],
  [8192, [2, 4, 8, 16]],
  [65_536, [8, 64]],
];

/** Partial and low-frequency convolutions, forward, and at one length with gradients. */
export const sparseConvolutions = (): readonly BenchCase[] => {
  const pair = (length: number, share: number, gradientsToo: boolean): BenchCase[] => {
    const all = gradientsToo ? withGradients : (work: (n: number) => Work): ((n: number) => Work) => work;
    const suffix = gradientsToo ? "-gradients" : "";
    const words = gradientsToo ? " and gradients" : "";
    const dense = (): Peer => ourPeer("ours dense", all(denseConv)(length));
    return [
      operatorCase(`partial convolution${words}, 1/${share} of ${length} taps`, all(partial(share)), length, [
        dense(),
        torch(`partial-${share}${suffix}`, length),
      ]),
      operatorCase(
        `low-frequency convolution${words}, 1/${share} of ${length}`,
        all(lowFrequency(share)),
        length,
        [dense(), torch(`low-${share}${suffix}`, length)],
      ),
    ];
  };
  return [
    ...SHARES.flatMap(([length, shares]) => shares.flatMap((share) => pair(length, share, false))),
    ...pair(8192, 8, true),
  ];
};

/** Causal attention of 8 sequences of which half is padding on average. */
const padded =
  (masked: boolean) =>
  (length: number): Work => ({
    shapes: Array.from({ length: 3 }, () => [8, length, 4, 64]),
    fn: (q, k, v) => {
      const lengths = Array.from({ length: 8 }, (_, b) => Math.ceil((length * (b + 1)) / 9));
      const keyLengths = tensor(Int32Array.from(lengths), [8], { device: q!.device, dtype: "i32" });
      return attention(q!, k!, v!, { causal: true, ...(masked ? { keyLengths } : {}) });
    },
  });

const CHUNK = 2048;
const chunked = (length: number): Work => ({
  shapes: [
    [2, length, 96],
    [CHUNK, 96],
  ],
  fn: (u, k) => {
    const { y, carry } = chunkedConv(u!, k!, { chunk: CHUNK });
    return [y, carry];
  },
});
const atOnce = (length: number): Work => ({
  shapes: chunked(length).shapes,
  fn: (u, k) => fftConv(u!, k!, { layout: "bld" }),
});

/** 192 systems of 32 poles in the left half plane at the roots of unity. */
const rational = (nodes: number): Work => ({
  shapes: [
    [1, 192, 32],
    [1, 192, 32],
    [192, 32],
    [192, 32],
  ],
  fn: (vRe, vIm, aRe, aIm) => {
    const poles = new Complex(sub(neg(abs(aRe!)), 0.1), aIm!);
    const { re, im } = resolvent(new Complex(vRe!, vIm!), poles, nodes);
    return [re, im];
  },
});

const listed = (work: (length: number) => Work): ((length: number) => Work) => {
  const first = (length: number): Work => {
    const { shapes, fn } = work(length);
    return { shapes, fn: (...t: Tensor[]) => [fn(...t)].flat()[0]! };
  };
  return withGradients(first);
};

export const streamCases = (): readonly BenchCase[] => [
  operatorCase("attention with padding, 8 x 1024", padded(true), 1024, [
    ourPeer("ours unpadded", padded(false)(1024)),
    torch("padded-attention", 1024),
  ]),
  operatorCase("attention with padding and gradients, 8 x 1024", withGradients(padded(true)), 1024, [
    ourPeer("ours unpadded", withGradients(padded(false))(1024)),
    torch("padded-attention-gradients", 1024),
  ]),
  operatorCase(`convolution in chunks of ${CHUNK}, L 16384`, chunked, 16_384, [
    ourPeer("ours at once", atOnce(16_384)),
    torch("chunked", 16_384),
  ]),
  operatorCase(`convolution in chunks of ${CHUNK} and gradients, L 16384`, listed(chunked), 16_384, [
    ourPeer("ours at once", withGradients(atOnce)(16_384)),
    torch("chunked-gradients", 16_384),
  ]),
  operatorCase("rational functions, 192 systems of 32 poles, 2048 nodes", rational, 2048, [
    torch("resolvent", 2048),
  ]),
];
