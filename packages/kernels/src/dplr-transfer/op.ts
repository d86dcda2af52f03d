// The transfer function of diagonal plus low-rank state spaces at the roots of unity: S4's generating function, in one piece. It is
// not: a kernel over time; an inverse transform of the result is.

import {
  Complex,
  add,
  broadcastTo,
  cast,
  concat,
  cos,
  defineOp,
  gradients,
  iota,
  mul,
  neg,
  permute,
  reshape,
  sin,
  slice,
  square,
  stack,
  unsqueeze,
  zerosLike,
  type BatchContext,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { inOneDtype, need, needCompute } from "../inputs.ts";
import { checkNodes, resolventOp } from "../resolvent/op.ts";
import { resolventPoints, type ResolventParams } from "../resolvent/points.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { solveComplex } from "./solve-complex.ts";
import { transferGradReference, transferReference } from "./reference.ts";

type Inputs = readonly [Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor];

/** Checks `b [X, H, M], c [C, H, M], p [R, H, M], a [H, M]`, each as re and im, and `dt [H, 1 or M]`. */
function checkSystem(
  op: string,
  types: readonly TensorType[],
  nodes: number,
): { readonly dtype: "f32" | "f64"; readonly shape: readonly number[] } {
  const [bRe, bIm, cRe, cIm, pRe, pIm, aRe, aIm, dt] = types as [
    TensorType,
    TensorType,
    TensorType,
    TensorType,
    TensorType,
    TensorType,
    TensorType,
    TensorType,
    TensorType,
  ];
  checkNodes(op, nodes);
  const dtype = needCompute(op, "a", aRe);
  need(op, "a", aRe, [undefined, undefined], "[H, M]");
  const modes = aRe.shape as [number, number];
  need(op, "a im", aIm, modes, "[H, M]", dtype);
  for (const [name, re, im, letters] of [
    ["b", bRe, bIm, "[X, H, M]"],
    ["c", cRe, cIm, "[C, H, M]"],
    ["p", pRe, pIm, "[R, H, M]"],
  ] as const) {
    need(op, name, re, [undefined, ...modes], letters, dtype);
    need(op, `${name} im`, im, re.shape, letters, dtype);
  }
  need(op, "dt", dt, [modes[0], dt.shape[1] === 1 ? 1 : modes[1]], "[H, 1 or M]", dtype);
  return { dtype, shape: [bRe.shape[0]!, cRe.shape[0]!, modes[0], resolventPoints(nodes)] };
}

const both = (z: Complex): Complex => new Complex(concat([z.re, z.re], -1), concat([z.im, neg(z.im)], -1));
const take = (z: Complex, i: number): Complex => z.map((t) => slice(t, [i]));

/** Every vector that drives the diagonal system against every one that reads it, then the correction by the Woodbury identity. */
function decompose(inputs: readonly Tensor[], { nodes }: ResolventParams): Tensor[] {
  const [bRe, bIm, cRe, cIm, pRe, pIm, aRe, aIm, dt] = inputs as Inputs;
  const [b, c, p, a] = [
    new Complex(bRe, bIm),
    new Complex(cRe, cIm),
    new Complex(pRe, pIm),
    new Complex(aRe, aIm),
  ].map((z) => both(z)) as [Complex, Complex, Complex, Complex];
  const [systems, modes] = aRe.shape as [number, number];
  const steps = dt.shape[1] === 1 ? dt : concat([dt, dt], -1);
  const [sets, outputs, rank] = [bRe.shape[0]!, cRe.shape[0]!, pRe.shape[0]!];
  const half = mul(
    iota([resolventPoints(nodes)], 0, { dtype: aRe.dtype, device: aRe.device }),
    Math.PI / nodes,
  );
  const plus = new Complex(square(cos(half)), neg(mul(sin(half), cos(half))));
  const join = (x: Complex, y: Complex): Complex =>
    new Complex(concat([x.re, y.re], 0), concat([x.im, y.im], 0));
  const driving = join(b, p).map((t) => unsqueeze(t, 1));
  const reading = join(c, p.conj()).map((t) => unsqueeze(t, 0));
  const [drives, reads] = [sets + rank, outputs + rank];
  const weights = driving
    .mul(reading)
    .scale(steps)
    .map((t) => reshape(t, [drives * reads, systems, 2 * modes]));
  const poles = a.scale(steps);
  const [re, im] = resolventOp([weights.re, weights.im, poles.re, poles.im], { nodes });
  const response = (drive: number, read: number): Complex =>
    take(new Complex(re!, im!), drive * reads + read);
  const ranks = Array.from({ length: rank }, (_, r) => r);
  const matrix = ranks.map((i) =>
    ranks.map((j) => {
      const t = response(sets + j, outputs + i).mul(plus);
      return i === j ? new Complex(add(t.re, 1), t.im) : t;
    }),
  );
  const transfers = Array.from({ length: sets }, (_, x) => {
    const solved = solveComplex(
      matrix,
      ranks.map((i) => response(x, outputs + i)),
    );
    return Array.from({ length: outputs }, (__, o) =>
      ranks.reduce(
        (total, j) =>
          total.sub(
            response(sets + j, o)
              .mul(solved[j]!)
              .mul(plus),
          ),
        response(x, o),
      ),
    );
  }).flat();
  const shape = [sets, outputs, systems, resolventPoints(nodes)];
  return (["re", "im"] as const).map((part) => reshape(stack(transfers.map((z) => z[part])), shape));
}

/** `(g re, g im, b re, .., dt) -> gradients of b re, .., dt`. */
function decomposeGrad([gRe, gIm, ...system]: readonly Tensor[], params: ResolventParams): Tensor[] {
  return gradients(decompose(system, params), system, [gRe!, gIm!]);
}

/** Mapped systems are more systems: the new axis joins H, which stands in front of the last axis of every input and output. */
function intoSystems({ inputs, mapped, size, apply }: BatchContext<ResolventParams>): Tensor[] {
  const folded = inputs.map((t, i) => {
    const wide = mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]);
    const rank = wide.shape.length;
    const leading = wide.shape.slice(1, -2);
    const order = [...leading.keys()].map((k) => k + 1);
    return reshape(permute(wide, [...order, 0, rank - 2, rank - 1]), [
      ...leading,
      size * wide.shape.at(-2)!,
      wide.shape.at(-1)!,
    ]);
  });
  return apply(folded).map((y) => {
    const leading = y.shape.slice(0, -2);
    const split = reshape(y, [...leading, size, y.shape.at(-2)! / size, y.shape.at(-1)!]);
    const at = leading.length;
    return permute(split, [at, ...leading.keys(), at + 1, at + 2]);
  });
}

/** `(b, c, p, a as re and im, dt) -> (k re, k im [X, C, H, P])`. */
export const transferOp: Op<ResolventParams> = defineOp<ResolventParams>({
  name: "dplr-transfer",
  shape: (types, { nodes }) => {
    const type = checkSystem("dplr-transfer", types, nodes);
    return [type, type];
  },
  reference: transferReference,
  decompose,
  batch: intoSystems,
  vjp: ({ inputs, outputs, params, cotangents }) => {
    const g = outputs.map((y, i) => cotangents[i] ?? zerosLike(y));
    return transferGradOp([...g, ...inputs], params);
  },
  cost: (inputs, outputs) => {
    const [sets, reads, systems, points] = outputs[0]!.shape as [number, number, number, number];
    const rank = inputs[4]!.shape[0]!;
    const products = sets * reads + rank * (sets + reads + rank);
    return {
      flops: systems * inputs[0]!.shape[2]! * points * (32 + 8 * products),
      bytes: bytesMoved(inputs, outputs),
    };
  },
});

/** `(g re, g im [X, C, H, P], b, c, p, a as re and im, dt) -> gradients of all but g`. */
export const transferGradOp: Op<ResolventParams> = defineOp<ResolventParams>({
  name: "dplr-transfer-grad",
  shape: ([gRe, gIm, ...types], { nodes }) => {
    const op = "dplr-transfer-grad";
    const { shape, dtype } = checkSystem(op, types, nodes);
    need(op, "g", gRe!, shape, "[X, C, H, P]", dtype);
    need(op, "g im", gIm!, shape, "[X, C, H, P]", dtype);
    return types.map((t) => ({ shape: t.shape, dtype }));
  },
  reference: transferGradReference,
  decompose: decomposeGrad,
  batch: intoSystems,
  vjp: (context) => {
    const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? zerosLike(t));
    return gradientsThrough(decomposeGrad, { ...context, cotangents });
  },
  cost: (inputs, outputs) => {
    const [sets, reads, systems, points] = inputs[0]!.shape as [number, number, number, number];
    const rank = inputs[6]!.shape[0]!;
    const scalars = 32 + 8 * rank * (sets + reads + rank);
    return {
      flops: systems * outputs[0]!.shape[2]! * points * (scalars + sets * reads * (140 + 80 * rank)),
      bytes: bytesMoved(inputs, outputs),
    };
  },
});

/** A real state space of conjugate pairs of modes: diagonal `a` minus `sum_r p_r p_r^*`. */
export interface DplrSystem {
  /** What drives it, `[X, H, M]`. */
  readonly b: Complex;
  /** What reads it, `[C, H, M]`. */
  readonly c: Complex;
  /** `[R, H, M]`. */
  readonly p: Complex;
  /** `[H, M]`, one of each pair. */
  readonly a: Complex;
  /** Step sizes `[H, 1 or M]`. */
  readonly dt: Tensor;
}

/**
 * `k = c^T ((1 - w) / dt - (1 + w) A / 2)^-1 b` at the first roots of unity `w = exp(-2 pi i p / nodes)`, with both halves of all
 * conjugate pairs: the transform of the kernel of a state space sampled bilinearly. The kernels compute in float64 and round once, as poles near
 * the circle cancel in float32. Source: Gu et al. 2022, arXiv 2111.00396, appendix C.3.
 * @returns `[X, C, H, floor(nodes / 2) + 1]`; the other half of the spectrum is the mirror image
 */
export function dplrTransfer({ b, c, p, a, dt }: DplrSystem, nodes: number): Complex {
  const given = a.re.dtype;
  const parts = {
    bRe: b.re,
    bIm: b.im,
    cRe: c.re,
    cIm: c.im,
    pRe: p.re,
    pIm: p.im,
    aRe: a.re,
    aIm: a.im,
    dt,
  };
  const { tensors } = inOneDtype(parts);
  const [re, im] = transferOp(tensors, { nodes });
  return new Complex(cast(re!, given), cast(im!, given));
}
