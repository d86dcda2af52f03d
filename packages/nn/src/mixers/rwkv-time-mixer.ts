// What the time mixers of RWKV 5 and 6 share: heads, the recurrence, a norm over each head and a gate.

import {
  add,
  broadcastTo,
  cast,
  exp,
  mul,
  neg,
  ones,
  reshape,
  silu,
  squeeze,
  sub,
  zeros,
  ConfigError,
  type Tensor,
  type Variable,
} from "@everlong/core";
import { layerNorm } from "@everlong/kernels";
import { parameter, type ForwardOptions } from "../layer.ts";
import type { Linear } from "../layers/linear.ts";
import type { MixerState, PrefillOptions } from "../mixer.ts";
import type { GatedForm } from "./gated-linear-attention.ts";
import { lastReal, previous, zeroPadding } from "./padding.ts";
import { wide, wkv, wkvStep } from "./wkv.ts";

/** Scale and shift per channel after a norm over each head. */
export class HeadNorm {
  /** `[A]`. */
  readonly weight: Variable;
  /** `[A]`. */
  readonly bias: Variable;

  constructor(width: number, like: Tensor) {
    this.weight = parameter(ones([width], { device: like.device }), { weightDecay: 0 });
    this.bias = parameter(zeros([width], { device: like.device }), { weightDecay: 0 });
  }

  /** @param y `[B, T, H, V]` @returns `[B, T, H V]` */
  forward(y: Tensor, eps: number): Tensor {
    const normed = layerNorm(wide(y), undefined, undefined, { eps });
    const flat = reshape(normed, [...y.shape.slice(0, -2), -1]);
    return cast(add(mul(flat, this.weight.value), this.bias.value), y.dtype);
  }
}

/** Receptance, key, value and gate `[B, T, A]`, and logarithms of decays `[B, T, A]` or `[A]`. */
export interface RwkvSignals {
  readonly r: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  readonly gate: Tensor;
  readonly logDecay: Tensor;
}

/** A time mixer whose signals come from a position and its predecessor. */
export interface RwkvParts {
  readonly dim: number;
  /** A: width of all heads. */
  readonly width: number;
  readonly heads: number;
  readonly form: GatedForm;
  readonly bonus: Variable;
  readonly lnX: HeadNorm;
  /** Of the norm. */
  readonly eps: number;
  readonly output: Linear;
  signals(x: Tensor, before: Tensor): RwkvSignals;
}

/** A whole sequence. */
export function mixSequence(
  parts: RwkvParts,
  x: Tensor,
  { mask }: ForwardOptions,
): { y: Tensor; last: () => Tensor } {
  // Projections have no bias: zeros write nothing.
  const real = zeroPadding(x, mask);
  const { r, k, v, gate, logDecay } = parts.signals(real, previous(real));
  const split = (t: Tensor): Tensor => reshape(t, [x.shape[0]!, x.shape[1]!, parts.heads, -1]);
  // The first padded position behind still sees its predecessor.
  const written = wkv(
    {
      r: split(r),
      k: zeroPadding(split(k), mask),
      v: split(v),
      logDecay: zeroPadding(split(broadcastTo(logDecay, k.shape)), mask),
      bonus: parts.bonus.value,
    },
    parts.form,
  );
  return { y: finish(parts, written.y, gate), last: written.last };
}

export function prefillSequence(
  parts: RwkvParts,
  x: Tensor,
  options: PrefillOptions,
): { y: Tensor; state: MixerState } {
  const { y, last } = mixSequence(parts, x, options);
  return { y, state: { before: squeeze(lastReal(x, 1, options.mask), 1), memory: last() } };
}

export function mixPosition(
  parts: RwkvParts,
  x: Tensor,
  state: MixerState,
): { y: Tensor; state: MixerState } {
  const { r, k, v, gate, logDecay } = parts.signals(x, state["before"]!);
  const split = (t: Tensor): Tensor => reshape(t, [x.shape[0]!, parts.heads, -1]);
  const { y, state: memory } = wkvStep(state["memory"]!, {
    r: split(r),
    k: split(k),
    v: split(v),
    logDecay: logDecay.rank === 1 ? reshape(logDecay, [1, parts.heads, -1]) : split(logDecay),
    bonus: parts.bonus.value,
  });
  return { y: finish(parts, y, gate), state: { before: x, memory } };
}

const finish = (parts: RwkvParts, y: Tensor, gate: Tensor): Tensor =>
  parts.output.forward(mul(parts.lnX.forward(y, parts.eps), cast(silu(wide(gate)), gate.dtype)));

/** `x` where `share` is 1, its predecessor where it is 0. */
export const interpolate = (x: Tensor, before: Tensor, share: Tensor): Tensor =>
  add(mul(x, share), mul(before, sub(1, share)));

/** `-exp w`: the logarithm of a decay. */
export const logDecayOf = (w: Tensor): Tensor => neg(exp(wide(w)));

/** A row `[1, 1, D]` as `[D]`, which suits sequences and single positions. */
export const rowOf = (v: Variable): Tensor => reshape(v.value, [-1]);

/** @returns the number of heads. */
export function rwkvHeads(op: string, width: number, headSize: number): number {
  if (!Number.isInteger(headSize) || headSize < 1 || width % headSize !== 0) {
    throw new ConfigError(op, "headSize does not divide the width", { got: `${headSize}, ${width}` });
  }
  return width / headSize;
}

export const rwkvStateBytes = ({ dim, width, heads }: RwkvParts): number =>
  4 * (dim + (width * width) / heads);

/** Of the recurrence and the five maps. */
export const rwkvFlops = (parts: RwkvParts, time: number): number => {
  const { dim, width, heads } = parts;
  return time * (10 * dim * width + (5 * width * width) / heads + 12 * width);
};
