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

  /** Two complex 8x8 matrices: real and imaginary parts of each. */
  matrices(...entries: readonly ((out: number, index: number) => Complex)[]): void {
    this.block((g, t) =>
      entries.flatMap((entry) => {
        const [a, b] = [entry(g, 2 * t), entry(g, 2 * t + 1)];
        return [[a[0], b[0]] as const, [a[1], b[1]] as const];
      }),
    );
  }

  /** Four 8x8 matrices: row after row, as warps read them from shared memory, or as registers of their lanes, of the matrices or the transposed ones. */
  squares(
    layout: "rows" | "registers" | "transposed",
    entry: (which: number, row: number, column: number) => number,
  ): void {
    if (layout === "rows") {
      for (let i = 0; i < 256; i++) {
        this.memory.setFloat16(this.at, entry(i >> 6, (i >> 3) & 7, i & 7), true);
        this.at += 2;
      }
    } else {
      this.block((g, t) =>
        [0, 1, 2, 3].map((q) =>
          layout === "registers"
            ? ([entry(q, g, 2 * t), entry(q, g, 2 * t + 1)] as const)
            : ([entry(q, 2 * t, g), entry(q, 2 * t + 1, g)] as const),
        ),
      );
    }
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
  /**
   * What transforms of blocks find: "rows", matrices for shared memory, where they can be read transposed; "registers", matrices as lanes hold them, these and
   * the transposed ones; "twiddles", factors between transforms of 256 points and the last factor's.
   */
  readonly layout: "rows" | "registers" | "twiddles";
}

/** Bytes of a block. */
const BLOCK = 512;

/** Bytes of the classes of n3, at the beginning of a table of matrices. */
export const classBytes = (factor: number): number => (BLOCK * factor) / 8;

/** Bytes of the rest of it. */
export const stepBytes = ({ factor, paired, layout }: TensorTableOptions): number =>
  BLOCK * (4 + factor * (paired ? 2 : 3) * (layout === "rows" ? 1 : 2));

/** The table of a kernel. */
export function tensorTable(options: TensorTableOptions): CudaTable {
  const { factor, paired, layout } = options;
  const classes = factor >= 8 ? factor / 8 : 0;
  const twiddles = layout === "twiddles";
  return {
    key: `fft-conv ${factor} ${paired ? "paired" : "real"} ${layout}`,
    bytes: twiddles
      ? BLOCK * (11 + 2 * classes + (factor >= 8 ? 2 * factor : 6))
      : classBytes(factor) + stepBytes(options),
    fill: (memory) => {
      const out = new BlockWriter(memory);
      const shift = paired ? 0 : 0.25;
      const there =
        (c: number) =>
        (o: number, i: number): Complex =>
          root(((classes * o + c) * i) / factor, 1 / 4);
      const back =
        (c: number) =>
        (o: number, i: number): Complex =>
          root((-(classes * i + c) * o) / factor, 1 / 4);
      if (twiddles) {
        fixedPart(out, shift);
        for (const way of [there, back]) for (let c = 0; c < classes; c++) out.matrix(way(c));
        firstTwiddles(out, shift);
        lastTwiddles(out, factor, shift);
        return;
      }
      for (let c = 0; c < classes; c++) out.matrices(there(c), back(c));
      firstTwiddles(out, shift);
      for (const squares of layout === "rows" ? (["rows"] as const) : (["registers", "transposed"] as const))
        steps(out, squares, options, shift);
    },
  };
}

/**
 * The matrices of every n3, blocks of four 8x8 matrices. n1: W_16^((k1 + d) n1) W_N^((k1 + d) n3), of complex data real and imaginary parts for even and
 * for odd k1, of real data (a block for even k1, one for odd) those of n1 < 8 and of the others. n2: W_16^(k2 n2) W_16M^(k2 n3) for even and odd k2.
 */
function steps(
  out: BlockWriter,
  layout: Parameters<BlockWriter["squares"]>[0],
  { factor, paired }: TensorTableOptions,
  d: number,
): void {
  const first = (n3: number, k1: number, n1: number): Complex =>
    root(((k1 + d) * n1) / 16 + ((k1 + d) * n3) / (256 * factor), 1 / 4);
  const second = (n3: number, k2: number, n2: number): Complex =>
    root((k2 * n2) / 16 + (k2 * n3) / (16 * factor), 1 / 4);
  for (let n3 = 0; n3 < factor; n3++) {
    if (paired) out.squares(layout, (q, o, i) => first(n3, 2 * o + (q >> 1), i)[(q & 1) as 0 | 1]);
    else
      for (const r of [0, 1])
        out.squares(layout, (q, o, i) => first(n3, 2 * o + r, i + 8 * (q >> 1))[(q & 1) as 0 | 1]);
    out.squares(layout, (q, o, i) => second(n3, 2 * o + (q >> 1), i)[(q & 1) as 0 | 1]);
  }
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

/** W_256^((k1 + shift) n2), as the way forward needs them, then as the way back does. */
function firstTwiddles(out: BlockWriter, shift: number): void {
  const between = (k1: number, n2: number): Complex => root(((k1 + shift) * n2) / 256);
  out.pairs((g, t, i, e) => between(2 * g + (i >> 1), 8 * (i & 1) + 2 * t + e));
  out.pairs((g, t, i, e) => between(2 * (2 * t + e) + (i >> 1), g + 8 * (i & 1)));
}

/** W_N^((k + shift) n3). */
function lastTwiddles(out: BlockWriter, factor: number, shift: number): void {
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
