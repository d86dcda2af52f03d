// The primitives that are a kernel of their own, on contiguous float64 arrays.

import type { KernelPrimitive, PrimitiveStep } from "../device.ts";
import type { DType } from "../dtype.ts";
import type { PrimitiveParams } from "../primitives.ts";
import { sizeOf, type Shape } from "../shape.ts";
import { reductionFor } from "./arithmetic.ts";
import { planFourier } from "./fourier.ts";
import { threefryStream } from "./threefry.ts";

/** What a kernel knows before it sees values. */
interface KernelTypes {
  readonly shapes: readonly Shape[];
  readonly outShapes: readonly Shape[];
  readonly dtypes: readonly DType[];
}
type Kernel = (inputs: readonly Float64Array[], outputs: readonly Float64Array[]) => void;
type Prepare<P extends KernelPrimitive> = (params: PrimitiveParams[P], types: KernelTypes) => Kernel;

/** Sizes before, at and after an axis: element (o, i, k) lies at (o * n + i) * inner + k. */
function around(shape: Shape, axis: number): { outer: number; n: number; inner: number } {
  return { outer: sizeOf(shape.slice(0, axis)), n: shape[axis]!, inner: sizeOf(shape.slice(axis + 1)) };
}

const argReduce: Prepare<"argReduce"> = ({ fn, axis }, { shapes }) => {
  const { outer, n, inner } = around(shapes[0]!, axis);
  const sign = fn === "max" ? 1 : -1;
  return ([x], [out]) => {
    for (let o = 0; o < outer; o++) {
      for (let k = 0; k < inner; k++) {
        const at = (i: number): number => sign * x![(o * n + i) * inner + k]!;
        let best = 0;
        // The first NaN ends the search; a tie keeps the earlier index.
        for (let i = 1; i < n && !Number.isNaN(at(best)); i++) if (!(at(i) <= at(best))) best = i;
        out![o * inner + k] = best;
      }
    }
  };
};

const cumulative: Prepare<"cumulative"> = ({ fn, axis, reverse }, { shapes, dtypes }) => {
  const { outer, n, inner } = around(shapes[0]!, axis);
  const { combine } = reductionFor(fn, dtypes[0]!);
  return ([x], [out]) => {
    for (let o = 0; o < outer; o++) {
      for (let k = 0; k < inner; k++) {
        let total = 0;
        for (let i = 0; i < n; i++) {
          const at = (o * n + (reverse ? n - 1 - i : i)) * inner + k;
          total = i === 0 ? x![at]! : combine(total, x![at]!);
          out![at] = total;
        }
      }
    }
  };
};

const sort: Prepare<"sort"> = ({ axis, descending }, { shapes }) => {
  const { outer, n, inner } = around(shapes[0]!, axis);
  const line = new Float64Array(n);
  const sign = descending ? -1 : 1;
  const compare = (i: number, j: number): number => {
    const [a, b] = [line[i]!, line[j]!];
    if (a < b) return -sign;
    if (a > b) return sign;
    return Number(Number.isNaN(a)) - Number(Number.isNaN(b));
  };
  return ([x], [values, indices]) => {
    for (let o = 0; o < outer; o++) {
      for (let k = 0; k < inner; k++) {
        for (let i = 0; i < n; i++) line[i] = x![(o * n + i) * inner + k]!;
        // The language's sort is stable.
        const order = Uint32Array.from(line, (_, i) => i).sort(compare);
        order.forEach((from, i) => {
          values![(o * n + i) * inner + k] = line[from]!;
          indices![(o * n + i) * inner + k] = from;
        });
      }
    }
  };
};

const gather: Prepare<"gather"> = ({ axis }, { shapes }) => {
  const { n } = around(shapes[0]!, axis);
  const { outer, n: m, inner } = around(shapes[1]!, axis);
  return ([x, indices], [out]) => {
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < m; i++) {
        for (let k = 0; k < inner; k++) {
          const at = (o * m + i) * inner + k;
          const from = Math.min(Math.max(indices![at]!, 0), n - 1);
          out![at] = x![(o * n + from) * inner + k]!;
        }
      }
    }
  };
};

const scatter: Prepare<"scatter"> = ({ axis, mode }, { shapes, dtypes }) => {
  const { n } = around(shapes[0]!, axis);
  const { outer, n: m, inner } = around(shapes[1]!, axis);
  const { combine } = reductionFor("sum", dtypes[0]!);
  return ([base, indices, updates], [out]) => {
    out!.set(base!);
    for (let o = 0; o < outer; o++) {
      for (let i = 0; i < m; i++) {
        for (let k = 0; k < inner; k++) {
          const at = (o * m + i) * inner + k;
          const to = indices![at]!;
          if (to < 0 || to >= n) continue;
          const target = (o * n + to) * inner + k;
          out![target] = mode === "add" ? combine(out![target]!, updates![at]!) : updates![at]!;
        }
      }
    }
  };
};

const matmul: Prepare<"matmul"> = (_, { shapes }) => {
  const [a, b] = [shapes[0]!, shapes[1]!];
  const [m, depth, n] = [a[a.length - 2]!, a[a.length - 1]!, b[b.length - 1]!];
  const batch = sizeOf(a.slice(0, -2));
  return ([x, y], [out]) => {
    out!.fill(0);
    for (let g = 0; g < batch; g++) {
      for (let i = 0; i < m; i++) {
        const row = (g * m + i) * n;
        for (let k = 0; k < depth; k++) {
          const s = x![(g * m + i) * depth + k]!;
          const other = (g * depth + k) * n;
          for (let j = 0; j < n; j++) out![row + j]! += s * y![other + j]!;
        }
      }
    }
  };
};

const fft: Prepare<"fft"> = ({ inverse }, { shapes }) => {
  const shape = shapes[0]!;
  const n = shape[shape.length - 1]!;
  const plan = planFourier(n);
  return ([re, im], [outRe, outIm]) => {
    for (let row = 0; row < re!.length; row += n) {
      // Exchanging the parts before and after turns the forward transform into the inverse one.
      if (inverse) plan(im!, re!, outIm!, outRe!, row);
      else plan(re!, im!, outRe!, outIm!, row);
    }
  };
};

const randomBits: Prepare<"randomBits"> =
  () =>
  ([key], [out]) =>
    threefryStream(key![0]!, key![1]!, out!);

const kernels: { readonly [P in KernelPrimitive]: Prepare<P> } = {
  argReduce,
  cumulative,
  sort,
  gather,
  scatter,
  matmul,
  fft,
  randomBits,
};

/** Chooses and prepares the kernel of a primitive step. */
export function prepareKernel(step: PrimitiveStep): Kernel {
  const { name, params } = step.primitive;
  const prepare = kernels[name] as (params: unknown, types: KernelTypes) => Kernel;
  return prepare(params, {
    shapes: step.inputs.map((t) => t.view.shape),
    outShapes: step.outputs.map((t) => t.view.shape),
    dtypes: step.inputs.map((t) => t.dtype),
  });
}
