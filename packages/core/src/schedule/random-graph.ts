// Random graphs of tensors: for fuzzing the scheduler here, and devices elsewhere.

import type { Device } from "../device.ts";
import type { DType } from "../dtype.ts";
import { recompute, scan, stopGradient } from "../ops/control.ts";
import { iota, tensor } from "../ops/creation.ts";
import { add, cast, less, maximum, mul, neg, sigmoid, sin, sub, tanh, where } from "../ops/elementwise.ts";
import { scatterAdd, takeAlong } from "../ops/indexing.ts";
import { matmul } from "../ops/linalg.ts";
import { broadcastTo, concat, flip, pad, permute, reshape, slice } from "../ops/movement.ts";
import { argmax, cumsum, max, mean, sort, sum } from "../ops/reduction.ts";
import { sizeOf } from "../shape.ts";
import type { Tensor } from "../tensor.ts";

/** Numbers for graphs and inputs, as `Random` of @everlong/testing gives them. */
export interface Source {
  uniform(): number;
  normals(count: number): Float64Array;
}

/** Ways to make a tensor from earlier ones; values stay of order one. */
const SMOOTH: readonly ((pick: () => Tensor, r: Source) => Tensor)[] = [
  (pick) => sin(pick()),
  (pick) => mul(sigmoid(pick()), 1.5),
  (pick) => neg(tanh(pick())),
  (pick) => stopGradient(pick()),
  (pick) => {
    const x = pick();
    return add(x, sum(x));
  },
  (pick) => {
    const [x, y] = [pick(), pick()];
    return add(x, mul(mean(y), 0.5));
  },
  (pick) => {
    const x = pick();
    return mul(x, flip(x, x.rank - 1));
  },
  (pick) => {
    const x = pick();
    return permute(x, x.shape.map((_, i) => i).reverse());
  },
  (pick) => reshape(pick(), [-1]),
  (pick) => {
    const x = reshape(pick(), [-1]);
    return slice(x, [{ start: 1, step: 2 }]);
  },
  (pick, r) => {
    const x = pick();
    const a = Math.floor(r.uniform() * x.rank);
    return pad(
      x,
      x.shape.map((_, i): [number, number] => (i === a ? [1, 2] : [0, 0])),
      0.25,
    );
  },
  (pick, r) => {
    const x = pick();
    const a = Math.floor(r.uniform() * x.rank);
    return concat([sin(x), x, neg(x)], a);
  },
  (pick, r) => {
    const x = pick();
    return sum(x, [Math.floor(r.uniform() * x.rank)], { keepDims: true });
  },
  (pick) => {
    const x = pick();
    return sub(x, max(x, -1, { keepDims: true }));
  },
  (pick) => cumsum(pick(), -1),
  (pick) => sort(pick()).values,
  (pick) => {
    const x = reshape(pick(), [-1]);
    const y = broadcastTo(reshape(x, [1, -1]), [3, x.size]);
    return tanh(matmul(y, reshape(x, [-1, 1])));
  },
  (pick) => recompute((x: Tensor) => mul(sin(x), tanh(x)))(pick()),
  (pick) => {
    const x = pick();
    const [last, all] = scan(
      (c: Tensor, v: Tensor) => [tanh(add(c, mean(v))), mul(c, v)] as const,
      mean(x),
      x,
    );
    return add(all, last);
  },
];

/** The ones whose values jump: for comparisons bit by bit only. */
const JUMPING: typeof SMOOTH = [
  (pick) => {
    const x = pick();
    return where(less(x, iota(x.shape, x.rank - 1, { dtype: x.dtype, device: x.device })), x, sin(x));
  },
  (pick) => {
    const x = pick();
    const at = broadcastTo(reshape(argmax(x, -1), [...x.shape.slice(0, -1), 1]), x.shape);
    return scatterAdd(x, at, takeAlong(x, at));
  },
  (pick) => {
    const [x, y] = [pick(), pick()];
    const a = reshape(x, [-1, 1]);
    const b = reshape(y, [1, -1]);
    return a.size * b.size > 400 ? maximum(x, 0.1) : maximum(a, b);
  },
  (pick) => {
    const x = pick();
    return cast(less(x, 0.3), x.dtype);
  },
];

export interface RandomGraph {
  readonly inputs: readonly Tensor[];
  readonly outputs: readonly Tensor[];
}

/** A random graph on a few inputs: its inputs and some of its values. Equal sources give equal graphs on any device. */
export function randomGraph(
  size: number,
  options: {
    readonly device: Device;
    readonly dtype: DType;
    readonly smooth: boolean;
    readonly source: Source;
  },
): RandomGraph {
  const moves = options.smooth ? SMOOTH : [...SMOOTH, ...JUMPING];
  const r = options.source;
  const shapes = [[2, 3], [4], [3, 1, 2], [1]];
  const inputs = shapes.map((shape) =>
    tensor(r.normals(sizeOf(shape)).map(Math.fround), shape, {
      device: options.device,
      dtype: options.dtype,
    }),
  );
  const all = [...inputs];
  const pick = (): Tensor => all[Math.max(0, all.length - 1 - Math.floor(r.uniform() ** 2 * all.length))]!;
  while (all.length < size) {
    const made = moves[Math.floor(r.uniform() * moves.length)]!(pick, r);
    if (made.size > 0 && made.size <= 400) all.push(made.rank === 0 ? reshape(made, [1]) : made);
  }
  return { inputs, outputs: [all[all.length - 1]!, pick(), pick()] };
}
