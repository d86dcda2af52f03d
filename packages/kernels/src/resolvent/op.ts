// The Cauchy-like product at the heart of S4: a rational function, given by poles and weights, at the roots of unity. It is not:
// a kernel over time; an inverse transform of the result is.

import {
  Complex,
  ConfigError,
  add,
  cast,
  cos,
  defineOp,
  iota,
  matmul,
  mul,
  neg,
  sin,
  square,
  sub,
  sum,
  transpose,
  unsqueeze,
  zerosLike,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { inOneDtype, need, needCompute } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { resolventPoints, type ResolventParams } from "./points.ts";
import { resolventReference, resolventSumsReference } from "./reference.ts";

/** `1 / ((1 - w) - (1 + w) a / 2)` for all poles and points, `[H, N, P]`, and `(1 + w) / 2` `[P]`. */
function inverses(
  aRe: Tensor,
  aIm: Tensor,
  nodes: number,
): { readonly inverse: Complex; readonly plus: Complex } {
  const half = mul(
    iota([resolventPoints(nodes)], 0, { dtype: aRe.dtype, device: aRe.device }),
    Math.PI / nodes,
  );
  const [sine, cosine] = [sin(half), cos(half)];
  const turn = mul(sine, cosine);
  const minus = new Complex(mul(square(sine), 2), mul(turn, 2));
  const plus = new Complex(square(cosine), neg(turn));
  const a = new Complex(unsqueeze(aRe, -1), unsqueeze(aIm, -1));
  return { inverse: minus.sub(a.mul(plus)).reciprocal(), plus };
}

const bySystem = (z: Complex): Complex => z.map((t) => transpose(t, 0, 1));

function decompose([vRe, vIm, aRe, aIm]: readonly Tensor[], { nodes }: ResolventParams): Tensor[] {
  const { inverse } = inverses(aRe!, aIm!, nodes);
  const y = bySystem(bySystem(new Complex(vRe!, vIm!)).matmul(inverse));
  return [y.re, y.im];
}

function decomposeSums([gRe, gIm, aRe, aIm]: readonly Tensor[], { nodes }: ResolventParams): Tensor[] {
  const { inverse, plus } = inverses(aRe!, aIm!, nodes);
  const g = bySystem(new Complex(gRe!, gIm!));
  const against = (factor: Complex): Complex => {
    const turned = factor.conj().map((t) => transpose(t, 1, 2));
    return bySystem(
      new Complex(
        sub(matmul(g.re, turned.re), matmul(g.im, turned.im)),
        add(matmul(g.re, turned.im), matmul(g.im, turned.re)),
      ),
    );
  };
  const [first, second] = [against(inverse), against(inverse.mul(inverse).mul(plus))];
  return [first.re, first.im, second.re, second.im];
}

export function checkNodes(op: string, nodes: number): void {
  if (!Number.isInteger(nodes) || nodes < 1)
    throw new ConfigError(op, "nodes must be a positive integer", { got: `${nodes}` });
}

/** `(v re, v im [X, H, N], a re, a im [H, N]) -> (y re, y im [X, H, P])`. */
export const resolventOp: Op<ResolventParams> = defineOp<ResolventParams>({
  name: "resolvent",
  shape: ([vRe, vIm, aRe, aIm], { nodes }) => {
    const op = "resolvent";
    const dtype = needCompute(op, "v", vRe!);
    checkNodes(op, nodes);
    need(op, "v", vRe!, [undefined, undefined, undefined], "[X, H, N]");
    const [sets, systems, modes] = vRe!.shape as [number, number, number];
    need(op, "v im", vIm!, vRe!.shape, "[X, H, N]", dtype);
    need(op, "a", aRe!, [systems, modes], "[H, N]", dtype);
    need(op, "a im", aIm!, [systems, modes], "[H, N]", dtype);
    const type = { shape: [sets, systems, resolventPoints(nodes)], dtype };
    return [type, type];
  },
  reference: resolventReference,
  decompose,
  vjp: ({ inputs, outputs, params, cotangents }) => {
    const [vRe, vIm, aRe, aIm] = inputs as [Tensor, Tensor, Tensor, Tensor];
    const [gRe, gIm] = outputs.map((y, i) => cotangents[i] ?? zerosLike(y)) as [Tensor, Tensor];
    const [dvRe, dvIm, sRe, sIm] = resolventSumsOp([gRe, gIm, aRe, aIm], params) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    // d y / d a = v (1 + w) / 2 / (..)^2, conjugated as for every derivative of pairs.
    const da = new Complex(vRe, neg(vIm)).mul(new Complex(sRe, sIm));
    return [dvRe, dvIm, sum(da.re, 0), sum(da.im, 0)];
  },
  cost: (inputs, outputs) => {
    const [sets, systems, modes] = inputs[0]!.shape as [number, number, number];
    return {
      flops: systems * modes * outputs[0]!.shape[2]! * (14 + 8 * sets),
      bytes: bytesMoved(inputs, outputs),
    };
  },
});

/**
 * `(g re, g im [X, H, P], a re, a im [H, N]) -> (s re, s im, t re, t im [X, H, N])`: `s = sum_p g conj(r)` and
 * `t = sum_p g conj(r^2 (1 + w) / 2)` with r the inverse that {@link resolventOp} weighs.
 */
export const resolventSumsOp: Op<ResolventParams> = defineOp<ResolventParams>({
  name: "resolvent-sums",
  shape: ([gRe, gIm, aRe, aIm], { nodes }) => {
    const op = "resolvent-sums";
    const dtype = needCompute(op, "g", gRe!);
    checkNodes(op, nodes);
    need(op, "g", gRe!, [undefined, undefined, resolventPoints(nodes)], "[X, H, P]");
    const [sets, systems] = gRe!.shape as [number, number, number];
    need(op, "g im", gIm!, gRe!.shape, "[X, H, P]", dtype);
    need(op, "a", aRe!, [systems, undefined], "[H, N]", dtype);
    need(op, "a im", aIm!, aRe!.shape, "[H, N]", dtype);
    const type = { shape: [sets, systems, aRe!.shape[1]!], dtype };
    return [type, type, type, type];
  },
  reference: resolventSumsReference,
  decompose: decomposeSums,
  vjp: (context) => {
    const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? zerosLike(t));
    return gradientsThrough(decomposeSums, { ...context, cotangents });
  },
  cost: (inputs, outputs) => {
    const [sets, systems, points] = inputs[0]!.shape as [number, number, number];
    return {
      flops: systems * points * outputs[0]!.shape[2]! * (22 + 16 * sets),
      bytes: bytesMoved(inputs, outputs),
    };
  },
});

/**
 * `y[x, h, p] = sum_n v[x, h, n] / ((1 - w_p) - (1 + w_p) a[h, n] / 2)` at the roots of unity `w_p = exp(-2 pi i p / nodes)`: the
 * transform of a sampled state space with poles `a` (bilinear, times the step size) and weights v. Nothing as large as
 * `[H, N, P]` is stored. Source: Gu et al. 2022, arXiv 2111.00396, appendix C.3.
 * @param v `[X, H, N]`
 * @param a `[H, N]`
 * @returns `[X, H, floor(nodes / 2) + 1]`; the other half of the spectrum of a real kernel is its mirror image
 */
export function resolvent(v: Complex, a: Complex, nodes: number): Complex {
  const given = v.re.dtype;
  const { tensors } = inOneDtype({ vRe: v.re, vIm: v.im, aRe: a.re, aIm: a.im });
  const [re, im] = resolventOp(tensors, { nodes });
  return new Complex(cast(re!, given), cast(im!, given));
}
