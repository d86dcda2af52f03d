// Shape and dtype rule of every primitive; also where wrong operands are refused.

import { DTYPES, isFloat, type DType } from "../dtype.ts";
import { DTypeError, ShapeError } from "../errors.ts";
import type { TensorType } from "../op.ts";
import type { Examples, Primitive, PrimitiveParams } from "../primitives.ts";
import { sameShape, show, sizeOf, type Shape } from "../shape.ts";

type Rule<P extends Primitive> = (inputs: readonly TensorType[], params: PrimitiveParams[P]) => TensorType[];

const INT_FNS = new Set(["and", "or", "xor", "shl", "shr"]);
const FLOAT_UNARY = new Set([
  "exp",
  "expm1",
  "log",
  "log1p",
  "sqrt",
  "rsqrt",
  "reciprocal",
  "sin",
  "cos",
  "tanh",
  "sigmoid",
  "erf",
]);

function needFloat(op: string, dtype: DType): void {
  if (!isFloat(dtype)) {
    throw new DTypeError(op, "needs a float tensor", { got: dtype, hint: 'Cast it first: x.cast("f32").' });
  }
}

function needInt(op: string, dtype: DType): void {
  if (isFloat(dtype)) throw new DTypeError(op, "needs an integer or bool tensor", { got: dtype });
}

function needSame(op: string, a: TensorType, b: TensorType): void {
  if (a.dtype !== b.dtype) {
    throw new DTypeError(op, "dtypes differ", { expected: a.dtype, got: b.dtype, hint: "Cast one of them." });
  }
  if (!sameShape(a.shape, b.shape)) {
    throw new ShapeError(op, "shapes differ", { expected: show(a.shape), got: show(b.shape) });
  }
}

/** Positions along an axis come out as i32. */
function needNumbered(op: string, size: number): void {
  if (size > 2 ** 31) {
    throw new ShapeError(op, "positions along the axis do not fit 32-bit integers", {
      expected: `at most ${2 ** 31} elements`,
      got: `${size}`,
    });
  }
}

const without = (shape: Shape, axes: readonly number[]): number[] =>
  shape.filter((_, i) => !axes.includes(i));
const replaced = (shape: Shape, axis: number, n: number): number[] =>
  shape.map((m, i) => (i === axis ? n : m));

function needOthersEqual(op: string, axis: number, a: Shape, b: Shape, what: string): void {
  if (a.length !== b.length || a.some((n, i) => i !== axis && n !== b[i])) {
    throw new ShapeError(op, `${what} must match outside axis ${axis}`, { expected: show(a), got: show(b) });
  }
}

export const shapeRules: { readonly [P in Primitive]: Rule<P> } = {
  data: () => {
    throw new DTypeError("data", "made from values, not recorded");
  },
  full: (_, { shape, dtype }) => [{ shape, dtype }],
  iota: (_, { shape, axis, dtype }) => {
    if (dtype === "i32") needNumbered("iota", shape[axis]!);
    return [{ shape, dtype }];
  },
  constant: (_, { shape, dtype }) => [{ shape, dtype }],
  unary: ([x], { fn }) => {
    if (FLOAT_UNARY.has(fn)) needFloat(fn, x!.dtype);
    if (fn === "not") needInt(fn, x!.dtype);
    if (x!.dtype === "bool" && fn !== "not") throw new DTypeError(fn, "needs numbers", { got: "bool" });
    return [x!];
  },
  binary: ([a, b], { fn }) => {
    needSame(fn, a!, b!);
    if (INT_FNS.has(fn)) needInt(fn, a!.dtype);
    else if (a!.dtype === "bool" && fn !== "max" && fn !== "min") {
      throw new DTypeError(fn, "needs numbers", { got: "bool", hint: 'Cast it first: x.cast("i32").' });
    }
    if (fn === "atan2") needFloat(fn, a!.dtype);
    return [a!];
  },
  compare: ([a, b], { fn }) => {
    needSame(fn, a!, b!);
    return [{ shape: a!.shape, dtype: "bool" }];
  },
  select: ([c, a, b]) => {
    if (c!.dtype !== "bool") throw new DTypeError("where", "needs a bool condition", { got: c!.dtype });
    needSame("where", a!, b!);
    if (!sameShape(c!.shape, a!.shape)) {
      throw new ShapeError("where", "condition has another shape", {
        expected: show(a!.shape),
        got: show(c!.shape),
      });
    }
    return [a!];
  },
  cast: ([x], { dtype }) => [{ shape: x!.shape, dtype }],
  reshape: ([x], { shape }) => {
    if (sizeOf(shape) !== sizeOf(x!.shape)) {
      throw new ShapeError("reshape", "sizes differ", {
        expected: `${sizeOf(x!.shape)} elements as in ${show(x!.shape)}`,
        got: `${sizeOf(shape)} in ${show(shape)}`,
      });
    }
    return [{ shape, dtype: x!.dtype }];
  },
  permute: ([x], { order }) => {
    const sorted = [...order].sort((a, b) => a - b);
    if (order.length !== x!.shape.length || sorted.some((a, i) => a !== i)) {
      throw new ShapeError("permute", "not an order of the axes", {
        expected: `a permutation of 0..${x!.shape.length - 1}`,
        got: show(order),
      });
    }
    return [{ shape: order.map((i) => x!.shape[i]!), dtype: x!.dtype }];
  },
  expand: ([x], { shape }) => {
    const ok = shape.length === x!.shape.length && x!.shape.every((n, i) => n === shape[i] || n === 1);
    if (!ok) {
      throw new ShapeError("broadcastTo", "cannot repeat to this shape", {
        expected: `sizes of ${show(x!.shape)}, or 1 where they grow`,
        got: show(shape),
      });
    }
    return [{ shape, dtype: x!.dtype }];
  },
  slice: ([x], { starts, sizes, steps }) => {
    x!.shape.forEach((n, i) => {
      if (sizes[i] === 0) return;
      const last = starts[i]! + (sizes[i]! - 1) * steps[i]!;
      if (steps[i] === 0 || starts[i]! < 0 || starts[i]! >= n || last < 0 || last >= n) {
        throw new ShapeError("slice", `leaves axis ${i}`, {
          expected: `indices in 0..${n - 1}`,
          got: `${starts[i]} to ${last} in steps of ${steps[i]}`,
        });
      }
    });
    return [{ shape: sizes, dtype: x!.dtype }];
  },
  pad: ([x], { before, after }) => {
    if ([...before, ...after].some((n) => !Number.isInteger(n) || n < 0)) {
      throw new ShapeError("pad", "needs counts", {
        expected: "non-negative integers",
        got: `${show(before)} and ${show(after)}`,
      });
    }
    return [{ shape: x!.shape.map((n, i) => n + before[i]! + after[i]!), dtype: x!.dtype }];
  },
  concat: (inputs, { axis }) => {
    const [first] = inputs;
    for (const t of inputs) {
      needOthersEqual("concat", axis, first!.shape, t.shape, "parts");
      if (t.dtype !== first!.dtype) {
        throw new DTypeError("concat", "dtypes differ", { expected: first!.dtype, got: t.dtype });
      }
    }
    const n = inputs.reduce((sum, t) => sum + t.shape[axis]!, 0);
    return [{ shape: replaced(first!.shape, axis, n), dtype: first!.dtype }];
  },
  reduce: ([x], { fn, axes }) => {
    if (x!.dtype === "bool" && (fn === "sum" || fn === "prod")) {
      throw new DTypeError(fn, "needs numbers", { got: "bool", hint: 'Cast it first: x.cast("i32").' });
    }
    const empty = axes.some((a) => x!.shape[a] === 0);
    if (empty && (fn === "max" || fn === "min")) {
      throw new ShapeError(fn, "has no elements to compare", { got: show(x!.shape) });
    }
    return [{ shape: without(x!.shape, axes), dtype: x!.dtype }];
  },
  argReduce: ([x], { fn, axis }) => {
    if (x!.shape[axis] === 0)
      throw new ShapeError(`arg${fn}`, "has no elements to compare", { got: show(x!.shape) });
    needNumbered(`arg${fn}`, x!.shape[axis]!);
    return [{ shape: without(x!.shape, [axis]), dtype: "i32" }];
  },
  cumulative: ([x], { fn }) => {
    if (x!.dtype === "bool") throw new DTypeError(`cum${fn}`, "needs numbers", { got: "bool" });
    return [x!];
  },
  sort: ([x], { axis }) => {
    needNumbered("sort", x!.shape[axis]!);
    return [x!, { shape: x!.shape, dtype: "i32" }];
  },
  gather: ([x, indices], { axis }) => {
    if (indices!.dtype !== "i32")
      throw new DTypeError("gather", "needs i32 indices", { got: indices!.dtype });
    needOthersEqual("gather", axis, x!.shape, indices!.shape, "indices");
    if (x!.shape[axis] === 0 && sizeOf(indices!.shape) > 0) {
      throw new ShapeError("gather", "nothing to pick from", { got: show(x!.shape) });
    }
    return [{ shape: indices!.shape, dtype: x!.dtype }];
  },
  scatter: ([base, indices, updates], { axis, mode }) => {
    if (indices!.dtype !== "i32")
      throw new DTypeError("scatter", "needs i32 indices", { got: indices!.dtype });
    if (base!.dtype !== updates!.dtype) {
      throw new DTypeError("scatter", "dtypes differ", { expected: base!.dtype, got: updates!.dtype });
    }
    if (mode === "add" && base!.dtype === "bool") throw new DTypeError("scatter", "cannot add bools");
    needOthersEqual("scatter", axis, base!.shape, indices!.shape, "indices");
    if (!sameShape(indices!.shape, updates!.shape)) {
      throw new ShapeError("scatter", "updates and indices differ", {
        expected: show(indices!.shape),
        got: show(updates!.shape),
      });
    }
    return [base!];
  },
  matmul: ([a, b]) => {
    if (a!.dtype !== b!.dtype) {
      throw new DTypeError("matmul", "dtypes differ", {
        expected: a!.dtype,
        got: b!.dtype,
        hint: "Cast one of them.",
      });
    }
    needFloat("matmul", a!.dtype);
    const r = a!.shape.length;
    if (r < 2 || b!.shape.length !== r || a!.shape.slice(0, -2).some((n, i) => n !== b!.shape[i])) {
      throw new ShapeError("matmul", "batch axes differ", { got: `${show(a!.shape)} and ${show(b!.shape)}` });
    }
    const [k, k2] = [a!.shape[r - 1]!, b!.shape[r - 2]!];
    if (k !== k2) {
      const hint = k === b!.shape[r - 1] ? "Did you mean matmul(a, b.transpose())?" : undefined;
      throw new ShapeError("matmul", "inner sizes differ", {
        got: `a is ${show(a!.shape)}, b is ${show(b!.shape)} (${k} != ${k2})`,
        ...(hint ? { hint } : {}),
      });
    }
    return [{ shape: [...a!.shape.slice(0, -1), b!.shape[r - 1]!], dtype: a!.dtype }];
  },
  fft: ([re, im]) => {
    needSame("fft", re!, im!);
    needFloat("fft", re!.dtype);
    if (re!.shape.length === 0 || re!.shape[re!.shape.length - 1] === 0) {
      throw new ShapeError("fft", "needs at least one point", { got: show(re!.shape) });
    }
    return [re!, re!];
  },
  randomBits: ([key], { shape }) => {
    if (key!.dtype !== "i32" || !sameShape(key!.shape, [2])) {
      throw new ShapeError("random", "not a key", {
        expected: "i32[2] from random.key(seed)",
        got: `${key!.dtype}${show(key!.shape)}`,
      });
    }
    return [{ shape, dtype: "i32" }];
  },
  barrier: (inputs) => [inputs[0]!],
  recompute: (_, { body }) => body.results.map((t) => ({ shape: t.shape, dtype: t.dtype })),
  scan: (inputs, { body, length, carries }) => [
    ...body.results.map((t, i) => ({ shape: i < carries ? t.shape : [length, ...t.shape], dtype: t.dtype })),
    ...inputs.slice(0, carries).map((t) => ({ shape: [length, ...t.shape], dtype: t.dtype })),
  ],
  fused: (inputs, { def, params, examples }) => {
    const types = def.shape(typesOfExample(inputs, examples), params as never);
    return examples ? types.map(({ shape, dtype }) => ({ shape: [examples.size, ...shape], dtype })) : types;
  },
};

/** What one example of a fused op sees of its inputs. */
export const typesOfExample = (inputs: readonly TensorType[], examples: Examples | undefined): TensorType[] =>
  inputs.map(({ shape, dtype }, i) => ({ shape: examples?.mapped[i] ? shape.slice(1) : shape, dtype }));

/** Bytes of a tensor of this type. */
export const bytesOf = (t: TensorType): number => sizeOf(t.shape) * DTYPES[t.dtype].bytes;
