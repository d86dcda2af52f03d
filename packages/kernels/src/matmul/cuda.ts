// CUDA source of the matrix product and the linear layer: the vendor's library where it is, an own tiled kernel elsewhere.

import { contiguousStrides } from "@everlong/core";
import { cudaFile } from "../cuda-file.ts";
import { cudaType } from "../cuda-prelude.ts";
import {
  blocksFor,
  positionType,
  type CudaCall,
  type CudaMatrix,
  type CudaProduct,
  type CudaSource,
  type CudaStep,
  type CudaView,
  type CudaWord,
} from "../cuda-step.ts";
import { named } from "../inputs.ts";
import type { Activation, LinearParams } from "./op.ts";

type Place = Exclude<CudaWord, number>;

/** A matrix operand of a product: `[..., rows, columns]` at a place. */
export interface ProductOperand {
  readonly place: Place;
  readonly view: CudaView;
}

const TILE = 64;

/** Strides of the batch axes as one, when they can be walked so. */
function batchStride({ shape, strides }: CudaView): number | undefined {
  const rank = shape.length - 2;
  let stride = 0;
  let step = 1;
  for (let i = rank - 1; i >= 0; i--) {
    if (shape[i] === 1) continue;
    if (step === 1) stride = strides[i]!;
    else if (strides[i] !== stride * step) return undefined;
    step *= shape[i]!;
  }
  return stride;
}

/** Whether a view can be an operand as it lies: one of its last two axes is dense, and its batch axes are one. */
export const acceptsMatrix = (view: CudaView): boolean => {
  const rank = view.shape.length;
  const [rows, columns] = [view.strides[rank - 2]!, view.strides[rank - 1]!];
  const dense = (inner: number, outer: number, size: number): boolean => inner === 1 && outer >= size;
  return (
    batchStride(view) !== undefined &&
    view.strides.every((s) => s >= 0) &&
    (dense(columns, rows, view.shape[rank - 1]!) || dense(rows, columns, view.shape[rank - 2]!))
  );
};

const tiled = (a: ProductOperand, b: ProductOperand, c: ProductOperand): CudaStep => {
  const dtype = c.view.dtype as keyof typeof cudaType;
  const rank = c.view.shape.length;
  const [m, n, k] = [c.view.shape[rank - 2]!, c.view.shape[rank - 1]!, a.view.shape[rank - 1]!];
  const strides = ({ view }: ProductOperand): number[] => [
    batchStride(view)!,
    view.strides[rank - 2]!,
    view.strides[rank - 1]!,
  ];
  const batch = c.view.shape.slice(0, -2).reduce((x, y) => x * y, 1);
  const value = dtype === "i32" || dtype === "u8" || dtype === "bool" ? "int" : "float";
  return {
    kernel: {
      key: `matmul ${dtype}`,
      entry: "matmul",
      source: () => `typedef ${cudaType[dtype]} T; typedef ${value} V;\n${cudaFile("matmul/kernel.cu")}`,
    },
    args: [a.place, b.place, c.place, m, n, k, ...strides(a), ...strides(b), ...strides(c)],
    grid: [blocksFor(n, TILE), blocksFor(m, TILE), batch],
    block: [256, 1, 1],
  };
};

/** `c = a b` for operands that {@link acceptsMatrix}; empty when there is nothing to do. */
export function productSteps(
  a: ProductOperand,
  b: ProductOperand,
  c: ProductOperand,
): (CudaStep | CudaProduct)[] {
  const { shape, dtype } = c.view;
  const rank = shape.length;
  const [m, n] = [shape[rank - 2]!, shape[rank - 1]!];
  const batch = shape.slice(0, -2).reduce((x, y) => x * y, 1);
  if (m * n * batch === 0) return [];
  const k = a.view.shape[rank - 1]!;
  // Grid planes and rows are limited to 65,535; larger ones are cut.
  const otherwise: CudaStep[] = [];
  const own = tiled(a, b, c);
  if (own.grid[1] <= 65535 && own.grid[2] <= 65535) otherwise.push(own);
  const matrix = ({ place, view }: ProductOperand): CudaMatrix => {
    const [rows, columns] = [view.shape[rank - 2]!, view.shape[rank - 1]!];
    const [byRow, byColumn] = [view.strides[rank - 2]!, view.strides[rank - 1]!];
    const transposed = !(byColumn === 1 && byRow >= columns) && columns > 1;
    return {
      word: place,
      leading: Math.max(1, transposed ? byColumn : byRow, transposed ? rows : columns),
      batchStride: batchStride(view)!,
      transposed,
    };
  };
  if ((dtype === "f32" || dtype === "f16" || dtype === "bf16") && k > 0) {
    return [{ library: "gemm", dtype, m, n, k, batch, a: matrix(a), b: matrix(b), c: matrix(c), otherwise }];
  }
  return otherwise;
}

const refuseLarge = (view: CudaView): string | undefined => {
  const rank = view.shape.length;
  const batch = view.shape.slice(0, -2).reduce((x, y) => x * y, 1);
  return batch > 65535 || view.shape[rank - 2]! > 65535 * TILE
    ? "the product has more than 65,535 batch entries"
    : undefined;
};

/** `[..., M, K] x [..., K, N]`. */
export const matmulCuda: CudaSource<Record<never, never>> = {
  accepts: (_, view) => acceptsMatrix(view),
  lower: ({ inputs, outputs }) => {
    const [a, b, c] = [inputs[0]!, inputs[1]!, outputs[0]!];
    return (
      refuseLarge(c) ?? {
        steps: productSteps(
          { place: { input: 0 }, view: a },
          { place: { input: 1 }, view: b },
          { place: { output: 0 }, view: c },
        ),
      }
    );
  },
};

const ACTIVATION: { readonly [A in Activation]: string } = {
  none: "z",
  relu: "max_(z, 0.f)",
  silu: "z / (1.f + expf(-z))",
  gelu: "0.5f * z * (1.f + erff(z * 0.70710678118654752f))",
  "gelu-tanh": "0.5f * z * (1.f + tanhf(0.79788456080286536f * (z + 0.044715f * z * z * z)))",
};

interface Finish {
  readonly activation: Activation;
  readonly bias: boolean;
  /** Whether what the activation is applied to is written too. */
  readonly keeps: boolean;
  /** Neighbours that a thread moves at once. */
  readonly width: number;
  readonly index: string;
}

const finishSource = ({ activation, bias, keeps, width, index }: Finish): string => `
struct __align__(${4 * width}) Some { float at[${width}]; };
extern "C" __global__ void __launch_bounds__(256) finish(const __grid_constant__ Words<5> w) {
  typedef ${index} Index;
  const Index i = (Index)blockIdx.x * 256 + threadIdx.x;
  if (i >= (Index)wide(w, 3)) return;
  Some* const y = pointer<Some>(w, 0) + i;
  Some v = *y;
  ${bias ? `const Some b = pointer<const Some>(w, 1)[i % (Index)wide(w, 4)];` : ""}
  ${keeps ? "Some kept;" : ""}
  #pragma unroll
  for (int j = 0; j < ${width}; j++) {
    const float z = v.at[j]${bias ? " + b.at[j]" : ""};
    ${keeps ? "kept.at[j] = z;" : ""}
    v.at[j] = ${ACTIVATION[activation]};
  }
  *y = v;
  ${keeps ? "pointer<Some>(w, 2)[i] = kept;" : ""}
}`;

/** `(x [M, K], w [N, K], bias? [N]) -> (y, pre-activation?)`: the product, then bias and activation in place. */
export const linearCuda: CudaSource<LinearParams> = {
  accepts: (input, view, call) => call.params.inputs[input] !== "bias" && acceptsMatrix(view),
  lower: (call: CudaCall<LinearParams>) => {
    const { params, outputs } = call;
    const y = outputs[0]!;
    if (y.dtype !== "f32") return `no kernel for ${y.dtype}`;
    const index = named(
      params.inputs,
      params.inputs.map((_, i) => i),
    );
    const x = call.inputs[index.x!]!;
    const weight = call.inputs[index.w!]!;
    const turned: CudaView = {
      ...weight,
      shape: [weight.shape[1]!, weight.shape[0]!],
      strides: [weight.strides[1]!, weight.strides[0]!],
    };
    const [m, n] = y.shape as [number, number];
    const refused = refuseLarge(y);
    if (refused) return refused;
    const steps = productSteps(
      { place: { input: index.x! }, view: x },
      { place: { input: index.w! }, view: turned },
      { place: { output: 0 }, view: { ...y, strides: contiguousStrides(y.shape) } },
    );
    const { activation } = params;
    const bias = index.bias;
    if ((bias !== undefined || activation !== "none") && m * n > 0) {
      const aligned = [...outputs, ...(bias === undefined ? [] : [call.inputs[bias]!])].every(
        (v) => v.aligned,
      );
      const width = aligned && n % 4 === 0 ? 4 : 1;
      const count = (m * n) / width;
      const finish: Finish = {
        activation,
        bias: bias !== undefined,
        keeps: outputs.length > 1,
        width,
        index: positionType(count),
      };
      steps.push({
        kernel: {
          key: `linear finish ${Object.values(finish).join()}`,
          entry: "finish",
          source: () => finishSource(finish),
        },
        args: [
          { output: 0 },
          bias === undefined ? 0 : { input: bias },
          finish.keeps ? { output: 1 } : 0,
          count,
          n / width,
        ],
        grid: [blocksFor(count, 256), 1, 1],
        block: [256, 1, 1],
      });
    }
    return { steps };
  },
};
