// The linear layer: product with a weight, bias and activation in one pass.

import {
  ConfigError,
  ShapeError,
  add,
  broadcastTo,
  cast,
  checkOptions,
  defineOp,
  erf,
  exp,
  gelu,
  greater,
  matmul,
  mul,
  promote,
  relu,
  reshape,
  show,
  sigmoid,
  silu,
  sizeOf,
  square,
  sub,
  sum,
  tanh,
  transpose,
  unsqueeze,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import {
  inOrder,
  isHalf,
  named,
  need,
  needFloat,
  inOneDtype,
  present,
  wideDtype,
  widened,
} from "../inputs.ts";
import { isMixed, narrowed } from "../precision.ts";
import { storedHalf } from "../stored-half.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { linearReference, linearWeightGradReference } from "./reference.ts";

export const ACTIVATIONS = ["none", "relu", "gelu", "gelu-tanh", "silu"] as const;
/** `gelu` is exact (erf), `gelu-tanh` the approximation by a hyperbolic tangent (Hendrycks & Gimpel 2016). */
export type Activation = (typeof ACTIVATIONS)[number];

export type LinearInput = "x" | "w" | "bias";
export interface LinearParams {
  readonly activation: Activation;
  readonly inputs: readonly LinearInput[];
}

/** Whether the gradient needs the value before the activation; relu's follows from the output's sign. */
export const keepsPreActivation = (activation: Activation): boolean =>
  activation !== "none" && activation !== "relu";

const apply: { readonly [A in Activation]: (z: Tensor) => Tensor } = {
  none: (z) => z,
  relu,
  silu,
  gelu: (z) => gelu(z),
  "gelu-tanh": (z) => gelu(z, { approximate: true }),
};

/** The activation of `z`, by primitives. */
export const activated = (activation: Activation, z: Tensor): Tensor => apply[activation](z);

/** Derivative at the pre-activation `z` (relu: at the output). */
export const slope: { readonly [A in Exclude<Activation, "none">]: (z: Tensor) => Tensor } = {
  relu: (y) => cast(greater(y, 0), y.dtype),
  silu: (z) => {
    const s = sigmoid(z);
    return mul(s, add(mul(z, sub(1, s)), 1));
  },
  gelu: (z) => {
    const density = mul(exp(mul(square(z), -0.5)), 1 / Math.sqrt(2 * Math.PI));
    return add(mul(add(erf(mul(z, Math.SQRT1_2)), 1), 0.5), mul(z, density));
  },
  "gelu-tanh": (z) => {
    const c = Math.sqrt(2 / Math.PI);
    const t = tanh(mul(add(z, mul(mul(square(z), z), 0.044715)), c));
    const inner = mul(add(mul(square(z), 3 * 0.044715), 1), c);
    return add(mul(add(t, 1), 0.5), mul(mul(mul(z, 0.5), sub(1, square(t))), inner));
  },
};

function plain(inputs: readonly Tensor[], params: LinearParams): Tensor[] {
  const { x, w, bias } = named(params.inputs, inputs);
  const product = matmul(x!, transpose(w!));
  const z = bias ? add(product, bias) : product;
  const y = apply[params.activation](z);
  return keepsPreActivation(params.activation) ? [y, z] : [y];
}

const decompose = storedHalf(plain, [0, 1]);

/** `(x [M, K], w [N, K], bias? [N]) -> (y [M, N], pre-activation? [M, N])`; the second output for the activations that need it. Half precision is multiplied as it is; sums are f32. */
export const linearOp: Op<LinearParams> = defineOp<LinearParams>({
  name: "linear",
  shape: (inputs, params) => {
    const { x, w, bias } = named(params.inputs, inputs);
    const dtype = needFloat("linear", "x", x!);
    need("linear", "x", x!, [undefined, undefined], "[M, K]");
    need("linear", "w", w!, [undefined, x!.shape[1]], "[N, K]", dtype);
    if (bias) need("linear", "bias", bias, [w!.shape[0]], "[N]", dtype);
    const y = { shape: [x!.shape[0]!, w!.shape[0]!], dtype };
    return keepsPreActivation(params.activation) ? [y, y] : [y];
  },
  reference: linearReference,
  decompose,
  vjp: ({ inputs, outputs, params, cotangents, needed }) => {
    const { x, w } = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    const { activation } = params;
    const [dy, dzDirect] = cotangents;
    let dz = dy;
    if (dy && activation !== "none") {
      const at = outputs[keepsPreActivation(activation) ? 1 : 0]!;
      dz = cast(mul(widened(dy), slope[activation](widened(at))), dy.dtype);
    }
    if (dzDirect) dz = dz ? add(dz, dzDirect) : dzDirect;
    if (isHalf(x!.dtype)) {
      const bias = want.bias ?? false;
      const [dw, db] = want.w || bias ? linearWeightGradOp([dz!, x!], { bias }) : [];
      return inOrder(params.inputs, {
        ...(want.x ? { x: matmul(dz!, w!) } : {}),
        ...(want.w ? { w: dw! } : {}),
        ...(bias ? { bias: db! } : {}),
      });
    }
    return inOrder(params.inputs, {
      ...(want.x ? { x: matmul(dz!, w!) } : {}),
      ...(want.w ? { w: matmul(transpose(dz!), x!) } : {}),
      ...(want.bias ? { bias: sum(dz!, 0) } : {}),
    });
  },
  batch: ({ inputs, mapped, params, size, apply: call }) => {
    const names = named(params.inputs, mapped);
    // Weights of its own: a product for each example; in half precision one product over all, which spares a GPU launches.
    if ((names.w || names.bias) && !isHalf(inputs[0]!.dtype)) return undefined;
    if (names.w || names.bias) return eachWithItsWeight(inputs, mapped, params, size);
    // One shared weight: the new axis is more rows.
    const x = named(params.inputs, inputs).x!;
    const flat = reshape(x, [x.shape[0]! * x.shape[1]!, x.shape[2]!]);
    return call(inputs.map((t) => (t === x ? flat : t))).map((y) =>
      reshape(y, [x.shape[0]!, x.shape[1]!, y.shape[1]!]),
    );
  },
  cost: (inputs, outputs, params) => {
    const { x, w } = named(params.inputs, inputs);
    return { flops: 2 * sizeOf(x!.shape) * w!.shape[0]!, bytes: bytesMoved(inputs, outputs) };
  },
});

/** Examples with weights of their own as one product over an axis in front. */
function eachWithItsWeight(
  inputs: readonly Tensor[],
  mapped: readonly boolean[],
  params: LinearParams,
  size: number,
): Tensor[] {
  const all = inputs.map((t, i) => (mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape])));
  const { x, w, bias } = named(params.inputs, all);
  const product = matmul(x!, transpose(w!));
  if (!bias && params.activation === "none") return [product];
  const wide = widened(product);
  const z = bias ? add(wide, unsqueeze(widened(bias), 1)) : wide;
  const { dtype } = product;
  const y = cast(apply[params.activation](z), dtype);
  return keepsPreActivation(params.activation) ? [y, cast(z, dtype)] : [y];
}

export interface LinearWeightGradParams {
  /** Whether the gradient of the bias is an output. */
  readonly bias: boolean;
}

/**
 * `(dz [M, N], x [M, K]) -> (dw [N, K], dbias? [N])` of half-precision layers: sums over M in f32, and f32 results. With an axis in front of
 * all, layers side by side.
 */
export const linearWeightGradOp: Op<LinearWeightGradParams> = defineOp<LinearWeightGradParams>({
  name: "linear-weight-grad",
  shape: ([dz, x], { bias }) => {
    const dtype = needFloat("linear-weight-grad", "dz", dz!);
    const several = dz!.shape.length === 3;
    const layers = several ? [dz!.shape[0]!] : [];
    need(
      "linear-weight-grad",
      "dz",
      dz!,
      [...layers, undefined, undefined],
      several ? "[G, M, N]" : "[M, N]",
    );
    const rows = dz!.shape.at(-2)!;
    need(
      "linear-weight-grad",
      "x",
      x!,
      [...layers, rows, undefined],
      several ? "[G, M, K]" : "[M, K]",
      dtype,
    );
    const [n, k] = [dz!.shape.at(-1)!, x!.shape.at(-1)!];
    const wide = wideDtype(dtype);
    const types = [{ shape: [...layers, n, k], dtype: wide }];
    return bias ? [...types, { shape: [...layers, n], dtype: wide }] : types;
  },
  reference: linearWeightGradReference,
  decompose: weightGradients,
  vjp: (context) => gradientsThrough(weightGradients, context),
  batch: ({ inputs, mapped, size, apply: call }) => {
    const several = inputs[0]!.rank - (mapped[0] ? 1 : 0) === 3;
    const all = inputs.map((t, i) => (mapped[i] ? t : broadcastTo(unsqueeze(t, 0), [size, ...t.shape])));
    if (!several) return call(all);
    const folded = call(all.map((t) => reshape(t, [size * t.shape[1]!, ...t.shape.slice(2)])));
    return folded.map((t) => reshape(t, [size, t.shape[0]! / size, ...t.shape.slice(1)]));
  },
  cost: (inputs, outputs) => ({
    flops: 2 * sizeOf(inputs[0]!.shape) * inputs[1]!.shape.at(-1)!,
    bytes: bytesMoved(inputs, outputs),
  }),
});

function weightGradients([dz, x]: readonly Tensor[], { bias }: LinearWeightGradParams): Tensor[] {
  const wide = widened(dz!);
  return [matmul(transpose(wide), widened(x!)), ...(bias ? [sum(wide, -2)] : [])];
}

export interface LinearOptions {
  /** Applied to the result. Default `none`. */
  readonly activation?: Activation;
}

/**
 * `activation(x w^T + bias)`.
 * @param x `[..., K]`
 * @param w `[N, K]`, torch's layout
 * @param bias `[N]`
 * @returns `[..., N]` in the promoted dtype of `x` and `w`; half precision is stored only.
 */
export function linear(x: Tensor, w: Tensor, bias?: Tensor, options: LinearOptions = {}): Tensor {
  checkOptions("linear", options, ["activation"]);
  const activation = options.activation ?? "none";
  if (!ACTIVATIONS.includes(activation)) {
    throw new ConfigError("linear", "unknown activation", {
      expected: ACTIVATIONS.join(", "),
      got: String(activation),
    });
  }
  const k = x.shape[x.rank - 1];
  if (x.rank === 0 || w.rank !== 2 || w.shape[1] !== k) {
    const hint = w.rank === 2 && w.shape[0] === k ? "The weight is [N, K]: transpose it." : undefined;
    throw new ShapeError("linear", "x and w do not fit", {
      expected: "x [..., K] and w [N, K]",
      got: `${show(x.shape)} and ${show(w.shape)}`,
      ...(hint ? { hint } : {}),
    });
  }
  const wide = promote(x.dtype, w.dtype);
  const rows = (t: Tensor): Tensor => reshape(t, [sizeOf(t.shape.slice(0, -1)), k!]);
  const half = isMixed() && wide !== "f64" ? { x: rows(narrowed(x)), w: narrowed(w) } : undefined;
  const { names, tensors } = half
    ? present({ ...half, bias: bias && narrowed(bias) })
    : inOneDtype({ x: rows(x), w, bias });
  const dtype = half ? half.x.dtype : wide;
  const y = linearOp(tensors, { activation, inputs: names })[0]!;
  return cast(reshape(y, [...x.shape.slice(0, -1), w.shape[0]!]), dtype);
}
