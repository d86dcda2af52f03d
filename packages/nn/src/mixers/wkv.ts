// The recurrence of RWKV 5 and 6 (Peng et al. 2024, arXiv 2404.05892): a decaying matrix memory read before it is written,
// with a bonus for the present.

import {
  add,
  cast,
  exp,
  matmul,
  mul,
  narrow,
  pad,
  squeeze,
  sum,
  unsqueeze,
  type Tensor,
} from "@everlong/core";
import { gatedLinearAttention } from "@everlong/kernels";
import type { GatedForm } from "./gated-linear-attention.ts";

/** What enters one step of the recurrence. */
export interface WkvInputs {
  /** Receptance (the query) and key `[B, T, H, K]`, value `[B, T, H, V]`. */
  readonly r: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
  /** Logarithms of the decays, `[B, T, H, K]`. */
  readonly logDecay: Tensor;
  /** Weight of the present in its own output, `[H, K]`. */
  readonly bonus: Tensor;
}

/**
 * `y_t = (S_(t-1) + diag(u) k_t v_t^T)^T r_t`, `S_t = diag(exp g_t) S_(t-1) + k_t v_t^T`.
 * @returns `y` `[B, T, H, V]` and a function that gives the last state `[B, H, K, V]`
 */
export function wkv(inputs: WkvInputs, form: GatedForm): { y: Tensor; last: () => Tensor } {
  const { r, k, v, logDecay, bonus } = inWideDtype(inputs);
  const time = r.shape[1]!;
  // One step later everything was written just now: the read of gated linear attention.
  const later = (t: Tensor): Tensor =>
    pad(narrow(t, 1, 0, time - 1), [
      [0, 0],
      [1, 0],
      [0, 0],
      [0, 0],
    ]);
  const { y, state } = gatedLinearAttention(r, later(k), later(v), {
    logDecay: later(logDecay),
    scale: 1,
    form,
  });
  const final = (t: Tensor): Tensor => squeeze(narrow(t, 1, time - 1, time), 1);
  return {
    y: cast(add(y, present(r, k, v, bonus)), inputs.r.dtype),
    last: () => write(state, final(k), final(v), final(logDecay)),
  };
}

/** One step of {@link wkv}; inputs `[B, H, K]`. */
export function wkvStep(state: Tensor, inputs: WkvInputs): { y: Tensor; state: Tensor } {
  const { r, k, v, logDecay, bonus } = inWideDtype(inputs);
  const read = squeeze(matmul(unsqueeze(r, -2), state), -2);
  return {
    y: cast(add(read, present(r, k, v, bonus)), inputs.r.dtype),
    state: write(state, k, v, logDecay),
  };
}

/** Half precision is stored only: the memory sums in f32. */
export const wide = (t: Tensor): Tensor => (t.dtype === "bf16" || t.dtype === "f16" ? cast(t, "f32") : t);

const inWideDtype = ({ r, k, v, logDecay, bonus }: WkvInputs): WkvInputs => ({
  r: wide(r),
  k: wide(k),
  v: wide(v),
  logDecay: wide(logDecay),
  bonus: wide(bonus),
});

const present = (r: Tensor, k: Tensor, v: Tensor, bonus: Tensor): Tensor =>
  mul(sum(mul(mul(r, bonus), k), -1, { keepDims: true }), v);

const write = (state: Tensor, k: Tensor, v: Tensor, logDecay: Tensor): Tensor =>
  add(mul(state, unsqueeze(exp(logDecay), -1)), mul(unsqueeze(k, -1), unsqueeze(v, -2)));
