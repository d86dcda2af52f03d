// Transfer functions and their gradients by plain sums over all modes.

import type { HostArray } from "@everlong/core";
import type { ResolventParams } from "../resolvent/points.ts";
import { TRANSFER_INPUTS } from "./names.ts";
import { eachTransferPoint, type Rows } from "./systems.ts";

export function transferReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  { nodes }: ResolventParams,
): void {
  const [yRe, yIm] = outputs as [HostArray, HostArray];
  const [, reads, systems, points] = yRe.shape as [number, number, number, number];
  eachTransferPoint(inputs, points, nodes, ({ system, point, x }, { c }) => {
    x.forEach((state, i) =>
      c.forEach((read, j) => {
        let [re, im] = [0, 0];
        for (let n = 0; n < state.re.length; n++) {
          re += state.re[n]! * read.re[n]! - state.im[n]! * read.im[n]!;
          im += state.re[n]! * read.im[n]! + state.im[n]! * read.re[n]!;
        }
        const to = ((i * reads + j) * systems + system) * points + point;
        yRe.data[to] = re;
        yIm.data[to] = im;
      }),
    );
  });
}

/** With y^T dM x for the change of the matrix, summed over both halves of each pair. */
export function transferGradReference(
  inputs: readonly HostArray[],
  outputs: readonly HostArray[],
  { nodes }: ResolventParams,
): void {
  const [gRe, gIm, ...given] = inputs as [HostArray, HostArray, ...HostArray[]];
  const [bRe, bIm, cRe, cIm, pRe, pIm, aRe, aIm, dt] = outputs as [
    HostArray,
    HostArray,
    HostArray,
    HostArray,
    HostArray,
    HostArray,
    HostArray,
    HostArray,
    HostArray,
  ];
  const [, reads, systems, points] = gRe.shape as [number, number, number, number];
  const half = aRe.shape[1]!;
  const steps = dt.shape[1]!;
  const sizes = given[TRANSFER_INPUTS.indexOf("dt")]!.data;
  for (const out of outputs) out.data.fill(0);
  eachTransferPoint(given, points, nodes, ({ system, point, minus, plus, x, y, qx, py }) => {
    x.forEach((state, i) =>
      y.forEach((read, j) => {
        const from = ((i * reads + j) * systems + system) * points + point;
        // Derivatives are taken of Re(conj(g) k).
        const [hRe, hIm] = [gRe.data[from]!, -gIm.data[from]!];
        for (let k = 0; k < 2 * half; k++) {
          const n = k % half;
          // What is added to the conjugate of a parameter for the first half of a pair is added to itself for the second.
          const sign = k < half ? -1 : 1;
          const add = (re: HostArray, im: HostArray, set: number, dRe: number, dIm: number): void => {
            re.data[(set * systems + system) * half + n]! += dRe;
            im.data[(set * systems + system) * half + n]! += sign * dIm;
          };
          const times = (z: Rows, at: number): [number, number] => [
            hRe * z.re[at]! - hIm * z.im[at]!,
            hRe * z.im[at]! + hIm * z.re[at]!,
          ];
          const [hx, hy] = [times(state, k), times(read, k)];
          add(bRe, bIm, i, ...hy);
          add(cRe, cIm, j, ...hx);
          const w = [
            hy[0] * state.re[k]! - hy[1] * state.im[k]!,
            hy[0] * state.im[k]! + hy[1] * state.re[k]!,
          ] as const;
          add(aRe, aIm, 0, w[0] * plus[0] - w[1] * plus[1], w[0] * plus[1] + w[1] * plus[0]);
          const at = system * steps + (steps === 1 ? 0 : n);
          // x and y hold a factor dt each.
          const size = sizes[at]!;
          if (size !== 0) dt.data[at]! += (w[0] * minus[0] - w[1] * minus[1]) / size ** 2;
          for (let r = 0; r < qx[i]!.re.length; r++) {
            const change = (h: readonly number[], z: Rows): [number, number] => {
              const [sRe, sIm] = [
                z.re[r]! * plus[0] - z.im[r]! * plus[1],
                z.re[r]! * plus[1] + z.im[r]! * plus[0],
              ];
              return [-(h[0]! * sRe - h[1]! * sIm), -(h[0]! * sIm + h[1]! * sRe)];
            };
            add(pRe, pIm, r, ...change(hy, qx[i]!));
            // Q is the conjugate of P.
            const [re, im] = change(hx, py[j]!);
            add(pRe, pIm, r, re, -im);
          }
        }
      }),
    );
  });
}
