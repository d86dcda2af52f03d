// A long input through a state space, chunk after chunk, with its state carried: the state passing of FlashConv.

import {
  add,
  checkOptions,
  Complex,
  concat,
  narrow,
  permute,
  reshape,
  scan,
  tile,
  zeros,
  type Tensor,
} from "@everlong/core";
import { fftConv } from "@everlong/kernels";
import { checkChunk } from "../mixers/chunks.ts";
import type { SsmKernel } from "./ssm-kernel.ts";

export interface ChunkedSsmOptions {
  /** Positions convolved at a time. Default 1,024. */
  readonly chunk?: number;
  /** The state `[B, H, M]` that earlier inputs left. Default 0. */
  readonly state?: Complex;
}

interface Carry {
  readonly [part: string]: Tensor;
  readonly re: Tensor;
  readonly im: Tensor;
}

/**
 * Outputs of a state space, and its state behind the input. Within a chunk they are a convolution, between chunks the state
 * passes (Dao et al. 2022, arXiv 2212.14052, algorithm 1). Equal to the convolution of the whole, gradients too; a kernel of
 * one chunk is made, temporaries are as large as a chunk, and the backward pass keeps one state for each.
 * @param u `[B, T, H]`
 * @returns `y` `[B, T, C H]` and `state` `[B, H, M]`
 */
export function chunkedSsm(
  ssm: SsmKernel,
  u: Tensor,
  options: ChunkedSsmOptions = {},
): { readonly y: Tensor; readonly state: Complex } {
  checkOptions("chunkedSsm", options, ["chunk", "state"]);
  const { chunk = 1024 } = options;
  checkChunk("chunkedSsm", chunk);
  const [batch, time, channels] = u.shape as [number, number, number];
  const rows = ssm.outputs * channels;
  const none = zeros([batch, channels, ssm.modes], { dtype: u.dtype, device: u.device });
  const start = options.state ?? new Complex(none, none);
  const kernel = permute(reshape(ssm.kernel(Math.min(chunk, time)), [rows, -1]), [1, 0]);
  const one = (carry: Carry, x: Tensor): [Carry, Tensor] => {
    const length = x.shape[1]!;
    const before = new Complex(carry.re, carry.im);
    const wide = ssm.outputs === 1 ? x : tile(x, ssm.outputs, 2);
    const owed = permute(reshape(ssm.kernelOfState(before, length), [batch, rows, length]), [0, 2, 1]);
    const y = add(fftConv(wide, kernel, { layout: "bld" }), owed);
    const { re, im } = ssm.advance(permute(x, [0, 2, 1]), before);
    return [{ re, im }, y];
  };
  const full = time - (time % chunk);
  let carry: Carry = { re: start.re, im: start.im };
  const parts: Tensor[] = [];
  if (full > 0) {
    const cut = reshape(narrow(u, 1, 0, full), [batch, full / chunk, chunk, channels]);
    const [last, ys] = scan(one, carry, permute(cut, [1, 0, 2, 3]));
    parts.push(reshape(permute(ys, [1, 0, 2, 3]), [batch, full, rows]));
    carry = last;
  }
  if (full < time) {
    const [last, y] = one(carry, narrow(u, 1, full, time));
    parts.push(y);
    carry = last;
  }
  return {
    y: parts.length === 1 ? parts[0]! : concat(parts, 1),
    state: new Complex(carry.re, carry.im),
  };
}
