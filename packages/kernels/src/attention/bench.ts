import { benchCase, type BenchCase, type BenchInput } from "../bench.ts";
import {
  attentionGradOp,
  attentionOp,
  blockSparseAttentionGradOp,
  blockSparseAttentionOp,
  type AttentionGradParams,
  type AttentionParams,
} from "./op.ts";

type Sizes = readonly [batch: number, time: number, heads: number, size: number];

const forward = (name: string, [b, t, h, k]: Sizes, small: Sizes): BenchCase => {
  const params: AttentionParams = {
    left: -1,
    right: 0,
    scale: k ** -0.5,
    softCap: 0,
    inputs: ["q", "k", "v"],
  };
  const inputs = ([n, time, heads, size]: Sizes): number[][] =>
    Array.from({ length: 3 }, () => [n, time, heads, size]);
  return benchCase(`attention, ${name}`, attentionOp, params, inputs([b, t, h, k]), inputs(small));
};

const backward = (name: string, sizes: Sizes, small: Sizes): BenchCase => {
  const params: AttentionGradParams = {
    left: -1,
    right: 0,
    scale: sizes[3] ** -0.5,
    softCap: 0,
    inputs: ["q", "k", "v", "dy", "lse", "delta"],
  };
  const inputs = ([n, time, heads, size]: Sizes) => [
    ...Array.from({ length: 4 }, () => ({ shape: [n, time, heads, size] })),
    { shape: [n, heads, time], range: [4, 5] as const },
    { shape: [n, heads, time] },
  ];
  return benchCase(`attention gradient, ${name}`, attentionGradOp, params, inputs(sizes), inputs(small));
};

const CASES: readonly (readonly [string, Sizes, Sizes])[] = [
  ["16 heads of 8", [128, 128, 16, 8], [1, 40, 2, 8]],
  ["1 head of 128", [128, 128, 1, 128], [1, 40, 1, 128]],
  ["4 heads of 64, T 1536", [2, 1536, 4, 64], [1, 40, 1, 64]],
];

/** Lists of the last two blocks and of every fourth, causal. */
function lists(count: number): BenchInput[] {
  const starts = [0];
  const columns: number[] = [];
  for (let r = 0; r < count; r++) {
    for (let c = 0; c <= r; c++) if (r - c <= 1 || (c + 1) % 4 === 0) columns.push(c);
    starts.push(columns.length);
  }
  return [
    { shape: [1, count + 1], dtype: "i32", values: starts },
    { shape: [columns.length], dtype: "i32", values: columns },
  ];
}

/** A case of `plain` over lists of blocks of `side` by `side`. */
const sparse = (plain: BenchCase, op: BenchCase["op"], side: number): BenchCase => {
  const params = plain.params as AttentionParams;
  const listed = (inputs: readonly BenchInput[]): BenchInput[] => [
    ...inputs,
    ...lists(Math.ceil(inputs[0]!.shape[1]! / side)),
  ];
  return {
    name: `block-sparse ${plain.name}, blocks of ${side}`,
    op,
    params: {
      ...params,
      blockSize: [side, side],
      inputs: [...params.inputs, "blockStarts", "blockColumns"],
    },
    inputs: listed(plain.inputs),
    small: listed(plain.small),
  };
};
const LONG: readonly [string, Sizes, Sizes] = ["4 heads of 64, T 2048", [1, 2048, 4, 64], [1, 150, 2, 8]];

export const bench: readonly BenchCase[] = [
  ...CASES.flatMap((c) => [forward(...c), backward(...c)]),
  ...[8, 32].flatMap((side) => [
    sparse(forward(...LONG), blockSparseAttentionOp as unknown as BenchCase["op"], side),
    sparse(backward(...LONG), blockSparseAttentionGradOp as unknown as BenchCase["op"], side),
  ]),
];
