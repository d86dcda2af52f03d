// The transfer function of one system at one point, and what its gradient needs, in plain complex float64.

import type { HostArray } from "@everlong/core";
import { resolventPoint } from "../resolvent/points.ts";
import { TRANSFER_INPUTS, type TransferInput } from "./names.ts";

/** Complex numbers in two rows. */
export interface Rows {
  readonly re: Float64Array;
  readonly im: Float64Array;
}

const rowsOf = (length: number): Rows => ({ re: new Float64Array(length), im: new Float64Array(length) });

/** Solves `m x = right` in place by elimination; `m` is `[n, n]`, `right` `[n]`. */
function solveInPlace(m: Rows, right: Rows, n: number): void {
  for (let i = 0; i < n; i++) {
    const [pRe, pIm] = [m.re[i * n + i]!, m.im[i * n + i]!];
    const size = pRe * pRe + pIm * pIm;
    for (let j = 0; j < n; j++) {
      if (j === i) continue;
      const [aRe, aIm] = [m.re[j * n + i]!, m.im[j * n + i]!];
      const [fRe, fIm] = [(aRe * pRe + aIm * pIm) / size, (aIm * pRe - aRe * pIm) / size];
      for (let k = i; k < n; k++) {
        const [bRe, bIm] = [m.re[i * n + k]!, m.im[i * n + k]!];
        m.re[j * n + k]! -= fRe * bRe - fIm * bIm;
        m.im[j * n + k]! -= fRe * bIm + fIm * bRe;
      }
      const [bRe, bIm] = [right.re[i]!, right.im[i]!];
      right.re[j]! -= fRe * bRe - fIm * bIm;
      right.im[j]! -= fRe * bIm + fIm * bRe;
    }
  }
  for (let i = 0; i < n; i++) {
    const [pRe, pIm] = [m.re[i * n + i]!, m.im[i * n + i]!];
    const size = pRe * pRe + pIm * pIm;
    const [bRe, bIm] = [right.re[i]!, right.im[i]!];
    right.re[i] = (bRe * pRe + bIm * pIm) / size;
    right.im[i] = (bIm * pRe - bRe * pIm) / size;
  }
}

/** One point of one system, both halves of its conjugate pairs: every row has 2 M modes. */
export interface Point {
  readonly system: number;
  readonly point: number;
  /** `1 - w` and `(1 + w) / 2`. */
  readonly minus: readonly [number, number];
  readonly plus: readonly [number, number];
  /** `x[i] = (E + plus P Q^T)^-1 b[i]`, one row per drive, with `E = (1 - w) / dt - plus a`. */
  readonly x: readonly Rows[];
  /** The same of the transposed matrix for the read-outs. */
  readonly y: readonly Rows[];
  /** `Q_r^T x[i]` and `P_r^T y[i]`, `[R]` each. */
  readonly qx: readonly Rows[];
  readonly py: readonly Rows[];
}

/** Calls `visit` for every system and point; its rows are used again for the next one. */
export function eachTransferPoint(
  inputs: readonly HostArray[],
  points: number,
  nodes: number,
  visit: (point: Point, wide: Record<"b" | "c", readonly Rows[]>) => void,
): void {
  const given = Object.fromEntries(TRANSFER_INPUTS.map((name, i) => [name, inputs[i]!])) as Record<
    TransferInput,
    HostArray
  >;
  const [systems, half] = given.aRe.shape as [number, number];
  const steps = given.dt.shape[1]!;
  const modes = 2 * half;
  const counts = { b: given.bRe.shape[0]!, c: given.cRe.shape[0]!, p: given.pRe.shape[0]! };
  const make = (count: number, length: number): Rows[] => Array.from({ length: count }, () => rowsOf(length));
  const rank = counts.p;
  const wide = { b: make(counts.b, modes), c: make(counts.c, modes), p: make(rank, modes) };
  const a = rowsOf(modes);
  const [x, y] = [make(counts.b, modes), make(counts.c, modes)];
  const [qx, py] = [make(counts.b, rank), make(counts.c, rank)];
  const inverse = rowsOf(modes);
  const matrix = rowsOf(rank * rank);
  const work = rowsOf(rank * rank);

  const fill = (to: Rows, re: HostArray, im: HostArray, from: number): void => {
    for (let n = 0; n < half; n++) {
      to.re[n] = to.re[half + n] = re.data[from + n]!;
      to.im[n] = im.data[from + n]!;
      to.im[half + n] = -im.data[from + n]!;
    }
  };

  /** `(E + plus L R^T)^-1 v`, with L and R the rows P or their conjugates; `matrix` holds `R^T E^-1 L`. */
  const solve = (
    v: Rows,
    left: 1 | -1,
    transposed: boolean,
    plus: readonly [number, number],
    to: Rows,
    by: Rows,
  ): void => {
    for (let r = 0; r < rank; r++) {
      const row = wide.p[r]!;
      let [re, im] = [0, 0];
      for (let n = 0; n < modes; n++) {
        const [wRe, wIm] = [
          v.re[n]! * inverse.re[n]! - v.im[n]! * inverse.im[n]!,
          v.re[n]! * inverse.im[n]! + v.im[n]! * inverse.re[n]!,
        ];
        const pIm = -left * row.im[n]!;
        re += wRe * row.re[n]! - wIm * pIm;
        im += wRe * pIm + wIm * row.re[n]!;
      }
      [by.re[r], by.im[r]] = [re, im];
    }
    for (let i = 0; i < rank; i++)
      for (let j = 0; j < rank; j++) {
        const from = transposed ? j * rank + i : i * rank + j;
        const [re, im] = [matrix.re[from]!, matrix.im[from]!];
        work.re[i * rank + j] = (i === j ? 1 : 0) + re * plus[0] - im * plus[1];
        work.im[i * rank + j] = re * plus[1] + im * plus[0];
      }
    solveInPlace(work, by, rank);
    for (let n = 0; n < modes; n++) {
      let [re, im] = [v.re[n]!, v.im[n]!];
      for (let r = 0; r < rank; r++) {
        const [sRe, sIm] = [
          by.re[r]! * plus[0] - by.im[r]! * plus[1],
          by.re[r]! * plus[1] + by.im[r]! * plus[0],
        ];
        const row = wide.p[r]!;
        const pIm = left * row.im[n]!;
        re -= row.re[n]! * sRe - pIm * sIm;
        im -= row.re[n]! * sIm + pIm * sRe;
      }
      to.re[n] = re * inverse.re[n]! - im * inverse.im[n]!;
      to.im[n] = re * inverse.im[n]! + im * inverse.re[n]!;
    }
  };

  for (let h = 0; h < systems; h++) {
    fill(a, given.aRe, given.aIm, h * half);
    for (const [rows, re, im] of [
      [wide.b, given.bRe, given.bIm],
      [wide.c, given.cRe, given.cIm],
      [wide.p, given.pRe, given.pIm],
    ] as const)
      rows.forEach((row, i) => fill(row, re, im, (i * systems + h) * half));
    for (let point = 0; point < points; point++) {
      const [mRe, mIm, qRe, qIm] = resolventPoint(point, nodes);
      for (let n = 0; n < modes; n++) {
        const dt = given.dt.data[h * steps + (steps === 1 ? 0 : n % half)]!;
        // dt / ((1 - w) - plus a dt): finite for steps of zero too.
        const [aRe, aIm] = [a.re[n]! * dt, a.im[n]! * dt];
        const [dRe, dIm] = [mRe - (aRe * qRe - aIm * qIm), mIm - (aRe * qIm + aIm * qRe)];
        const size = dt / (dRe * dRe + dIm * dIm);
        inverse.re[n] = dRe * size;
        inverse.im[n] = -dIm * size;
      }
      for (let i = 0; i < rank; i++)
        for (let j = 0; j < rank; j++) {
          const [q, p] = [wide.p[i]!, wide.p[j]!];
          let [re, im] = [0, 0];
          for (let n = 0; n < modes; n++) {
            // conj(q) p
            const [tRe, tIm] = [
              q.re[n]! * p.re[n]! + q.im[n]! * p.im[n]!,
              q.re[n]! * p.im[n]! - q.im[n]! * p.re[n]!,
            ];
            re += tRe * inverse.re[n]! - tIm * inverse.im[n]!;
            im += tRe * inverse.im[n]! + tIm * inverse.re[n]!;
          }
          matrix.re[i * rank + j] = re;
          matrix.im[i * rank + j] = im;
        }
      const plus = [qRe, qIm] as const;
      wide.b.forEach((row, i) => solve(row, 1, false, plus, x[i]!, qx[i]!));
      wide.c.forEach((row, i) => solve(row, -1, true, plus, y[i]!, py[i]!));
      visit({ system: h, point, minus: [mRe, mIm], plus, x, y, qx, py }, wide);
    }
  }
}
