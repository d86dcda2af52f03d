// Sine and cosine position tables (Vaswani et al. 2017), halves side by side.

import { ConfigError, tensor, type Device, type Tensor } from "@everlong/core";

export const POSITION_KINDS = ["none", "learned", "sines"] as const;
/** What a backbone adds to its embeddings. */
export type PositionKind = (typeof POSITION_KINDS)[number];

/** @throws ConfigError for an unknown kind. */
export function checkPositions(op: string, kind: PositionKind): void {
  if (POSITION_KINDS.includes(kind)) return;
  throw new ConfigError(op, `unknown positions "${kind}"`, { expected: POSITION_KINDS.join(", ") });
}

/** Functions that fill a table, for tables equal to another library's. */
export interface TableMath {
  readonly rate: (index: number, half: number) => number;
  readonly angle: (position: number, rate: number) => number;
  readonly sin: (angle: number) => number;
  readonly cos: (angle: number) => number;
}

const float64: TableMath = {
  rate: (index, half) => Math.exp((-Math.log(10_000) * index) / (half - 1)),
  angle: (position, rate) => position * rate,
  sin: Math.sin,
  cos: Math.cos,
};

/** `[length, dim]`: sines of position times `10000^(-i / (dim/2 - 1))`, then the cosines; an odd last column is 0. */
export function sineTable(length: number, dim: number, device: Device, math: TableMath = float64): Tensor {
  const half = Math.floor(dim / 2);
  const data = new Float64Array(length * dim);
  for (let i = 0; i < half; i++) {
    const rate = math.rate(i, half);
    for (let t = 0; t < length; t++) {
      const angle = math.angle(t, rate);
      data[t * dim + i] = math.sin(angle);
      data[t * dim + half + i] = math.cos(angle);
    }
  }
  return tensor(data, [length, dim], { device });
}
