// Rational functions at the roots of unity by plain sums.

import type { HostArray } from "@everlong/core";
import { resolventPoint, type ResolventParams } from "./points.ts";

/** Calls `visit` with `r = 1 / ((1 - w) - (1 + w) a / 2)` and `(1 + w) / 2` for every pole and point. */
function eachInverse(
  aRe: HostArray,
  aIm: HostArray,
  points: number,
  nodes: number,
  visit: (h: number, n: number, p: number, rRe: number, rIm: number, qRe: number, qIm: number) => void,
): void {
  const [systems, modes] = aRe.shape as [number, number];
  for (let p = 0; p < points; p++) {
    const [mRe, mIm, qRe, qIm] = resolventPoint(p, nodes);
    for (let h = 0; h < systems; h++)
      for (let n = 0; n < modes; n++) {
        const [re, im] = [aRe.data[h * modes + n]!, aIm.data[h * modes + n]!];
        const [dRe, dIm] = [mRe - (re * qRe - im * qIm), mIm - (re * qIm + im * qRe)];
        const size = dRe * dRe + dIm * dIm;
        visit(h, n, p, dRe / size, -dIm / size, qRe, qIm);
      }
  }
}

export function resolventReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  { nodes }: ResolventParams,
): void {
  const [vRe, vIm, aRe, aIm] = inputs as [HostArray, HostArray, HostArray, HostArray];
  const [yRe, yIm] = outputs as [HostArray, HostArray];
  const [sets, systems, points] = yRe.shape as [number, number, number];
  const modes = aRe.shape[1]!;
  yRe.data.fill(0);
  yIm.data.fill(0);
  eachInverse(aRe, aIm, points, nodes, (h, n, p, rRe, rIm) => {
    for (let x = 0; x < sets; x++) {
      const from = (x * systems + h) * modes + n;
      const to = (x * systems + h) * points + p;
      yRe.data[to]! += vRe.data[from]! * rRe - vIm.data[from]! * rIm;
      yIm.data[to]! += vRe.data[from]! * rIm + vIm.data[from]! * rRe;
    }
  });
}

export function resolventSumsReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  { nodes }: ResolventParams,
): void {
  const [gRe, gIm, aRe, aIm] = inputs as [HostArray, HostArray, HostArray, HostArray];
  const [sRe, sIm, tRe, tIm] = outputs as [HostArray, HostArray, HostArray, HostArray];
  const [sets, systems, points] = gRe.shape as [number, number, number];
  const modes = aRe.shape[1]!;
  for (const out of outputs) out.data.fill(0);
  eachInverse(aRe, aIm, points, nodes, (h, n, p, rRe, rIm, qRe, qIm) => {
    const [squareRe, squareIm] = [rRe * rRe - rIm * rIm, 2 * rRe * rIm];
    const [uRe, uIm] = [squareRe * qRe - squareIm * qIm, squareRe * qIm + squareIm * qRe];
    for (let x = 0; x < sets; x++) {
      const from = (x * systems + h) * points + p;
      const to = (x * systems + h) * modes + n;
      const [re, im] = [gRe.data[from]!, gIm.data[from]!];
      sRe.data[to]! += re * rRe + im * rIm;
      sIm.data[to]! += im * rRe - re * rIm;
      tRe.data[to]! += re * uRe + im * uIm;
      tIm.data[to]! += im * uRe - re * uIm;
    }
  });
}
