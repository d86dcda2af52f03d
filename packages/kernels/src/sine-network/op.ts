// A small network with sine activations over the positions of a filter, under an exponential window: the implicit filters of Hyena (Poli et
// al. 2023, section 3.3) in one call forward and one backward, where a dozen products of a few thousand numbers would each be launched.

import {
  abs,
  add,
  defineOp,
  exp,
  matmul,
  mul,
  neg,
  ShapeError,
  sin,
  sizeOf,
  transpose,
  unsqueeze,
  type Op,
  type Tensor,
  type TensorType,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { named, need, needCompute, present } from "../inputs.ts";
import { gradientsThrough } from "../through-decomposition.ts";
import { trained, type SineNetworkInput, type SineNetworkParams } from "./params.ts";
import { sineNetworkGradReference, sineNetworkReference } from "./reference.ts";

export type { SineNetworkInput, SineNetworkParams } from "./params.ts";

type Types = Readonly<Record<string, TensorType | undefined>>;

function check(
  op: string,
  types: Types,
  { hidden }: SineNetworkParams,
): { length: number; channels: number } {
  const dtype = needCompute(op, "z", types["z"]!);
  need(op, "z", types["z"]!, [undefined, undefined], "[L, E]");
  const [length] = types["z"]!.shape as [number];
  let width = types["z"]!.shape[1]!;
  for (let i = 0; i <= hidden; i++) {
    const w = types[`w${i}`];
    if (!w) throw new ShapeError(op, `layer ${i} has no weight`, { expected: `${hidden + 1} weights` });
    need(op, `w${i}`, w, [undefined, width], "[outputs, inputs]", dtype);
    width = w.shape[0]!;
    const b = types[`b${i}`];
    if (b) need(op, `b${i}`, b, [width], "[outputs]", dtype);
    if (i < hidden) need(op, "frequency", types["frequency"]!, [width], "[W]: one width for all", dtype);
  }
  if (types["time"]) {
    need(op, "time", types["time"], [length], "[L]", dtype);
    need(op, "decay", types["decay"]!, [width], "[C]", dtype);
  }
  if (types["dy"]) need(op, "dy", types["dy"], [length, width], "[L, C]", dtype);
  return { length, channels: width };
}

function decompose(inputs: readonly Tensor[], { hidden, shift, inputs: names }: SineNetworkParams): Tensor[] {
  const t = named<string, Tensor>(names, inputs);
  let h = t["z"]!;
  for (let i = 0; i <= hidden; i++) {
    h = matmul(h, transpose(t[`w${i}`]!));
    const b = t[`b${i}`];
    if (b) h = add(h, b);
    if (i < hidden) h = sin(mul(h, t["frequency"]!));
  }
  if (!t["time"]) return [h];
  return [mul(h, add(exp(neg(mul(unsqueeze(t["time"], -1), abs(t["decay"]!)))), shift))];
}

function decomposeGrad(inputs: readonly Tensor[], params: SineNetworkParams): Tensor[] {
  const names: SineNetworkInput[] = params.inputs.filter((n) => n !== "dy");
  const wanted: readonly SineNetworkInput[] = trained(names);
  const found = gradientsThrough<SineNetworkParams>(decompose, {
    inputs: inputs.filter((_, i) => params.inputs[i] !== "dy"),
    outputs: [],
    params: { ...params, inputs: names },
    cotangents: [inputs[params.inputs.indexOf("dy")]!],
    needed: names.map((n) => wanted.includes(n)),
  });
  return wanted.map((n) => found[names.indexOf(n)]!);
}

const flops = (inputs: readonly TensorType[], { inputs: names }: SineNetworkParams): number =>
  names.reduce((n, name, i) => n + (name.startsWith("w") ? 2 * sizeOf(inputs[i]!.shape) : 0), 0) *
  inputs[names.indexOf("z")]!.shape[0]!;

/**
 * `(z [L, E], frequency [W], w0 [W, E], b0? [W], ..., wn [C, W], time? [L], decay? [C]) -> [L, C]`:
 * `h <- sin(frequency (h w^T + b))` for all layers but the last, then times `exp(-time |decay|) + shift`.
 */
export const sineNetworkOp: Op<SineNetworkParams> = defineOp<SineNetworkParams>({
  name: "sine-network",
  shape: (inputs, params) => {
    const { length, channels } = check(
      "sine-network",
      named<string, TensorType>(params.inputs, inputs),
      params,
    );
    return [{ shape: [length, channels], dtype: inputs[0]!.dtype }];
  },
  reference: sineNetworkReference,
  decompose,
  vjp: (context) => {
    const { inputs, params, cotangents, needed } = context;
    const fixed = params.inputs.some((n, i) => (n === "time" || n === "decay") && needed[i]);
    if (fixed) return gradientsThrough(decompose, context);
    const found = sineNetworkGradOp([...inputs, cotangents[0]!], {
      ...params,
      inputs: [...params.inputs, "dy"],
    });
    const order = trained(params.inputs);
    return params.inputs.map((n) => found[order.indexOf(n)]);
  },
  cost: (inputs, outputs, params) => ({ flops: flops(inputs, params), bytes: bytesMoved(inputs, outputs) }),
});

/** The inputs of {@link sineNetworkOp} and `dy [L, C]` to the gradients of `z`, `frequency`, weights and biases, in their order. */
export const sineNetworkGradOp: Op<SineNetworkParams> = defineOp<SineNetworkParams>({
  name: "sine-network-grad",
  shape: (inputs, params) => {
    check("sine-network-grad", named<string, TensorType>(params.inputs, inputs), params);
    return trained(params.inputs).map((n) => inputs[params.inputs.indexOf(n)]!);
  },
  reference: sineNetworkGradReference,
  decompose: decomposeGrad,
  vjp: (context) => {
    const cotangents = context.outputs.map((t, i) => context.cotangents[i] ?? mul(t, 0));
    return gradientsThrough(decomposeGrad, { ...context, cotangents });
  },
  cost: (inputs, outputs, params) => ({
    flops: 3 * flops(inputs, params),
    bytes: bytesMoved(inputs, outputs),
  }),
});

export interface SineNetwork {
  /** `[L, E]`: features of the positions. */
  readonly z: Tensor;
  /** `[W]`: by what features are multiplied before the sine. */
  readonly frequency: Tensor;
  /** Weights `[outputs, inputs]` and biases by layer; the last layer is linear. */
  readonly layers: readonly { readonly weight: Tensor; readonly bias?: Tensor | undefined }[];
  /** `exp(-time |decay|) + shift` with time `[L]` and decay `[C]`. Default: no window. */
  readonly window?: { readonly time: Tensor; readonly decay: Tensor; readonly shift: number } | undefined;
}

/** The filter `[L, C]` that a sine network gives. */
export function sineNetwork({ z, frequency, layers, window }: SineNetwork): Tensor {
  const parts: { [K in SineNetworkInput]?: Tensor | undefined } = { z, frequency };
  layers.forEach(({ weight, bias }, i) => {
    parts[`w${i}`] = weight;
    parts[`b${i}`] = bias;
  });
  const { names, tensors } = present<SineNetworkInput>({
    ...parts,
    time: window?.time,
    decay: window?.decay,
  });
  const params = { hidden: layers.length - 1, shift: window?.shift ?? 0, inputs: names };
  return sineNetworkOp(tensors, params)[0]!;
}
