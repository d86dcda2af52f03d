// Cases worth timing, by op, and how to run them: a result counts once it agrees with the float64 reference on a small case of
// the same call. Flops and bytes come from the op's own cost.

import {
  compile,
  device,
  realize,
  tensor,
  type Device,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";

/** One input of a case. */
export interface BenchInput {
  readonly shape: readonly number[];
  /** Default f32, normal; i32 is uniform in 0 .. below - 1. */
  readonly dtype?: "f32" | "i32";
  readonly below?: number;
  /** These numbers, where an input has a meaning. */
  readonly values?: readonly number[];
  /** Values are uniform in this range instead of normal. */
  readonly range?: readonly [number, number];
  /** The result of another op, on the same device: an input that only devices can read. */
  readonly made?: MadeInput;
}

export interface MadeInput {
  readonly op: Op<never>;
  readonly params: unknown;
  readonly inputs: readonly BenchInput[];
}

/** An input that `op` makes of inputs of its own. */
export function madeBy<P>(op: Op<P>, params: P, shapes: readonly (readonly number[])[]): BenchInput {
  const inputs = shapes.map((shape) => ({ shape }));
  const types = shapes.map((shape) => ({ shape, dtype: "f32" as const }));
  const [{ shape }] = op.def.shape(types, params as never) as [TensorType];
  return { shape, made: { op: op as unknown as Op<never>, params, inputs } };
}

/** A call to time: `op(inputs, params)`. */
export interface BenchCase {
  readonly name: string;
  readonly op: Op<never>;
  readonly inputs: readonly BenchInput[];
  readonly params: unknown;
  /** The same call on sizes that the float64 reference finishes at once; checked before figures count. */
  readonly small: readonly BenchInput[];
}

/** A case whose parameters fit its op. */
export const benchCase = <P>(
  name: string,
  op: Op<P>,
  params: P,
  inputs: readonly (BenchInput | readonly number[])[],
  small: readonly (BenchInput | readonly number[])[],
): BenchCase => {
  const full = (list: readonly (BenchInput | readonly number[])[]): BenchInput[] =>
    list.map((i) => ("shape" in i ? i : { shape: i as readonly number[] }));
  return { name, op: op as unknown as Op<never>, params, inputs: full(inputs), small: full(small) };
};

/** A case on a device. */
export interface PreparedBench {
  readonly flops: number;
  readonly bytes: number;
  /** Runs once; on devices that work in the background, wait for the device before reading a clock. */
  readonly run: () => void;
  /** Largest relative L2 error of an output of the small case against the float64 reference. */
  readonly error: () => Promise<number>;
  readonly close: () => void;
}

/** The same numbers for every device: a linear congruence, the sum of four for normals. */
function draw(
  { shape, dtype = "f32", below = 2, range, values }: BenchInput,
  seed: number,
): Float32Array | Int32Array {
  let state = seed;
  const uniform = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const size = shape.reduce((a, b) => a * b, 1);
  if (values) return dtype === "i32" ? Int32Array.from(values) : Float32Array.from(values);
  if (dtype === "i32") return Int32Array.from({ length: size }, () => Math.floor(below * uniform()));
  const normal = (): number => (uniform() + uniform() + uniform() + uniform() - 2) * Math.sqrt(3);
  const [low, high] = range ?? [0, 0];
  return Float32Array.from({ length: size }, () => (range ? low + (high - low) * uniform() : normal()));
}

function realized(t: Tensor): Tensor {
  realize([t]);
  return t;
}

/** Compiles a case for a device and makes its inputs there. */
export function prepareBench(c: BenchCase, on: Device): PreparedBench {
  const upload = (list: readonly BenchInput[], to: Device): Tensor[] =>
    list.map((input, i) => {
      const { made } = input;
      if (made) return realized(made.op(upload(made.inputs, to), made.params as never)[0]!);
      const dtype = input.dtype ?? to.defaultFloat;
      return tensor(draw(input, 17 * i + 1), [...input.shape], { dtype, device: to });
    });
  const types = c.inputs.map((i) => ({ shape: i.shape, dtype: i.dtype ?? ("f32" as const) }));
  const call = (...inputs: Tensor[]): Tensor[] => c.op(inputs, c.params as never);
  const { flops, bytes } = c.op.def.cost(types, c.op.def.shape(types, c.params as never), c.params as never);
  const inputs = upload(c.inputs, on);
  const fn = compile(call, { name: c.name });
  return {
    flops,
    bytes,
    run: () => {
      for (const t of fn(...inputs)) t[Symbol.dispose]();
    },
    error: async () => {
      const got = call(...upload(c.small, on));
      const want = call(...upload(c.small, device("reference")));
      let worst = 0;
      for (const [i, w] of want.entries()) {
        const [x, y] = [await got[i]!.data(), await w.data()];
        let [off, size] = [0, 0];
        for (let k = 0; k < y.length; k++) {
          off += (y[k]! - x[k]!) ** 2;
          size += y[k]! ** 2;
        }
        worst = Math.max(worst, Math.sqrt(off / Math.max(size, Number.MIN_VALUE)));
      }
      return worst;
    },
    close: () => {
      fn.dispose();
      for (const t of inputs) t[Symbol.dispose]();
    },
  };
}
