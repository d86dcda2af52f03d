// Gradient rule of every primitive, made of primitives, so gradients differentiate again.

import { isFloat } from "../dtype.ts";
import type { Primitive } from "../primitives.ts";
import { record } from "../record.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { iota, onesLike, zeros, zerosLike } from "../ops/creation.ts";
import {
  and,
  cast,
  clamp,
  div,
  equal,
  greaterEqual,
  less,
  lessEqual,
  mul,
  where,
} from "../ops/elementwise.ts";
import {
  broadcastTo,
  concat,
  flip,
  narrow,
  pad,
  permute,
  reshape,
  transpose,
  unsqueeze,
} from "../ops/movement.ts";
import { cumprod, cummax, cummin, cumsum, sum } from "../ops/reduction.ts";
import { scatterAdd, scatterSet, takeAlong } from "../ops/indexing.ts";
import { matmul } from "../ops/linalg.ts";
import { fusedRule, recomputeRule, scanRule } from "./vjp-control.ts";
import { binaryRules, none, unaryRules } from "./vjp-elementwise.ts";
import type { Rule } from "./vjp-rule.ts";

/** Puts the removed axes back with size 1. */
const keepDims = (t: Tensor, shape: readonly number[], axes: readonly number[]): Tensor =>
  reshape(
    t,
    shape.map((n, i) => (axes.includes(i) ? 1 : n)),
  );

/** The product of all other elements along the last axis. */
function othersProduct(x: Tensor): Tensor {
  const n = x.shape[x.rank - 1]!;
  if (n === 0) return x;
  const one = onesLike(narrow(x, -1, 0, 1));
  const before = concat([one, narrow(cumprod(x), -1, 0, n - 1)], -1);
  const behind = concat([narrow(cumprod(x, -1, { reverse: true }), -1, 1, n), one], -1);
  return mul(before, behind);
}

/** d cumprod: the Jacobian is formed, so zeros in x are exact. Quadratic in the axis. */
function cumprodGradient(x: Tensor, g: Tensor, axis: number, reverse: boolean): Tensor {
  const move = (t: Tensor): Tensor => transpose(t, axis, -1);
  const [xs, gs] = [move(x), move(g)];
  const n = xs.shape[xs.rank - 1]!;
  const grid = [...xs.shape.slice(0, -1), n, n];
  // row i: x with its i-th element replaced by 1, running product, kept from i on.
  const own = equal(iota(grid, xs.rank - 1, { device: x.device }), iota(grid, xs.rank, { device: x.device }));
  const rows = where(own, 1, broadcastTo(unsqueeze(xs, -2), grid));
  const products = cumprod(rows, -1, { reverse });
  const [i, j] = [iota(grid, xs.rank - 1, { device: x.device }), iota(grid, xs.rank, { device: x.device })];
  const reaches = reverse ? lessEqual(j, i) : greaterEqual(j, i);
  return move(sum(mul(where(reaches, products, 0), unsqueeze(gs, -2)), -1));
}

/** Spreads elements `step` apart with zeros between, along one axis. */
function dilate(t: Tensor, axis: number, step: number): Tensor {
  if (step === 1 || t.shape[axis] === 0) return t;
  const n = t.shape[axis]!;
  const wide = unsqueeze(t, axis + 1);
  const gap = wide.shape.map((_, i) => (i === axis + 1 ? ([0, step - 1] as const) : ([0, 0] as const)));
  const merged = reshape(
    pad(wide, gap),
    t.shape.map((m, i) => (i === axis ? n * step : m)),
  );
  return narrow(merged, axis, 0, (n - 1) * step + 1);
}

/** Along `axis`: true where the index is inside the axis. */
const inside = (indices: Tensor, n: number): Tensor => and(greaterEqual(indices, 0), less(indices, n));

export const vjpRules: { readonly [P in Primitive]: Rule<P> } = {
  data: none,
  full: none,
  iota: none,
  constant: none,
  compare: none,
  argReduce: none,
  randomBits: none,
  unary: ({ inputs, outputs, params, cotangents }) => [
    unaryRules[params.fn](inputs[0]!, outputs[0]!, cotangents[0]!),
  ],
  binary: ({ inputs, outputs, params, cotangents, needed }) =>
    binaryRules[params.fn](inputs[0]!, inputs[1]!, outputs[0]!, cotangents[0]!, needed),
  select: ({ inputs, cotangents: [g] }) => [undefined, where(inputs[0]!, g!, 0), where(inputs[0]!, 0, g!)],
  cast: ({ inputs, cotangents: [g] }) => [isFloat(inputs[0]!.dtype) ? cast(g!, inputs[0]!.dtype) : undefined],
  reshape: ({ inputs, cotangents: [g] }) => [reshape(g!, inputs[0]!.shape)],
  permute: ({ params, cotangents: [g] }) => [
    permute(
      g!,
      params.order.map((_, i) => params.order.indexOf(i)),
    ),
  ],
  expand: ({ inputs, params, cotangents: [g] }) => {
    const axes = params.shape.map((_, i) => i).filter((i) => inputs[0]!.shape[i] !== params.shape[i]);
    return [sum(g!, axes, { keepDims: true })];
  },
  slice: ({ inputs, params, cotangents: [g] }) => {
    const { starts, sizes, steps } = params;
    if (sizeOf(sizes) === 0) return [zerosLike(inputs[0]!)];
    let t = g!;
    const widths = inputs[0]!.shape.map((n, i) => {
      const [s, m, step] = [starts[i]!, sizes[i]!, steps[i]!];
      if (step < 0) t = flip(t, i);
      t = dilate(t, i, Math.abs(step));
      const first = step < 0 ? s + (m - 1) * step : s;
      return [first, n - first - t.shape[i]!] as const;
    });
    return [pad(t, widths)];
  },
  pad: ({ inputs, params, cotangents: [g] }) => {
    const { before } = params;
    return [inputs[0]!.shape.reduce((t, n, i) => narrow(t, i, before[i]!, before[i]! + n), g!)];
  },
  concat: ({ inputs, params, cotangents: [g], needed }) => {
    let at = 0;
    return inputs.map((t, i) => {
      const from = at;
      at += t.shape[params.axis]!;
      return needed[i] ? narrow(g!, params.axis, from, at) : undefined;
    });
  },
  reduce: ({ inputs, outputs, params, cotangents: [g] }) => {
    const [x] = inputs as [Tensor];
    const { axes, fn } = params;
    const spread = (t: Tensor): Tensor => broadcastTo(keepDims(t, x.shape, axes), x.shape);
    if (fn === "sum") return [spread(g!)];
    if (fn === "prod") {
      const kept = x.shape.map((_, i) => i).filter((i) => !axes.includes(i));
      const order = [...kept, ...axes];
      const flat = reshape(permute(x, order), [
        ...kept.map((i) => x.shape[i]!),
        sizeOf(axes.map((a) => x.shape[a]!)),
      ]);
      const others = reshape(
        othersProduct(flat),
        order.map((i) => x.shape[i]!),
      );
      return [
        mul(
          spread(g!),
          permute(
            others,
            order.map((_, i) => order.indexOf(i)),
          ),
        ),
      ];
    }
    const hit = cast(equal(x, spread(outputs[0]!)), x.dtype);
    return [mul(hit, spread(div(g!, sum(hit, axes))))];
  },
  cumulative: ({ inputs, outputs, params, cotangents: [g] }) => {
    const [x] = inputs as [Tensor];
    const { axis, fn, reverse } = params;
    if (fn === "sum") return [cumsum(g!, axis, { reverse: !reverse })];
    if (fn === "prod") return [cumprodGradient(x, g!, axis, reverse)];
    // The running extreme at j was set at the latest position that holds it.
    const n = x.shape[axis]!;
    const at = iota(x.shape, axis, { device: x.device });
    const sets = equal(x, outputs[0]!);
    const from = reverse
      ? cummin(where(sets, at, n - 1), axis, { reverse })
      : cummax(where(sets, at, 0), axis, { reverse });
    return [scatterAdd(zerosLike(x), from, g!, axis)];
  },
  sort: ({ inputs, outputs, params, cotangents: [g] }) => [
    g ? scatterAdd(zerosLike(inputs[0]!), outputs[1]!, g, params.axis) : undefined,
  ],
  gather: ({ inputs, params, cotangents: [g] }) => {
    const [x, indices] = inputs as [Tensor, Tensor];
    return [scatterAdd(zerosLike(x), clamp(indices, 0, x.shape[params.axis]! - 1), g!, params.axis)];
  },
  scatter: ({ inputs, params, cotangents: [g], needed }) => {
    const [base, indices, updates] = inputs as [Tensor, Tensor, Tensor];
    const { axis, mode } = params;
    const n = base.shape[axis]!;
    const picked = (): Tensor => where(inside(indices, n), takeAlong(g!, indices, axis), 0);
    if (mode === "add") return [g, undefined, needed[2] ? picked() : undefined];
    const cleared = (): Tensor => scatterSet(g!, indices, zerosLike(updates), axis);
    // Of several updates to one place only the last arrived.
    const order = iota(indices.shape, axis, { device: base.device });
    const winner = scatterSet(zeros(base.shape, { dtype: "i32", device: base.device }), indices, order, axis);
    const arrived = (): Tensor => where(equal(takeAlong(winner, indices, axis), order), picked(), 0);
    return [needed[0] ? cleared() : undefined, undefined, needed[2] ? arrived() : undefined];
  },
  matmul: ({ inputs, cotangents: [g], needed }) => {
    const [a, b] = inputs as [Tensor, Tensor];
    return [
      needed[0] ? matmul(g!, transpose(b)) : undefined,
      needed[1] ? matmul(transpose(a), g!) : undefined,
    ];
  },
  fft: ({ inputs, params, cotangents }) => {
    // The transform's matrix F is symmetric: the adjoint is conj(F), the other direction, unscaled.
    const [gr, gi] = cotangents.map((g) => g ?? zerosLike(inputs[0]!));
    return record("fft", { inverse: !params.inverse }, [gr!, gi!]);
  },
  barrier: ({ params, cotangents: [g] }) => [params.gradient === "pass" ? g : undefined],
  recompute: recomputeRule,
  scan: scanRule,
  fused: fusedRule,
};
