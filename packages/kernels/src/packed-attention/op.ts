// Attention straight from a joint projection of queries, keys and values, with their rotation: one call forward and one backward, where the
// separate ops would move the same values five times over (cut, turned, attended to, turned back, joined).

import {
  cast,
  checkOptions,
  concat,
  defineOp,
  mul,
  narrow,
  permute,
  reshape,
  ShapeError,
  show,
  sizeOf,
  sum,
  unsqueeze,
  zerosLike,
  type BatchContext,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { attentionGradOp, attentionOp, visiblePairs } from "../attention/op.ts";
import { foldIntoBatch } from "../batch-rows.ts";
import { bytesMoved } from "../cost.ts";
import { inOrder, named, need, needFloat, present, wideDtype, widened } from "../inputs.ts";
import { rotary, rotaryOp } from "../rotary/op.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { packedAttentionGradReference, packedAttentionReference } from "./reference.ts";

export type PackedAttentionInput = "qkv" | "cos" | "sin";
export type PackedAttentionGradInput = PackedAttentionInput | "y" | "dy" | "lse";

export interface PackedAttentionSettings {
  /** Keys before and after a query's own position that it sees; -1: all. */
  readonly left: number;
  readonly right: number;
  /** Factor of the scores. */
  readonly scale: number;
  /** Pairs that turn are neighbours instead of halves. */
  readonly interleaved: boolean;
}
export interface PackedAttentionParams extends PackedAttentionSettings {
  readonly inputs: readonly PackedAttentionInput[];
}
export interface PackedAttentionGradParams extends PackedAttentionSettings {
  readonly inputs: readonly PackedAttentionGradInput[];
}

function check(op: string, types: Readonly<Record<string, TensorType | undefined>>): void {
  const qkv = types["qkv"]!;
  const dtype = needFloat(op, "qkv", qkv);
  const wide = wideDtype(dtype);
  need(op, "qkv", qkv, [undefined, undefined, 3, undefined, undefined], "[B, T, 3, H, K]");
  const [batch, time, , heads, size] = qkv.shape as [number, number, number, number, number];
  const { cos, sin, y, dy, lse } = types;
  if (cos) {
    need(op, "cos", cos, [time, undefined], "[T, R/2]", wide);
    need(op, "sin", sin!, cos.shape, "shape of cos", wide);
    if (2 * cos.shape[1]! > size) {
      throw new ShapeError(op, "more rotary features than the head has", {
        expected: `at most ${size}`,
        got: `${2 * cos.shape[1]!} (tables ${show(cos.shape)})`,
      });
    }
  }
  for (const t of [y, dy]) if (t) need(op, "y or dy", t, [batch, time, heads, size], "[B, T, H, K]", dtype);
  if (lse) need(op, "lse", lse, [batch, heads, time], "[B, H, T]", wide);
}

type Parts = readonly [Tensor, Tensor, Tensor];

function cut(qkv: Tensor): Parts {
  const [batch, time, , heads, size] = qkv.shape as [number, number, number, number, number];
  const part = (i: number): Tensor => reshape(narrow(qkv, 2, i, i + 1), [batch, time, heads, size]);
  return [part(0), part(1), part(2)];
}

function decompose(inputs: readonly Tensor[], params: PackedAttentionParams): Tensor[] {
  const { qkv, cos, sin } = named(params.inputs, inputs);
  const { left, right, scale, interleaved } = params;
  const [q, k, v] = cut(qkv!);
  const turned = (t: Tensor): Tensor => (cos ? rotary(t, cos, sin!, { interleaved }) : t);
  return attentionOp([turned(q), turned(k), v], {
    left,
    right,
    scale,
    softCap: 0,
    inputs: ["q", "k", "v"],
  });
}

function decomposeGrad(inputs: readonly Tensor[], params: PackedAttentionGradParams): Tensor[] {
  const { qkv, cos, sin, y, dy, lse } = named(params.inputs, inputs);
  const { left, right, scale, interleaved } = params;
  const [q, k, v] = cut(qkv!);
  const turned = (t: Tensor): Tensor => (cos ? rotary(t, cos, sin!, { interleaved }) : t);
  const back = (t: Tensor): Tensor =>
    cos ? cast(rotaryOp([widened(t), cos, sin!], { interleaved, inverse: true })[0]!, t.dtype) : t;
  const delta = permute(sum(mul(widened(dy!), widened(y!)), -1), [0, 2, 1]);
  const [dq, dk, dv] = attentionGradOp([turned(q), turned(k), v, dy!, lse!, delta], {
    left,
    right,
    scale,
    softCap: 0,
    inputs: ["q", "k", "v", "dy", "lse", "delta"],
  }) as [Tensor, Tensor, Tensor];
  return [
    concat(
      [back(dq), back(dk), dv].map((t) => unsqueeze(t, 2)),
      2,
    ),
  ];
}

/** `(qkv [B, T, 3, H, K], cos?, sin? [T, R/2]) -> (y [B, T, H, K], log-sum-exp [B, H, T])`; qkv and y may be half, all else is f32 then. */
export const packedAttentionOp: Op<PackedAttentionParams> = defineOp<PackedAttentionParams>({
  name: "packed-attention",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check("packed-attention", types);
    const [batch, time, , heads, size] = types.qkv!.shape as [number, number, number, number, number];
    const { dtype } = types.qkv!;
    return [
      { shape: [batch, time, heads, size], dtype },
      { shape: [batch, heads, time], dtype: wideDtype(dtype) },
    ];
  },
  reference: packedAttentionReference,
  decompose,
  vjp: (context) => {
    const { inputs, outputs, params, cotangents, needed } = context;
    const t = named(params.inputs, inputs);
    const want = named(params.inputs, needed);
    // The log-sum-exp is an output for the gradient's sake.
    if (cotangents[1] || want.cos || want.sin) return gradientsThrough(decompose, context);
    const [y, lse] = outputs as [Tensor, Tensor];
    const { names, tensors } = present({ ...t, y, dy: cotangents[0] ?? zerosLike(y), lse });
    const [qkv] = packedAttentionGradOp(tensors, { ...params, inputs: names });
    return inOrder(params.inputs, { qkv: qkv! });
  },
  batch: (context) => foldBatch(context),
  cost: (inputs, outputs, params) => ({
    flops: flops(inputs[0]!, params),
    bytes: bytesMoved(inputs, outputs),
  }),
});

/** `(qkv, cos?, sin?, y, dy, lse) -> dqkv`. */
export const packedAttentionGradOp: Op<PackedAttentionGradParams> = defineOp<PackedAttentionGradParams>({
  name: "packed-attention-grad",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check("packed-attention-grad", types);
    return [types.qkv!];
  },
  reference: packedAttentionGradReference,
  decompose: decomposeGrad,
  vjp: (context) => gradientsThrough(decomposeGrad, context),
  batch: (context) => foldBatch(context),
  cost: (inputs, outputs, params) => ({
    flops: 2.5 * flops(inputs[0]!, params),
    bytes: bytesMoved(inputs, outputs),
  }),
});

function flops({ shape }: TensorType, params: PackedAttentionSettings): number {
  const [batch, time, , heads, size] = shape as [number, number, number, number, number];
  return 4 * batch * heads * size * visiblePairs(time, time, params) + 4 * sizeOf(shape);
}

/** The mapped axis joins the batch; tables of its own run once per example. */
const foldBatch = <P extends { readonly inputs: readonly string[] }>(
  context: BatchContext<P>,
): Tensor[] | undefined =>
  foldIntoBatch(
    context,
    context.params.inputs.map((name) => name === "cos" || name === "sin"),
  );

export interface PackedAttentionOptions {
  /** Query i sees no key after its own position. Default false. */
  readonly causal?: boolean;
  /** `[left, right]`: how many keys before and after its own position a query sees; -1: no limit (default). */
  readonly window?: readonly [number, number];
  /** Factor of the scores; default 1 / sqrt(K). */
  readonly scale?: number;
  /** Cosines and sines `[T, R/2]` by which leading features of queries and keys turn. Default: none turn. */
  readonly tables?: { readonly cos: Tensor; readonly sin: Tensor } | undefined;
  /** Pairs that turn are neighbours instead of halves. Default false. */
  readonly interleaved?: boolean;
}

/**
 * Self-attention of `qkv` `[B, T, 3, H, K]`: queries, keys and values side by side.
 * @returns `[B, T, H, K]` in the dtype of `qkv`; half precision is multiplied as it is, sums are f32.
 */
export function packedAttention(qkv: Tensor, options: PackedAttentionOptions = {}): Tensor {
  checkOptions("packedAttention", options, ["causal", "window", "scale", "tables", "interleaved"]);
  const [left, right] = options.window ?? [-1, -1];
  const wide = wideDtype(qkv.dtype);
  const { cos, sin } = options.tables ?? {};
  const { names, tensors } = present({ qkv, cos: cos && cast(cos, wide), sin: sin && cast(sin, wide) });
  const [y] = packedAttentionOp(tensors, {
    left,
    right: options.causal ? (right < 0 ? 0 : Math.min(right, 0)) : right,
    scale: options.scale ?? 1 / Math.sqrt(qkv.shape[4] ?? 1),
    interleaved: options.interleaved ?? false,
    inputs: names,
  });
  return y!;
}
