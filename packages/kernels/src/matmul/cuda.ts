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
import type { Activation, LinearParams, LinearWeightGradParams } from "./op.ts";

type Place = Exclude<CudaWord, number>;

/** A matrix operand of a product: `[..., rows, columns]` at a place. */
export interface ProductOperand {
  readonly place: Place;
  readonly view: CudaView;
}

const TILE = 64;
/** Blocks of a grid's second and third axis. */
const MOST_BLOCKS = 65_535;

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
    args: [a.place, b.place, c.place, m, n, k, ...strides(a), ...strides(b), ...strides(c), batch],
    grid: [blocksFor(n, TILE), Math.min(MOST_BLOCKS, blocksFor(m, TILE)), Math.min(MOST_BLOCKS, batch)],
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
  const otherwise = [tiled(a, b, c)];
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

const isMultiplied = (dtype: string): dtype is CudaProduct["dtype"] =>
  dtype === "f32" || dtype === "f16" || dtype === "bf16";

type Places = readonly [a: ProductOperand, b: ProductOperand, c: ProductOperand];

/** A product with what is added to it: by the library in passing, or by a launch of its own. */
function finishedProduct(
  places: Places,
  aligned: boolean,
  { bias, added }: { readonly bias?: Place | undefined; readonly added?: CudaWord | undefined },
): (CudaStep | CudaProduct)[] {
  const steps = productSteps(...places);
  const [product] = steps;
  if (!product || (bias === undefined && added === undefined)) return steps;
  const { view } = places[2];
  const otherwise = [...steps, finishStep(view, aligned, { activation: "none" }, { bias, added })];
  if (!("library" in product)) return otherwise;
  return [{ ...product, ...(bias ? { bias } : {}), ...(added ? { added: added as Place } : {}), otherwise }];
}

/** `[..., M, K] x [..., K, N]`. */
export const matmulCuda: CudaSource<Record<never, never>> = {
  accepts: (_, view) => acceptsMatrix(view),
  adds: ({ outputs }) => isMultiplied(outputs[0]!.dtype),
  lower: ({ inputs, outputs, added }) => {
    const [a, b, c] = [inputs[0]!, inputs[1]!, outputs[0]!];
    const places = [
      { place: { input: 0 }, view: a },
      { place: { input: 1 }, view: b },
      { place: { output: 0 }, view: c },
    ] as const;
    return { steps: finishedProduct(places, c.aligned === true, { added }) };
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
  readonly dtype: "f32" | "f16" | "bf16";
  readonly activation: Activation;
  readonly bias: boolean;
  /** Whether what the activation is applied to is written too. */
  readonly keeps: boolean;
  /** Whether other values are added. */
  readonly adds: boolean;
  /** Neighbours that a thread moves at once. */
  readonly width: number;
  readonly index: string;
}

const finishSource = ({ dtype, activation, bias, keeps, adds, width, index }: Finish): string => `
typedef ${cudaType[dtype]} E;
struct __align__(sizeof(E) * ${width}) Some { E at[${width}]; };
extern "C" __global__ void __launch_bounds__(256) finish(const __grid_constant__ Words<6> w) {
  typedef ${index} Index;
  const Index i = (Index)blockIdx.x * 256 + threadIdx.x;
  if (i >= (Index)wide(w, 3)) return;
  Some* const y = pointer<Some>(w, 0) + i;
  Some v = *y;
  ${bias ? `const Some b = pointer<const Some>(w, 1)[i % (Index)wide(w, 4)];` : ""}
  ${adds ? `const Some more = pointer<const Some>(w, 5)[i];` : ""}
  ${keeps ? "Some kept;" : ""}
  #pragma unroll
  for (int j = 0; j < ${width}; j++) {
    const float z = get(v.at[j])${bias ? " + get(b.at[j])" : ""}${adds ? " + get(more.at[j])" : ""};
    ${keeps ? "put(kept.at[j], z);" : ""}
    put(v.at[j], ${ACTIVATION[activation]});
  }
  *y = v;
  ${keeps ? "pointer<Some>(w, 2)[i] = kept;" : ""}
}`;

/** The launch that finishes a product `[M, N]` in place. */
function finishStep(
  y: CudaView,
  aligned: boolean,
  finish: Pick<Finish, "activation">,
  places: {
    readonly bias?: CudaWord | undefined;
    readonly kept?: CudaWord;
    readonly added?: CudaWord | undefined;
  },
): CudaStep {
  const dtype = y.dtype as Finish["dtype"];
  const n = y.shape.at(-1)!;
  const size = y.shape.reduce((a, b) => a * b, 1);
  const most = dtype === "f32" ? 4 : 8;
  const width = aligned && n % most === 0 ? most : 1;
  const count = size / width;
  const what: Finish = {
    dtype,
    activation: finish.activation,
    bias: places.bias !== undefined,
    keeps: places.kept !== undefined,
    adds: places.added !== undefined,
    width,
    index: positionType(count),
  };
  return {
    kernel: {
      key: `linear finish ${Object.values(what).join()}`,
      entry: "finish",
      source: () => finishSource(what),
    },
    args: [{ output: 0 }, places.bias ?? 0, places.kept ?? 0, count, n / width, places.added ?? 0],
    grid: [blocksFor(count, 256), 1, 1],
    block: [256, 1, 1],
  };
}

/** `(x [M, K], w [N, K], bias? [N]) -> (y, pre-activation?)`: the product, then bias and activation in place. */
export const linearCuda: CudaSource<LinearParams> = {
  longAxes: true,
  accepts: (input, view, call) => call.params.inputs[input] !== "bias" && acceptsMatrix(view),
  adds: ({ params }) => params.activation === "none",
  lower: (call: CudaCall<LinearParams>) => {
    const { params, outputs, added } = call;
    const y = outputs[0]!;
    if (!isMultiplied(y.dtype)) return `no kernel for ${y.dtype}`;
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
    const bias = index.bias === undefined ? undefined : { input: index.bias };
    const { activation } = params;
    const aligned = [...outputs, ...(index.bias === undefined ? [] : [call.inputs[index.bias]!])].every(
      (v) => v.aligned,
    );
    const whole = { ...y, strides: contiguousStrides(y.shape) };
    const places = [
      { place: { input: index.x! }, view: x },
      { place: { input: index.w! }, view: turned },
      { place: { output: 0 }, view: whole },
    ] as const;
    if (activation === "none") return { steps: finishedProduct(places, aligned, { bias, added }) };
    const steps = productSteps(...places);
    if (steps.length > 0) {
      const kept = outputs.length > 1 ? { kept: { output: 1 } } : {};
      steps.push(finishStep(whole, aligned, { activation }, { bias, ...kept }));
    }
    return { steps };
  },
};

/** Segments of at most this many rows are summed by one block. */
const MOST_ROWS = 2048;
/** Blocks that one product is cut into at least, down to segments of 256 rows. */
const FEWEST_BLOCKS = 16;
const GRAD_TILE = 128;

/** `(dz [M, N], x [M, K]) -> (dw [N, K], dbias? [N])`, of one layer or several. */
export const linearWeightGradCuda: CudaSource<LinearWeightGradParams> = {
  longAxes: true,
  lower: ({ inputs, params }) => {
    const [dz, x] = inputs as [CudaView, CudaView];
    const { dtype } = dz;
    if (dtype !== "f16" && dtype !== "bf16") return `no kernel for ${dtype}`;
    const [rows, n] = dz.shape.slice(-2) as [number, number];
    const k = x.shape.at(-1)!;
    const layers = dz.shape.length === 3 ? dz.shape[0]! : 1;
    const aligned = dz.aligned === true && x.aligned === true && n % 8 === 0 && k % 8 === 0;
    const along = blocksFor(k, GRAD_TILE);
    const tiles = blocksFor(n, GRAD_TILE) * along;
    const segments = Math.max(
      1,
      Math.min(
        Math.ceil(rows / 256),
        Math.max(Math.ceil(rows / MOST_ROWS), Math.ceil(FEWEST_BLOCKS / (tiles * layers))),
      ),
    );
    const each = Math.ceil(rows / segments);
    const extra = params.bias ? n : 0;
    if (layers * (n * k + extra) === 0) return { steps: [] };
    const head = `typedef ${cudaType[dtype]} E;\n#define MMA "${dtype}"`;
    const kernel = (entry: string): CudaStep["kernel"] => ({
      key: `linear ${entry} ${head}`,
      entry,
      source: () => [head, cudaFile("tensor-cores.cu"), cudaFile("matmul/kernel-weight-grad.cu")].join("\n"),
    });
    return {
      steps: [
        {
          kernel: kernel("weight_grad"),
          args: [
            { input: 0 },
            { input: 1 },
            { temp: 0 },
            params.bias ? { temp: 1 } : 0,
            rows,
            n,
            k,
            each,
            along,
            tiles,
            aligned ? 1 : 0,
            segments,
          ],
          grid: [layers * tiles * segments, 1, 1],
          block: [128, 1, 1],
          sharedBytes: 4 * 2 * 32 * (GRAD_TILE + 8) * 2,
          blockFunction: "weight_grad_block",
          resident: 2,
        },
        {
          kernel: kernel("weight_grad_sums"),
          args: [
            { temp: 0 },
            { output: 0 },
            n * k,
            params.bias ? { temp: 1 } : 0,
            params.bias ? { output: 1 } : 0,
            extra,
            segments,
            blocksFor(n * k + extra, 256),
          ],
          grid: [layers * blocksFor(n * k + extra, 256), 1, 1],
          block: [256, 1, 1],
          blockFunction: "weight_grad_sums_block",
        },
      ],
      temps: [4 * layers * segments * n * k, ...(params.bias ? [4 * layers * segments * n] : [])],
    };
  },
};
