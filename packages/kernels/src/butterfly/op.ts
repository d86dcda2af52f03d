// Butterfly transforms with given matrices: the Cooley-Tukey factors of a DFT whose small matrices are inputs, so that they can
// be learned (Fu et al. 2023, "Simple Hardware-Efficient Long Convolutions", section 3.3). With the matrices of the DFT they are
// the FFT in another order. Each op is linear in the sequence, and its adjoint is the other.

import {
  ConfigError,
  ShapeError,
  add,
  checkOptions,
  defineOp,
  mul,
  squeeze,
  sub,
  sum,
  tensor,
  unsqueeze,
  zerosLike,
  type BatchContext,
  type Device,
  type DType,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { foldIntoBatch } from "../batch-rows.ts";
import { bytesMoved } from "../cost.ts";
import { inOneDtype, need, needCompute } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { adjointByProducts, matrixGradByProducts, transformByProducts } from "./decompose.ts";
import { MAX_RADIX, MAX_STAGES, sequenceAxes, transformSize, type Layout } from "./transform-shape.ts";
import {
  adjointReference,
  convReference,
  filterGradReference,
  matrixGradReference,
  transformReference,
} from "./reference.ts";

/** Of `butterfly` and of its matrices' gradient. */
export interface ButterflyParams {
  readonly layout: Layout;
  /** Sizes of the stages' matrices; their product is the length N of the transform. */
  readonly radices: readonly number[];
}

/** Of `butterfly-adjoint`. */
export interface ButterflyAdjointParams extends ButterflyParams {
  /** Length L of the sequences that come out. */
  readonly length: number;
}

function checkRadices(op: string, radices: readonly number[]): void {
  const fits = radices.every((m) => Number.isInteger(m) && m >= 2 && m <= MAX_RADIX);
  if (!fits || radices.length < 1 || radices.length > MAX_STAGES)
    throw new ConfigError(op, "not the stages of a butterfly", {
      expected: `1 to ${MAX_STAGES} matrices of 2 to ${MAX_RADIX} rows`,
      got: `[${radices.join(", ")}]`,
    });
}

function checkMatrices(
  op: string,
  matrices: readonly TensorType[],
  radices: readonly number[],
  dtype: DType,
): void {
  checkRadices(op, radices);
  if (matrices.length !== radices.length)
    throw new ShapeError(op, "one matrix for each stage", {
      expected: `${radices.length}`,
      got: `${matrices.length}`,
    });
  radices.forEach((m, i) => need(op, `matrix ${i}`, matrices[i]!, [2, m, m], "[2, m, m]", dtype));
}

/** Checks sequences and gives the type of a part of their spectrum, `[B, N, D]`. */
function spectrumType(op: string, x: TensorType, { layout, radices }: ButterflyParams): TensorType {
  need(op, "x", x, [undefined, undefined, undefined], layout === "bdl" ? "[B, D, L]" : "[B, L, D]");
  const { channel, time } = sequenceAxes(layout);
  const size = transformSize(radices);
  const length = x.shape[time]!;
  if (length < 1 || length > size)
    throw new ShapeError(op, "the sequences do not fit the transform", {
      expected: `1..${size} steps`,
      got: `${length}`,
    });
  return { shape: [x.shape[0]!, size, x.shape[channel]!], dtype: needCompute(op, "x", x) };
}

function needSpectrum(
  op: string,
  re: TensorType,
  im: TensorType,
  want: readonly (number | undefined)[],
): void {
  need(op, "re", re, want, "[B, N, D]");
  need(op, "im", im, re.shape, "[B, N, D]", re.dtype);
}

/** A multiply-add of complex numbers for every matrix row and column of every stage. */
const flopsOf = (rows: number, radices: readonly number[]): number =>
  8 * rows * transformSize(radices) * radices.reduce((a, b) => a + b, 0);

/** `(x, w0, w1, ...) -> (re, im)`: see {@link butterfly}. */
export const butterflyOp: Op<ButterflyParams> = defineOp<ButterflyParams>({
  name: "butterfly",
  shape: ([x, ...matrices], params) => {
    const type = spectrumType("butterfly", x!, params);
    checkMatrices("butterfly", matrices, params.radices, type.dtype);
    return [type, type];
  },
  reference: transformReference,
  decompose: transformByProducts,
  vjp: ({ inputs, outputs, params, cotangents, needed }) => {
    const [x, ...matrices] = inputs as [Tensor, ...Tensor[]];
    const [re, im] = outputs.map((o, i) => cotangents[i] ?? zerosLike(o)) as [Tensor, Tensor];
    const length = x.shape[sequenceAxes(params.layout).time]!;
    const dx = needed[0] ? butterflyAdjointOp([re, im, ...matrices], { ...params, length })[0] : undefined;
    const learned = needed.slice(1).some(Boolean);
    const dw = learned
      ? butterflyMatrixGradOp([x, re, im, ...matrices], params)
      : matrices.map(() => undefined);
    return [dx, ...dw];
  },
  batch: (context) => foldExamples(context, 1),
  cost: (inputs, outputs, params) => {
    const [batch, , channels] = outputs[0]!.shape as [number, number, number];
    return { flops: flopsOf(batch * channels, params.radices), bytes: bytesMoved(inputs, outputs) };
  },
});

/** `(re, im, w0, w1, ...) -> x`, the real part of the conjugate transpose of {@link butterflyOp}. */
export const butterflyAdjointOp: Op<ButterflyAdjointParams> = defineOp<ButterflyAdjointParams>({
  name: "butterfly-adjoint",
  shape: ([re, im, ...matrices], params) => {
    const { layout, radices, length } = params;
    checkRadices("butterfly-adjoint", radices);
    const size = transformSize(radices);
    needSpectrum("butterfly-adjoint", re!, im!, [undefined, size, undefined]);
    const dtype = needCompute("butterfly-adjoint", "re", re!);
    checkMatrices("butterfly-adjoint", matrices, radices, dtype);
    if (!(length >= 1 && length <= size))
      throw new ShapeError("butterfly-adjoint", "the sequences do not fit the transform", {
        expected: `1..${size} steps`,
        got: `${length}`,
      });
    const [batch, , channels] = re!.shape as [number, number, number];
    return [{ shape: layout === "bdl" ? [batch, channels, length] : [batch, length, channels], dtype }];
  },
  reference: adjointReference,
  decompose: adjointByProducts,
  vjp: ({ inputs, params, cotangents, needed }) => {
    const [re, im, ...matrices] = inputs as [Tensor, Tensor, ...Tensor[]];
    const dx = cotangents[0]!;
    const { layout, radices } = params;
    const [dre, dim] =
      needed[0] || needed[1] ? butterflyOp([dx, ...matrices], { layout, radices }) : [undefined, undefined];
    const learned = needed.slice(2).some(Boolean);
    const dw = learned
      ? butterflyMatrixGradOp([dx, re, im, ...matrices], { layout, radices })
      : matrices.map(() => undefined);
    return [dre, dim, ...dw];
  },
  batch: (context) => foldExamples(context, 2),
  cost: (inputs, outputs, params) => {
    const [batch, , channels] = inputs[0]!.shape as [number, number, number];
    return { flops: flopsOf(batch * channels, params.radices), bytes: bytesMoved(inputs, outputs) };
  },
});

/** `(x, re, im, w0, w1, ...) -> (dw0, dw1, ...)`: gradients of `re . Re(F x) + im . Im(F x)`. */
export const butterflyMatrixGradOp: Op<ButterflyParams> = defineOp<ButterflyParams>({
  name: "butterfly-matrix-grad",
  shape: ([x, re, im, ...matrices], params) => {
    const type = spectrumType("butterfly-matrix-grad", x!, params);
    needSpectrum("butterfly-matrix-grad", re!, im!, type.shape);
    checkMatrices("butterfly-matrix-grad", matrices, params.radices, type.dtype);
    return matrices.map((m) => m);
  },
  reference: matrixGradReference,
  decompose: matrixGradByProducts,
  vjp: (context) => {
    const cotangents = context.outputs.map((o, i) => context.cotangents[i] ?? zerosLike(o));
    return gradientsThrough(matrixGradByProducts, { ...context, cotangents });
  },
  cost: (inputs, outputs, params) => {
    const [batch, , channels] = inputs[1]!.shape as [number, number, number];
    return { flops: 3 * flopsOf(batch * channels, params.radices), bytes: bytesMoved(inputs, outputs) };
  },
});

/** Of `butterfly-conv` and its filters' gradient. */
export interface ButterflyConvParams extends ButterflyParams {
  /** The transposed operator: the filter's spectrum is conjugated. */
  readonly adjoint: boolean;
}
export interface ButterflyFilterGradParams extends ButterflyParams {
  /** Length J of the filters. */
  readonly taps: number;
}

/** `(u, k, w0, w1, ...) -> y`, everything between in scratch memory: see {@link butterflyConv}. */
export const butterflyConvOp: Op<ButterflyConvParams> = defineOp<ButterflyConvParams>({
  name: "butterfly-conv",
  shape: ([u, k, ...matrices], params) => {
    const type = spectrumType("butterfly-conv", u!, params);
    checkMatrices("butterfly-conv", matrices, params.radices, type.dtype);
    const { channel, time } = sequenceAxes(params.layout);
    const want = params.layout === "bdl" ? "[D, J]" : "[J, D]";
    need("butterfly-conv", "k", k!, [undefined, undefined], want, type.dtype);
    if (k!.shape[channel - 1] !== u!.shape[channel] || k!.shape[time - 1]! > type.shape[1]!)
      throw new ShapeError("butterfly-conv", "the filters do not fit", {
        expected: `${u!.shape[channel]} filters of at most ${type.shape[1]} taps`,
        got: `${want} = [${k!.shape.join(", ")}]`,
      });
    return [u!];
  },
  reference: convReference,
  decompose: convByTransforms,
  vjp: (context) => {
    const { inputs, params, cotangents, needed } = context;
    // matrices act in all three transforms: their gradients need the spectra between
    if (needed.slice(2).some(Boolean)) return gradientsThrough(convByTransforms, context);
    const [u, k, ...matrices] = inputs as [Tensor, Tensor, ...Tensor[]];
    const dy = cotangents[0]!;
    const { layout, radices, adjoint } = params;
    const taps = k.shape[sequenceAxes(layout).time - 1]!;
    const [first, second] = adjoint ? [dy, u] : [u, dy];
    return [
      needed[0] ? butterflyConvOp([dy, k, ...matrices], { ...params, adjoint: !adjoint })[0] : undefined,
      needed[1]
        ? butterflyFilterGradOp([first, second, ...matrices], { layout, radices, taps })[0]
        : undefined,
      ...matrices.map(() => undefined),
    ];
  },
  batch: (context) => foldExamples(context, 1),
  cost: (inputs, outputs, params) => {
    const { channel } = sequenceAxes(params.layout);
    const [batch, channels] = [inputs[0]!.shape[0]!, inputs[0]!.shape[channel]!];
    return { flops: flopsOf((2 * batch + 1) * channels, params.radices), bytes: bytesMoved(inputs, outputs) };
  },
});

/** `(u, dy, w0, w1, ...) -> dk`: `Re(F^H sum over the batch of (F dy) conj(F u)) / N`, its first taps. */
export const butterflyFilterGradOp: Op<ButterflyFilterGradParams> = defineOp<ButterflyFilterGradParams>({
  name: "butterfly-filter-grad",
  shape: ([u, dy, ...matrices], params) => {
    const type = spectrumType("butterfly-filter-grad", u!, params);
    need("butterfly-filter-grad", "dy", dy!, u!.shape, "the shape of u", u!.dtype);
    checkMatrices("butterfly-filter-grad", matrices, params.radices, type.dtype);
    const { layout, taps } = params;
    const channels = u!.shape[sequenceAxes(layout).channel]!;
    return [{ shape: layout === "bdl" ? [channels, taps] : [taps, channels], dtype: u!.dtype }];
  },
  reference: filterGradReference,
  decompose: filterGradByTransforms,
  vjp: (context) => gradientsThrough(filterGradByTransforms, context),
  cost: (inputs, outputs, params) => {
    const { channel } = sequenceAxes(params.layout);
    const [batch, channels] = [inputs[0]!.shape[0]!, inputs[0]!.shape[channel]!];
    return { flops: flopsOf((2 * batch + 1) * channels, params.radices), bytes: bytesMoved(inputs, outputs) };
  },
});

const times = (
  [ar, ai]: readonly [Tensor, Tensor],
  [br, bi]: readonly [Tensor, Tensor],
  conjugate: boolean,
  scale: number,
): [Tensor, Tensor] => {
  const [same, cross] = [conjugate ? add : sub, conjugate ? sub : add];
  return [mul(same(mul(ar, br), mul(ai, bi)), scale), mul(cross(mul(ai, br), mul(ar, bi)), scale)];
};

/** The convolution out of transforms: for devices without its kernel, and where matrices learn. */
function convByTransforms(inputs: readonly Tensor[], params: ButterflyConvParams): Tensor[] {
  const [u, k, ...w] = inputs as [Tensor, Tensor, ...Tensor[]];
  const { layout, radices, adjoint } = params;
  const length = u.shape[sequenceAxes(layout).time]!;
  const spectrum = butterflyOp([u, ...w], { layout, radices }) as [Tensor, Tensor];
  const filter = butterflyOp([unsqueeze(k, 0), ...w], { layout, radices }) as [Tensor, Tensor];
  const product = times(spectrum, filter, adjoint, 1 / transformSize(radices));
  return butterflyAdjointOp([...product, ...w], { layout, radices, length });
}

function filterGradByTransforms(inputs: readonly Tensor[], params: ButterflyFilterGradParams): Tensor[] {
  const [u, dy, ...w] = inputs as [Tensor, Tensor, ...Tensor[]];
  const { layout, radices, taps } = params;
  const [a, b] = [u, dy].map((t) => butterflyOp([t, ...w], { layout, radices }) as [Tensor, Tensor]);
  const product = times(b!, a!, true, 1 / transformSize(radices));
  const summed = product.map((t) => sum(t, 0, { keepDims: true }));
  const dk = butterflyAdjointOp([...summed, ...w], { layout, radices, length: taps })[0]!;
  return [squeeze(dk, 0)];
}

/** The mapped axis joins the batch of the first `sequences` inputs; matrices are shared, else the op runs once per example. */
const foldExamples = <P>(context: BatchContext<P>, sequences: number): Tensor[] | undefined =>
  foldIntoBatch(
    context,
    context.inputs.map((_, i) => i >= sequences),
  );

/** Stages of the smallest transform of at least `length` points: matrices of `largest` rows, then one power of two. */
export function butterflyRadices(length: number, largest = 16): number[] {
  const levels = Math.log2(largest);
  if (!Number.isInteger(levels) || levels < 1 || largest > MAX_RADIX)
    throw new ConfigError("butterflyRadices", "the largest matrix must be a power of two", {
      expected: `2..${MAX_RADIX}`,
      got: `${largest}`,
    });
  const bits = Math.max(1, Math.ceil(Math.log2(length)));
  const whole = Array.from({ length: Math.floor(bits / levels) }, () => largest);
  const rest = bits % levels;
  return rest === 0 ? whole : [...whole, 2 ** rest];
}

/** The DFT's matrix of `m` rows as real and imaginary part, `[2, m, m]`: `exp(-2 pi i k a / m)`. */
export function dftMatrix(m: number, on: { readonly device?: Device; readonly dtype?: DType } = {}): Tensor {
  const values = new Float64Array(2 * m * m);
  for (let k = 0; k < m; k++)
    for (let a = 0; a < m; a++) {
      const angle = (-2 * Math.PI * ((k * a) % m)) / m;
      values[k * m + a] = Math.cos(angle);
      values[m * m + k * m + a] = Math.sin(angle);
    }
  return tensor(values, [2, m, m], on);
}

export interface ButterflyConvOptions {
  /** Order of axes: `[B, D, L]` with filters `[D, J]` (default), or `[B, L, D]` with filters `[J, D]`. */
  readonly layout?: Layout;
  /** `[D]`: weight of the input itself. */
  readonly skip?: Tensor;
}

/**
 * Depthwise convolution through a butterfly transform F of given matrices: `y = Re(F^H (F u . F k)) / N + skip u`, zeros beyond the
 * ends of `u` and `k`. With {@link dftMatrix}es it is the causal convolution (where `N >= L + J - 1`); with others it is what
 * the matrices make of it.
 * @param matrices one `[2, m, m]` for each stage; N is the product of the m and at least L and J.
 */
export function butterflyConv(
  u: Tensor,
  k: Tensor,
  matrices: readonly Tensor[],
  options: ButterflyConvOptions = {},
): Tensor {
  checkOptions("butterflyConv", options, ["layout", "skip"]);
  const { layout = "bdl", skip } = options;
  if (u.rank !== 3 || k.rank !== 2)
    throw new ShapeError("butterflyConv", "wrong shapes", {
      expected: "u of three axes, k of two",
      got: `${u.rank}, ${k.rank}`,
    });
  const { tensors } = inOneDtype(Object.fromEntries([u, k, ...matrices].map((t, i) => [`${i}`, t])));
  const [x, filter, ...w] = tensors as [Tensor, Tensor, ...Tensor[]];
  const params = { layout, radices: w.map((m) => m.shape[1]!) };
  const y = butterflyConvOp([x, filter, ...w], { ...params, adjoint: false })[0]!;
  if (!skip) return y;
  return add(y, mul(x, layout === "bdl" ? unsqueeze(skip, -1) : skip));
}
