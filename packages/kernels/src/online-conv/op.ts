// One step of a long convolution whose inputs arrive one at a time and depend on its outputs, as in generation: online
// multiplication of power series. It is not: for whole sequences, which `fftConv` convolves at once.

import {
  add,
  and,
  cast,
  clamp,
  defineOp,
  equal,
  greaterEqual,
  iota,
  less,
  mod,
  mul,
  narrow,
  neg,
  pad,
  reshape,
  sub,
  sum,
  takeAlong,
  broadcastTo,
  unsqueeze,
  where,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { fftConv } from "../fft-conv/fft-conv.ts";
import { inOneDtype, need, needCompute } from "../inputs.ts";
import { ONLINE_BLOCK } from "./block.ts";
import { onlineConvReference } from "./reference.ts";

/** `x` where `index` is in `[from, to)`, else 0. */
const within = (x: Tensor, index: Tensor, from: Tensor, to: Tensor): Tensor =>
  where(and(greaterEqual(index, from), less(index, to)), x, 0);

/** The same out of primitives: every step transforms all slots, of which a mask leaves one block. */
function decompose([u, taps, held, clock]: readonly Tensor[]): Tensor[] {
  const [, slots] = held!.shape as [number, number, number];
  const now = clock!;
  const index = iota([slots, 1], 0, { device: held!.device });
  const here = equal(index, now);
  const start = sub(now, mod(now, ONLINE_BLOCK));
  const owed = sum(where(here, held!, 0), 1);
  // taps[now - s] for the slots s of this block
  const turned = broadcastTo(clamp(sub(now, index), 0, slots - 1), taps!.shape);
  const near = within(mul(held!, takeAlong(taps!, turned, 0)), index, start, now);
  const first = mul(u!, reshape(narrow(taps!, 0, 0, 1), [-1]));
  const inside = and(greaterEqual(now, 0), less(now, slots));
  const y = where(inside, add(add(owed, sum(near, 1)), first), Number.NaN);
  const written = where(here, unsqueeze(u!, 1), held!);
  const next = add(now, 1);
  const low = and(next, neg(next));
  const block = within(written, index, sub(next, low), next);
  const paid = within(fftConv(block, taps!, { layout: "bld" }), index, next, add(next, low));
  return [y, where(and(inside, greaterEqual(low, ONLINE_BLOCK)), add(written, paid), written)];
}

/**
 * `(u [B, C], taps [G, C], held [B, G, C], clock []) -> (y [B, C], held)`. Slots below the clock n hold inputs, those from
 * it on what inputs already add to later outputs. `y = held[n] + sum_s taps[n - s] u_s` over the s of the current block of
 * {@link ONLINE_BLOCK}, n included; u goes to slot n. Then, if 2^q is the largest power of two that divides n + 1 and at
 * least a block, the last 2^q inputs add their share to the next 2^q slots. A clock outside of the slots gives NaN.
 */
export const onlineConvOp: Op<Record<never, never>> = defineOp<Record<never, never>>({
  name: "online-conv",
  shape: ([u, taps, held, clock]) => {
    const dtype = needCompute("online-conv", "u", u!);
    need("online-conv", "u", u!, [undefined, undefined], "[B, C]");
    const [batch, channels] = u!.shape as [number, number];
    need("online-conv", "held", held!, [batch, undefined, channels], "[B, G, C]", dtype);
    need("online-conv", "taps", taps!, [held!.shape[1], channels], "[G, C]", dtype);
    need("online-conv", "clock", clock!, [], "a scalar", "i32");
    return [u!, held!];
  },
  reference: onlineConvReference,
  decompose,
  cost: (inputs, outputs) => {
    const [u, , held] = inputs;
    const [batch, slots, channels] = held!.shape as [number, number, number];
    const levels = Math.max(0, Math.ceil(Math.log2(slots / ONLINE_BLOCK)));
    // One transform of each of three sequences per level, spread over the steps of its block.
    const transforms = levels * 15 * Math.log2(Math.max(2, slots));
    return {
      flops: batch * channels * (ONLINE_BLOCK + transforms),
      bytes: bytesMoved([u!], [outputs[0]!]) * (ONLINE_BLOCK + 2 * levels),
    };
  },
  inPlace: [undefined, 2],
});

/**
 * The next output of a causal convolution whose inputs arrive one at a time: after calls with `u_0 .. u_n` the result is
 * `y_n = sum_s taps[n - s] u_s + held_0[n]`, where `held_0` is what `held` started as (zeros, or what earlier inputs add to
 * the outputs to come). A whole sequence costs O(G log^2 G) for each channel (M. J. Fischer and L. J. Stockmeyer 1974, "Fast
 * on-line integer multiplication"; C.-A. Oncescu et al. 2024, arXiv 2410.12982, for long convolutions).
 *
 * @param u `[B, C]`, the input of position `clock`
 * @param taps `[G, C]`
 * @param held `[B, G, C]`; where nobody else needs it (a donated variable of a compiled function), it is updated in place
 * @param clock `[]` i32, positions so far; the same for all rows, and one more in the next call
 * @returns `y` `[B, C]`, NaN once all G positions are over, and what to hold next
 */
export function onlineConv(
  u: Tensor,
  taps: Tensor,
  held: Tensor,
  clock: Tensor,
): { readonly y: Tensor; readonly held: Tensor } {
  const { tensors } = inOneDtype({ u, taps, held });
  const [y, next] = onlineConvOp([...tensors, cast(clock, "i32")], {});
  return { y: cast(y!, u.dtype), held: next! };
}

/**
 * What a prompt adds to the next `slots` outputs of a causal convolution, to start {@link onlineConv} from.
 * @param u `[B, P, C]`
 * @param taps `[J, C]`; those beyond J count as 0
 * @returns `[B, slots, C]`
 */
export function onlineConvStart(u: Tensor, taps: Tensor, slots: number): Tensor {
  const prompt = u.shape[1]!;
  const wide = pad(u, [
    [0, 0],
    [0, slots],
    [0, 0],
  ]);
  return narrow(fftConv(wide, taps, { layout: "bld" }), 1, prompt, prompt + slots);
}
