// Gradient rule of every primitive, made of primitives, so gradients differentiate again.

import { isFloat } from "../dtype.ts";
import { EverlongError } from "../errors.ts";
import { inline, type Graph } from "../graph.ts";
import type { BinaryFn, Examples, Primitive, PrimitiveParams, UnaryFn } from "../primitives.ts";
import { record } from "../record.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";
import { iota, onesLike, zeros, zerosLike } from "../ops/creation.ts";
import {
  add,
  and,
  cast,
  clamp,
  cos,
  div,
  equal,
  exp,
  floor,
  greaterEqual,
  less,
  lessEqual,
  log,
  mul,
  neg,
  pow,
  sign,
  sin,
  square,
  sub,
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
import { after, scan } from "../ops/control.ts";
import { vmap } from "../vmap.ts";

export interface VjpArgs<P extends Primitive> {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
  readonly params: PrimitiveParams[P];
  /** Cotangent per output; undefined where nothing depends on it. */
  readonly cotangents: readonly (Tensor | undefined)[];
  /** Whether input i leads to a wanted gradient. */
  readonly needed: readonly boolean[];
  /** Reverse mode itself, for rules with bodies. */
  readonly gradients: (
    outputs: readonly Tensor[],
    wrt: readonly Tensor[],
    seeds: readonly (Tensor | undefined)[],
  ) => (Tensor | undefined)[];
}

type Gradients = (Tensor | undefined)[];
type Rule<P extends Primitive> = (args: VjpArgs<P>) => Gradients;

const none = (): Gradients => [];

type UnaryRule = (x: Tensor, y: Tensor, g: Tensor) => Tensor | undefined;
const unaryRules: { readonly [F in UnaryFn]: UnaryRule } = {
  neg: (_x, _y, g) => neg(g),
  abs: (x, _y, g) => mul(g, sign(x)),
  sign: () => undefined,
  exp: (_x, y, g) => mul(g, y),
  expm1: (_x, y, g) => mul(g, add(y, 1)),
  log: (x, _y, g) => div(g, x),
  log1p: (x, _y, g) => div(g, add(x, 1)),
  sqrt: (_x, y, g) => div(mul(g, 0.5), y),
  rsqrt: (_x, y, g) => mul(mul(g, -0.5), mul(y, square(y))),
  reciprocal: (_x, y, g) => neg(mul(g, square(y))),
  sin: (x, _y, g) => mul(g, cos(x)),
  cos: (x, _y, g) => neg(mul(g, sin(x))),
  tanh: (_x, y, g) => mul(g, sub(1, square(y))),
  sigmoid: (_x, y, g) => mul(g, mul(y, sub(1, y))),
  erf: (x, _y, g) => mul(g, mul(exp(neg(square(x))), 2 / Math.sqrt(Math.PI))),
  floor: () => undefined,
  ceil: () => undefined,
  round: () => undefined,
  not: () => undefined,
};

type BinaryRule = (a: Tensor, b: Tensor, y: Tensor, g: Tensor, needed: readonly boolean[]) => Gradients;
/** Where operands tie, each gets half, as the limit of a smooth maximum does. */
const extreme =
  (fn: "max" | "min"): BinaryRule =>
  (a, b, _y, g) => {
    const wins = fn === "max" ? less(b, a) : less(a, b);
    const half = where(equal(a, b), mul(g, 0.5), 0);
    const loses = fn === "max" ? less(a, b) : less(b, a);
    return [add(where(wins, g, 0), half), add(where(loses, g, 0), half)];
  };
const binaryRules: { readonly [F in BinaryFn]: BinaryRule } = {
  add: (_a, _b, _y, g) => [g, g],
  sub: (_a, _b, _y, g, n) => [g, n[1] ? neg(g) : undefined],
  mul: (a, b, _y, g, n) => [n[0] ? mul(g, b) : undefined, n[1] ? mul(g, a) : undefined],
  div: (_a, b, y, g, n) => {
    const q = div(g, b);
    return [q, n[1] ? neg(mul(q, y)) : undefined];
  },
  mod: (a, b, _y, g, n) => [g, n[1] ? neg(mul(g, floor(div(a, b)))) : undefined],
  pow: (a, b, y, g, n) => [
    // x^0 has slope 0, also at x = 0.
    n[0] ? mul(g, where(equal(b, 0), 0, mul(b, pow(a, sub(b, 1))))) : undefined,
    n[1] ? mul(g, where(lessEqual(a, 0), 0, mul(y, log(where(lessEqual(a, 0), 1, a))))) : undefined,
  ],
  max: extreme("max"),
  min: extreme("min"),
  atan2: (a, b, _y, g, n) => {
    const r = add(square(a), square(b));
    return [n[0] ? mul(g, div(b, r)) : undefined, n[1] ? neg(mul(g, div(a, r))) : undefined];
  },
  and: none,
  or: none,
  xor: none,
  shl: none,
  shr: none,
};

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

const float = (t: Tensor): boolean => isFloat(t.dtype);

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
  cast: ({ inputs, cotangents: [g] }) => [float(inputs[0]!) ? cast(g!, inputs[0]!.dtype) : undefined],
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
  recompute: ({ inputs, params, cotangents, needed, gradients }) => {
    const later = cotangents.filter((g) => g !== undefined);
    const again = inputs.map((t) => after(t, later));
    const [args, captures] = splitBody(params.body, again);
    const results = inline(params.body, args, captures);
    const wanted = again.filter((_, i) => needed[i]);
    const found = gradients(results, wanted, cotangents);
    return spreadNeeded(needed, found);
  },
  scan: ({ inputs, outputs, params, cotangents, needed, gradients }) => {
    const { body, carries, sequences, reverse } = params;
    const ys = body.results.length - carries;
    const saved = outputs.slice(carries + ys);
    const xs = inputs.slice(carries, carries + sequences);
    const constants = inputs.slice(carries + sequences);
    const hasSlope = (t: Tensor): boolean => float(t);
    const seedOf = (t: Tensor, g: Tensor | undefined): Tensor | undefined =>
      hasSlope(t) ? (g ?? zerosLike(t)) : undefined;
    const carrySeeds = Array.from({ length: carries }, (_, i) => seedOf(outputs[i]!, cotangents[i]));
    const ySeeds = Array.from({ length: ys }, (_, i) =>
      seedOf(outputs[carries + i]!, cotangents[carries + i]),
    );
    // Second derivatives also reach the saved carries.
    const savedSeeds = saved.map((_, i) => cotangents[carries + ys + i] ?? null);
    const constantSlots = constants.map((t, i) =>
      needed[carries + sequences + i] && hasSlope(t) ? zerosLike(t) : null,
    );
    const [last, stacked] = scan(
      (
        [carryBar, constantBar]: readonly [readonly (Tensor | null)[], readonly (Tensor | null)[]],
        step: {
          saved: readonly Tensor[];
          xs: readonly Tensor[];
          ys: readonly (Tensor | null)[];
          savedBar: readonly (Tensor | null)[];
        },
      ) => {
        // Fresh handles: the gradient is with respect to this step's values.
        const args = [...step.saved, ...step.xs].map((t) => after(t, []));
        const own = constants.map((t) => after(t, []));
        const results = inline(body, args, own);
        const seeds = [...carryBar, ...step.ys].map((t) => t ?? undefined);
        const wrt = [...args, ...own];
        const found = gradients(results, wrt, seeds);
        const orZero = (t: Tensor | undefined, like: Tensor): Tensor => t ?? zerosLike(like);
        const nextCarry = args.slice(0, carries).map((t, i) => {
          if (!carrySeeds[i]) return null;
          const direct = orZero(found[i], t);
          return step.savedBar[i] ? add(direct, step.savedBar[i]) : direct;
        });
        const xBar = args.slice(carries).map((t, i) => (hasSlope(t) ? orZero(found[carries + i], t) : null));
        const nextConstant = own.map((t, i) => {
          const soFar = constantBar[i];
          return soFar ? add(soFar, orZero(found[carries + sequences + i], t)) : null;
        });
        return [[nextCarry, nextConstant] as const, xBar] as const;
      },
      [carrySeeds.map((t) => t ?? null), constantSlots] as const,
      { saved, xs, ys: ySeeds.map((t) => t ?? null), savedBar: savedSeeds },
      { reverse: !reverse },
    );
    return [
      ...last[0].map((t) => t ?? undefined),
      ...stacked.map((t) => t ?? undefined),
      ...last[1].map((t) => t ?? undefined),
    ];
  },
  fused: (args) => {
    const { inputs, outputs, params, cotangents, needed } = args;
    const { def, examples } = params;
    if (!def.vjp) {
      throw new EverlongError(def.name, "has no gradient", {
        hint: "Use the reference form made of primitives where a second derivative is needed.",
      });
    }
    if (examples) return gradientOfExamples(args, examples);
    return def.vjp({ inputs, outputs, params: params.params as never, cotangents, needed });
  },
};

/** The op's own gradient, mapped over its examples; what they share sums up. */
function gradientOfExamples(
  { inputs, outputs, params, cotangents, needed }: VjpArgs<"fused">,
  { mapped }: Examples,
): Gradients {
  const used = cotangents.flatMap((t, i) => (t ? [i] : []));
  const present: number[] = [];
  const run = vmap(
    (...given: readonly Tensor[]) => {
      const slots: (Tensor | undefined)[] = cotangents.map(() => undefined);
      used.forEach((i, n) => (slots[i] = given[inputs.length + outputs.length + n]));
      const found = params.def.vjp!({
        inputs: given.slice(0, inputs.length),
        outputs: given.slice(inputs.length, inputs.length + outputs.length),
        params: params.params as never,
        cotangents: slots,
        needed,
      });
      return found.flatMap((t, i) => {
        if (!t) return [];
        present.push(i);
        return [t];
      });
    },
    {
      inAxes: [...mapped.map((m) => (m ? 0 : null)), ...outputs.map(() => 0), ...used.map(() => 0)],
    },
  );
  const all = run(...inputs, ...outputs, ...used.map((i) => cotangents[i]!));
  const slopes: (Tensor | undefined)[] = inputs.map(() => undefined);
  present.forEach((i, n) => (slopes[i] = mapped[i] ? all[n]! : sum(all[n]!, 0)));
  return slopes;
}

function splitBody(body: Graph, inputs: readonly Tensor[]): [Tensor[], Tensor[]] {
  return [inputs.slice(0, body.params.length), inputs.slice(body.params.length)];
}

function spreadNeeded(needed: readonly boolean[], found: readonly (Tensor | undefined)[]): Gradients {
  let at = 0;
  return needed.map((n) => (n ? found[at++] : undefined));
}
