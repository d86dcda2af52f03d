// Gated linear units (Dauphin et al. 2016; Shazeer 2020) whole: `w3 (act(w1 x) * w2 x)` in one call forward and one backward. Between the
// products everything stays on chip; the backward pass computes the hidden values again instead of reading them.

import {
  broadcastTo,
  cast,
  checkOptions,
  defineOp,
  matmul,
  mul,
  reshape,
  sizeOf,
  transpose,
  unsqueeze,
  type BatchContext,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { gate, type GateActivation, type GateParams } from "../gate/op.ts";
import { isHalf, need, needFloat, widened } from "../inputs.ts";
import { activated, linear, linearWeightGradOp, slope } from "../matmul/op.ts";
import { isMixed, narrowed } from "../precision.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { gatedUnitGradReference, gatedUnitReference } from "./reference.ts";

function check(op: string, [x, w1, w2, w3, dy]: readonly TensorType[]): void {
  const dtype = needFloat(op, "x", x!);
  need(op, "x", x!, [undefined, undefined, undefined], "[G, M, D]");
  const [groups, rows, dim] = x!.shape as [number, number, number];
  need(op, "w1", w1!, [groups, undefined, dim], "[G, F, D]", dtype);
  need(op, "w2", w2!, w1!.shape, "shape of w1", dtype);
  need(op, "w3", w3!, [groups, undefined, w1!.shape[1]!], "[G, N, F]", dtype);
  if (dy) need(op, "dy", dy, [groups, rows, w3!.shape[1]!], "[G, M, N]", dtype);
}

function decompose([x, w1, w2, w3]: readonly Tensor[], { activation }: GateParams): Tensor[] {
  const wide = widened(x!);
  const hidden = (w: Tensor): Tensor => matmul(wide, transpose(widened(w)));
  const h = mul(activated(activation, hidden(w1!)), hidden(w2!));
  return [cast(matmul(h, transpose(widened(w3!))), x!.dtype)];
}

function decomposeGrad([x, w1, w2, w3, dy]: readonly Tensor[], { activation }: GateParams): Tensor[] {
  const wide = widened(x!);
  const hidden = (w: Tensor): Tensor => matmul(wide, transpose(widened(w)));
  const [a, b] = [hidden(w1!), hidden(w2!)];
  const y = activated(activation, a);
  const dh = matmul(widened(dy!), widened(w3!));
  const da = mul(mul(dh, b), slope[activation](a));
  const db = mul(dh, y);
  const dx = matmul(da, widened(w1!)).add(matmul(db, widened(w2!)));
  return [dx, da, db, mul(y, b)].map((t) => cast(t, x!.dtype));
}

/** Groups of examples with weights of their own are one axis; rows of examples that share them are one. */
function batch({ inputs, mapped, size, apply }: BatchContext<GateParams>): Tensor[] {
  const weighted = mapped.slice(1, 4).some(Boolean);
  if (!weighted && inputs[1]!.shape[0] === 1) {
    // x and dy: the only ones mapped, and if one is not it is the same for all.
    const rows = inputs.map((t, i) => {
      if (i > 0 && i < 4) return t;
      const all = mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]);
      return reshape(all, [1, size * all.shape[2]!, all.shape[3]!]);
    });
    return apply(rows).map((y) => reshape(y, [size, 1, y.shape[1]! / size, y.shape[2]!]));
  }
  const folded = inputs.map((t, i) => {
    const all = mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape]);
    return reshape(all, [size * all.shape[1]!, ...all.shape.slice(2)]);
  });
  return apply(folded).map((y) => reshape(y, [size, y.shape[0]! / size, ...y.shape.slice(1)]));
}

/** `(x [G, M, D], w1 [G, F, D], w2 [G, F, D], w3 [G, N, F]) -> y [G, M, N]` for G units of their own. */
export const gatedUnitOp: Op<GateParams> = defineOp<GateParams>({
  name: "gated-unit",
  shape: (inputs) => {
    check("gated-unit", inputs);
    const [x, , , w3] = inputs;
    return [{ shape: [...x!.shape.slice(0, 2), w3!.shape[1]!], dtype: x!.dtype }];
  },
  reference: gatedUnitReference,
  decompose,
  vjp: ({ inputs, params, cotangents, needed }) => {
    const dy = cotangents[0]!;
    const [dx, da, db, h] = gatedUnitGradOp([...inputs, dy], params) as [Tensor, Tensor, Tensor, Tensor];
    const weight = (i: number, dz: Tensor, x: Tensor): Tensor | undefined =>
      needed[i] ? linearWeightGradOp([dz, x], { bias: false })[0] : undefined;
    return [
      needed[0] ? dx : undefined,
      weight(1, da, inputs[0]!),
      weight(2, db, inputs[0]!),
      weight(3, dy, h),
    ];
  },
  batch,
  cost: (inputs, outputs) => ({ flops: products(inputs) * 3, bytes: bytesMoved(inputs, outputs) }),
});

/** `(x, w1, w2, w3, dy) -> (dx [G, M, D], da, db, h [G, M, F])`: the gradients before the gate, and its result, make those of the weights. */
export const gatedUnitGradOp: Op<GateParams> = defineOp<GateParams>({
  name: "gated-unit-grad",
  shape: (inputs) => {
    check("gated-unit-grad", inputs);
    const [x, w1] = inputs;
    const hidden = { shape: [...x!.shape.slice(0, 2), w1!.shape[1]!], dtype: x!.dtype };
    return [x!, hidden, hidden, hidden];
  },
  reference: gatedUnitGradReference,
  decompose: decomposeGrad,
  vjp: (context) => gradientsThrough(decomposeGrad, context),
  batch,
  cost: (inputs, outputs) => ({ flops: products(inputs) * 5, bytes: bytesMoved(inputs, outputs) }),
});

/** Operations of one product over hidden features. */
const products = ([x, w1]: readonly TensorType[]): number => 2 * sizeOf(x!.shape) * w1!.shape[1]!;

/** Widths that stay on chip: of inputs and results. */
const MOST_WIDTH = 256;
const fits = (width: number): boolean => width % 16 === 0 && width <= MOST_WIDTH;

export interface GatedUnitOptions {
  /** Default "silu". */
  readonly activation?: GateActivation;
  /** `[F]`, `[F]`, `[N]`: added behind each product. Default: none. */
  readonly biases?: readonly [Tensor | undefined, Tensor | undefined, Tensor | undefined];
}

/**
 * `w3 (act(w1 x) * w2 x)` under mixed precision: in one pass where its widths fit on chip, through {@link linear} and {@link gate} elsewhere.
 * @param x `[..., D]`
 * @param weights `[F, D]`, `[F, D]`, `[N, F]`
 * @returns `[..., N]`
 */
export function gatedUnit(
  x: Tensor,
  weights: readonly [Tensor, Tensor, Tensor],
  options: GatedUnitOptions = {},
): Tensor {
  checkOptions("gatedUnit", options, ["activation", "biases"]);
  const { activation = "silu", biases = [] } = options;
  const [w1, , w3] = weights;
  const [inner = 0, dim = 0] = w1.shape;
  const width = w3.shape[0] ?? 0;
  const plain = biases.every((b) => b === undefined) && inner % 8 === 0 && [dim, width].every(fits);
  const rows = narrowed(x);
  if (!plain || !isMixed() || !isHalf(rows.dtype) || sizeOf(x.shape) === 0 || x.shape.at(-1) !== dim) {
    const part = (t: Tensor, i: number): Tensor => linear(t, weights[i]!, biases[i]);
    return part(gate(part(x, 0), part(x, 1), activation), 2);
  }
  const grouped = [reshape(rows, [sizeOf(x.shape) / dim, dim]), ...weights.map(narrowed)];
  const [y] = gatedUnitOp(
    grouped.map((t) => unsqueeze(t, 0)),
    { activation },
  );
  return reshape(y!, [...x.shape.slice(0, -1), width]);
}
