// Constants of the tensor-core convolution kernels (tensor-256.cu, tensor-block.cu, tensor-warp.cu): DFT matrices and twiddles, in the order in
// which the lanes of a warp hold them. A block is 32 lanes of 16 bytes, four registers of two f16.

import type { CudaTable } from "../cuda-step.ts";

type Complex = readonly [re: number, im: number];

/** exp(-2 pi i x), scaled. */
const root = (x: number, scale = 1): Complex => [
  scale * Math.cos(2 * Math.PI * x),
  -scale * Math.sin(2 * Math.PI * x),
];

/** The four registers of a lane, two values each. */
type Registers = readonly (readonly [low: number, high: number])[];

class BlockWriter {
  private at = 0;
  private readonly memory: DataView;

  constructor(memory: DataView) {
    this.memory = memory;
  }

  /** One block; g and t name the lane 4 g + t. */
  block(registers: (g: number, t: number) => Registers): void {
    for (let lane = 0; lane < 32; lane++) {
      for (const pair of registers(lane >> 2, lane & 3)) {
        for (const value of pair) {
          this.memory.setFloat16(this.at, value, true);
          this.at += 2;
        }
      }
    }
  }

  /** A complex 8x8 matrix: real parts, imaginary parts, their negatives. */
  matrix(entry: (out: number, index: number) => Complex): void {
    this.block((g, t) => {
      const [a, b] = [entry(g, 2 * t), entry(g, 2 * t + 1)];
      return [
        [a[0], b[0]],
        [a[1], b[1]],
        [-a[1], -b[1]],
        [0, 0],
      ];
    });
  }

  /** Real and imaginary parts of four pairs, a block each. */
  pairs(entry: (g: number, t: number, i: number, e: number) => Complex): void {
    for (const part of [0, 1] as const)
      this.block((g, t) =>
        [0, 1, 2, 3].map((i) => [entry(g, t, i, 0)[part], entry(g, t, i, 1)[part]] as const),
      );
  }
}

/** What a table is made for: `factor` M, transforms of 256 M points. */
export interface TensorTableOptions {
  readonly factor: number;
  /** Complex data and no twist. Otherwise real data modulo x^N - i. */
  readonly paired: boolean;
}

/** Bytes of a block. */
const BLOCK = 512;

/** The table of a kernel. */
export function tensorTable(options: TensorTableOptions): CudaTable {
  const { factor, paired } = options;
  const classes = factor >= 8 ? factor / 8 : 0;
  return {
    key: `fft-conv ${factor} ${paired ? "paired" : "real"}`,
    bytes: BLOCK * (11 + 2 * classes + (factor >= 8 ? 2 * factor : 6)),
    fill: (memory) => {
      const out = new BlockWriter(memory);
      const shift = paired ? 0 : 0.25;
      fixedPart(out, shift);
      for (let c = 0; c < classes; c++) out.matrix((o, i) => root(((classes * o + c) * i) / factor, 1 / 4));
      for (let c = 0; c < classes; c++) out.matrix((o, i) => root((-(classes * i + c) * o) / factor, 1 / 4));
      twiddles(out, factor, shift);
    },
  };
}

/** Matrices of the DFTs of 16 points. */
function fixedPart(out: BlockWriter, shift: number): void {
  out.matrix((o, i) => root((2 * o * i) / 16, 1 / 4));
  out.matrix((o, i) => root(((2 * o + 1) * i) / 16, 1 / 4));
  out.matrix((o, i) => root((-(2 * i + 1) * o) / 16, 1 / 4));
  // Real data at first: eight outputs' real parts above their imaginary parts, sixteen inputs; outputs 2 m + r.
  for (const r of [0, 1]) {
    const entry = (row: number, n: number): number =>
      root(((2 * (row % 8) + r + shift) * n) / 16, 1 / 4)[row < 8 ? 0 : 1];
    out.block((g, t) =>
      [
        [g, 2 * t],
        [g + 8, 2 * t],
        [g, 2 * t + 8],
        [g + 8, 2 * t + 8],
      ].map(([row, n]) => [entry(row!, n!), entry(row!, n! + 1)] as const),
    );
  }
  // Real results at last: the transposed shape.
  for (const r of [0, 1]) {
    const entry = (row: number, n: number): number => {
      const [re, im] = root((-(2 * (row % 8) + r + shift) * n) / 16, 1 / 4);
      return row < 8 ? re : -im;
    };
    out.block((g, t) =>
      [0, 1, 2, 3].map((i) => {
        const [row, n] = [2 * t + 8 * (i & 1), 8 * (i >> 1) + g];
        return [entry(row, n), entry(row + 1, n)] as const;
      }),
    );
  }
}

function twiddles(out: BlockWriter, factor: number, shift: number): void {
  const between = (k1: number, n2: number): Complex => root(((k1 + shift) * n2) / 256);
  out.pairs((g, t, i, e) => between(2 * g + (i >> 1), 8 * (i & 1) + 2 * t + e));
  out.pairs((g, t, i, e) => between(2 * (2 * t + e) + (i >> 1), g + 8 * (i & 1)));
  const last = (n3: number, k: number): Complex => root((n3 * (k + shift)) / (256 * factor));
  if (factor < 8) {
    for (const n3 of [1, 2, 3]) {
      for (const r of [0, 1]) {
        out.block((g, t) =>
          [0, 1].flatMap((j) => {
            const [a, b] = [0, 1].map((e) => last(n3, 2 * g + r + 16 * (2 * (2 * t + e) + j)));
            return [[a![0], b![0]] as const, [a![1], b![1]] as const];
          }),
        );
      }
    }
    return;
  }
  for (let group = 0; group < factor / 4; group++) {
    for (let p = 0; p < 8; p++) {
      const [r, j, e] = [p >> 2, (p >> 1) & 1, p & 1];
      out.block((g, t) =>
        [0, 1].flatMap((pair) => {
          const n3 = 4 * group + 2 * pair;
          const k = 2 * g + r + 16 * (2 * (2 * t + e) + j);
          const [a, b] = [last(n3, k), last(n3 + 1, k)];
          return [[a[0], b[0]] as const, [a[1], b[1]] as const];
        }),
      );
    }
  }
}
