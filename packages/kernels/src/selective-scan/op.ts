// The selective state-space recurrence of Mamba (Gu & Dao 2023, section 3): diagonal, with input-dependent steps, input and
// output vectors.

import {
  ShapeError,
  add,
  cast,
  checkOptions,
  concat,
  defineOp,
  exp,
  gradients,
  mul,
  narrow,
  permute,
  reshape,
  scan,
  silu,
  sizeOf,
  slice,
  softplus,
  sum,
  unsqueeze,
  zeros,
  zerosLike,
  after,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { inOrder, named, need, needCompute, computeDtype, present } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { selectiveScanGradReference, selectiveScanReference } from "./reference.ts";

export type SelectiveScanInput = "u" | "delta" | "a" | "b" | "c" | "initial";
export interface SelectiveScanParams {
  readonly inputs: readonly SelectiveScanInput[];
}
export type SelectiveScanGradInput = SelectiveScanInput | "dy" | "dlast";
export interface SelectiveScanGradParams {
  readonly inputs: readonly SelectiveScanGradInput[];
}

function check(op: string, types: Readonly<Record<string, TensorType | undefined>>): void {
  const { u, delta, a, b, c, initial, dy, dlast } = types as Record<SelectiveScanGradInput, TensorType> & {
    initial?: TensorType;
    dy?: TensorType;
    dlast?: TensorType;
  };
  const dtype = needCompute(op, "u", u);
  need(op, "u", u, [undefined, undefined, undefined], "[B, T, D]");
  const [batch, time, channels] = u.shape as [number, number, number];
  need(op, "delta", delta, u.shape, "[B, T, D]", dtype);
  need(op, "a", a, [channels, undefined], "[D, N]", dtype);
  const states = a.shape[1]!;
  need(op, "b", b, [batch, time, states], "[B, T, N]", dtype);
  need(op, "c", c, [batch, time, states], "[B, T, N]", dtype);
  if (initial) need(op, "initial", initial, [batch, channels, states], "[B, D, N]", dtype);
  if (dy) need(op, "dy", dy, u.shape, "[B, T, D]", dtype);
  if (dlast) need(op, "dlast", dlast, [batch, channels, states], "[B, D, N]", dtype);
}

const timeFirst = (t: Tensor): Tensor => permute(t, [1, 0, ...t.shape.slice(2).map((_, i) => i + 2)]);

function decompose(inputs: readonly Tensor[], params: SelectiveScanParams): Tensor[] {
  const { u, delta, a, b, c, initial } = named(params.inputs, inputs);
  const [batch, , channels] = u!.shape as [number, number, number];
  const start = initial ?? zeros([batch, channels, a!.shape[1]!], { dtype: u!.dtype, device: u!.device });
  const [last, y] = scan(
    (h: Tensor, x: { u: Tensor; delta: Tensor; b: Tensor; c: Tensor }) => {
      const step = unsqueeze(x.delta, -1);
      const next = add(mul(exp(mul(step, a!)), h), mul(unsqueeze(mul(x.delta, x.u), -1), unsqueeze(x.b, 1)));
      return [next, sum(mul(next, unsqueeze(x.c, 1)), -1)] as const;
    },
    start,
    { u: timeFirst(u!), delta: timeFirst(delta!), b: timeFirst(b!), c: timeFirst(c!) },
  );
  return [timeFirst(y), last];
}

function decomposeGrad(inputs: readonly Tensor[], params: SelectiveScanGradParams): Tensor[] {
  const { dy, dlast, ...rest } = named(params.inputs, inputs);
  const { names, tensors } = present(rest);
  const fresh = tensors.map((t) => after(t, []));
  const [y, last] = decompose(fresh, { inputs: names });
  return gradients([y!, ...(dlast ? [last!] : [])], fresh, [dy!, ...(dlast ? [dlast] : [])]);
}

/** `(u, delta [B, T, D], a [D, N], b, c [B, T, N], initial? [B, D, N]) -> (y [B, T, D], last state [B, D, N])`. */
export const selectiveScanOp: Op<SelectiveScanParams> = defineOp<SelectiveScanParams>({
  name: "selective-scan",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check("selective-scan", types);
    const [batch, , channels] = types.u!.shape as [number, number, number];
    return [types.u!, { shape: [batch, channels, types.a!.shape[1]!], dtype: types.u!.dtype }];
  },
  reference: selectiveScanReference,
  decompose,
  vjp: ({ inputs, outputs, params, cotangents }) => {
    const t = named(params.inputs, inputs);
    const dy = cotangents[0] ?? zerosLike(outputs[0]!);
    const { names, tensors } = present({ ...t, dy, dlast: cotangents[1] });
    const [u, delta, a, b, c, initial] = selectiveScanGradOp(tensors, { inputs: names });
    return inOrder(params.inputs, {
      u: u!,
      delta: delta!,
      a: a!,
      b: b!,
      c: c!,
      ...(initial ? { initial } : {}),
    });
  },
  batch: ({ inputs, mapped, size, params, apply }) => {
    const parameter = params.inputs.indexOf("a");
    if (mapped[parameter] || mapped.some((m, i) => !m && i !== parameter)) return undefined;
    const folded = inputs.map((t, i) =>
      i === parameter ? t : reshape(t, [size * t.shape[1]!, ...t.shape.slice(2)]),
    );
    return apply(folded).map((y) => reshape(y, [size, y.shape[0]! / size, ...y.shape.slice(1)]));
  },
  cost: (inputs, outputs, params) => {
    const { u, a } = named(params.inputs, inputs);
    return { flops: 7 * sizeOf(u!.shape) * a!.shape[1]!, bytes: bytesMoved(inputs, outputs) };
  },
});

/** `(u, delta, a, b, c, initial?, dy, dlast?) -> (du, ddelta, da, db, dc, dinitial?)`. */
export const selectiveScanGradOp: Op<SelectiveScanGradParams> = defineOp<SelectiveScanGradParams>({
  name: "selective-scan-grad",
  shape: (inputs, params) => {
    const types = named(params.inputs, inputs);
    check("selective-scan-grad", types);
    const { u, delta, a, b, c, initial } = types;
    return [u!, delta!, a!, b!, c!, ...(initial ? [initial] : [])];
  },
  reference: selectiveScanGradReference,
  decompose: decomposeGrad,
  vjp: (context) => {
    const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? zerosLike(t));
    return gradientsThrough(decomposeGrad, { ...context, cotangents });
  },
  cost: (inputs, outputs, params) => {
    const { u, a } = named(params.inputs, inputs);
    return { flops: 20 * sizeOf(u!.shape) * a!.shape[1]!, bytes: bytesMoved(inputs, outputs) };
  },
});

export interface SelectiveScanOptions {
  /** `[D]`: weight of the input itself in the output. */
  readonly skip?: Tensor;
  /** `[B, T, D]`: the output is multiplied by `silu(z)`. */
  readonly gate?: Tensor;
  /** `[D]`, added to delta. */
  readonly deltaBias?: Tensor;
  /** Whether delta passes through a softplus. Default false. */
  readonly deltaSoftplus?: boolean;
  /** State before the first step, `[B, D, N]`; default zeros. */
  readonly initial?: Tensor;
}

/**
 * Mamba's recurrence: `h_t = exp(delta_t a) h_(t-1) + delta_t b_t u_t`, `y_t = c_t . h_t`, then skip and gate.
 * @param u `[B, T, D]`
 * @param delta `[B, T, D]`, step sizes
 * @param a `[D, N]`, negative for a stable recurrence
 * @param b `[B, T, N]`, or `[B, T, G, N]` with G dividing D: group g serves channels `g D / G` and on
 * @param c as `b`
 * @returns `y` `[B, T, D]` in the dtype of `u` and the last state `[B, D, N]`
 */
export function selectiveScan(
  u: Tensor,
  delta: Tensor,
  a: Tensor,
  b: Tensor,
  c: Tensor,
  options: SelectiveScanOptions = {},
): { y: Tensor; state: Tensor } {
  checkOptions("selectiveScan", options, ["skip", "gate", "deltaBias", "deltaSoftplus", "initial"]);
  const dtype = computeDtype([u, delta, a, b, c]);
  const wide = (t: Tensor): Tensor => cast(t, dtype);
  const x = wide(u);
  let step = wide(delta);
  if (options.deltaBias) step = add(step, wide(options.deltaBias));
  if (options.deltaSoftplus) step = softplus(step);
  const initial = options.initial && wide(options.initial);
  const groups = b.rank === 4 ? b.shape[2]! : 1;
  const channels = u.shape[2]!;
  if (groups === 0 || channels % groups !== 0) {
    throw new ShapeError("selectiveScan", "groups do not divide the channels", {
      got: `${groups} groups, ${channels} channels`,
    });
  }
  const size = channels / groups;
  const runs = Array.from({ length: groups }, (_, g) => {
    const own = (t: Tensor, axis: number): Tensor =>
      groups === 1 ? t : narrow(t, axis, g * size, (g + 1) * size);
    const ofGroup = (t: Tensor): Tensor => (t.rank === 4 ? slice(t, [null, null, g]) : t);
    const { names, tensors } = present({
      u: own(x, 2),
      delta: own(step, 2),
      a: own(wide(a), 0),
      b: ofGroup(wide(b)),
      c: ofGroup(wide(c)),
      initial: initial && own(initial, 1),
    });
    return selectiveScanOp(tensors, { inputs: names }) as [Tensor, Tensor];
  });
  let y = concat(
    runs.map((r) => r[0]),
    2,
  );
  const state = concat(
    runs.map((r) => r[1]),
    1,
  );
  if (options.skip) y = add(y, mul(x, wide(options.skip)));
  if (options.gate) y = mul(y, silu(wide(options.gate)));
  return { y: cast(y, u.dtype), state };
}
