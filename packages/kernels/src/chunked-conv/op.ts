// A long input convolved chunk after chunk, with what each chunk adds to later positions carried on: the same numbers as at
// once, forward and backward, with temporaries as large as a chunk and the filter.

import {
  ConfigError,
  add,
  cast,
  checkOptions,
  concat,
  defineOp,
  flip,
  narrow,
  pad,
  permute,
  reshape,
  scan,
  show,
  ShapeError,
  zeros,
  zerosLike,
  type Op,
  type Tensor,
} from "@everlong/core";
import { bytesMoved } from "../cost.ts";
import { fftConv } from "../fft-conv/fft-conv.ts";
import { fftConvFilterGradOp } from "../fft-conv/op.ts";
import { inOneDtype, need, needCompute } from "../inputs.ts";
import { chunkedConvFilterGradReference, chunkedConvReference } from "./reference.ts";

export interface ChunkedConvParams {
  /** Positions convolved at a time. */
  readonly chunk: number;
}

/** `x` `[B, T, C]` as chunks `[N, B, chunk, C]`, zeros behind the end. */
function toChunks(x: Tensor, chunk: number): Tensor {
  const [batch, time, channels] = x.shape as [number, number, number];
  const count = Math.ceil(time / chunk);
  const whole = padTime(x, 0, count * chunk - time);
  return permute(reshape(whole, [batch, count, chunk, channels]), [1, 0, 2, 3]);
}

const padTime = (x: Tensor, before: number, behind: number): Tensor =>
  before + behind === 0
    ? x
    : pad(x, [
        [0, 0],
        [before, behind],
        [0, 0],
      ]);

/** `[N, B, chunk, C]` back to the first `time` positions `[B, time, C]`. */
function fromChunks(x: Tensor, time: number): Tensor {
  const [count, batch, chunk, channels] = x.shape as [number, number, number, number];
  return narrow(reshape(permute(x, [1, 0, 2, 3]), [batch, count * chunk, channels]), 1, 0, time);
}

const transformFlops = (
  batch: number,
  channels: number,
  time: number,
  chunk: number,
  taps: number,
): number => {
  const length = Math.min(chunk, time) + taps;
  return batch * channels * Math.ceil(time / chunk) * length * (15 * Math.log2(2 * length) + 12);
};

/** One chunk: `u` `[B, T, C]` and what is owed to it and behind it, `carry` `[B, J - 1, C]`. */
function oneChunk(u: Tensor, k: Tensor, carry: Tensor): readonly [carry: Tensor, y: Tensor] {
  const [time, after] = [u.shape[1]!, carry.shape[1]!];
  const whole = add(fftConv(padTime(u, 0, after), k, { layout: "bld" }), padTime(carry, 0, time));
  return [narrow(whole, 1, time, time + after), narrow(whole, 1, 0, time)];
}

function decompose([u, k, carry]: readonly Tensor[], { chunk }: ChunkedConvParams): Tensor[] {
  const time = u!.shape[1]!;
  const full = time - (time % chunk);
  let next = carry!;
  const parts: Tensor[] = [];
  if (full > 0) {
    const [last, ys] = scan(
      (c: Tensor, x: Tensor) => oneChunk(x, k!, c),
      carry!,
      toChunks(narrow(u!, 1, 0, full), chunk),
    );
    parts.push(fromChunks(ys, full));
    next = last;
  }
  if (full < time) {
    const [last, y] = oneChunk(narrow(u!, 1, full, time), k!, next);
    parts.push(y);
    next = last;
  }
  return [parts.length === 1 ? parts[0]! : concat(parts, 1), next];
}

/** `(u [B, T, C], k [J, C], carry [B, J - 1, C]) -> (y [B, T, C], carry)`; J at least 2. */
export const chunkedConvOp: Op<ChunkedConvParams> = defineOp<ChunkedConvParams>({
  name: "chunked-conv",
  shape: ([u, k, carry], { chunk }) => {
    const op = "chunked-conv";
    const dtype = needCompute(op, "u", u!);
    need(op, "u", u!, [undefined, undefined, undefined], "[B, T, C]");
    const [batch, time, channels] = u!.shape as [number, number, number];
    need(op, "k", k!, [undefined, channels], "[J, C]", dtype);
    if (time === 0 || k!.shape[0]! < 2)
      throw new ShapeError(op, "needs positions, and two taps", {
        got: `${show(u!.shape)} and ${show(k!.shape)}`,
      });
    need(op, "carry", carry!, [batch, k!.shape[0]! - 1, channels], "[B, J - 1, C]", dtype);
    if (!Number.isInteger(chunk) || chunk < 1)
      throw new ConfigError(op, "chunk must be a positive integer", { got: `${chunk}` });
    return [u!, carry!];
  },
  reference: chunkedConvReference,
  decompose,
  vjp: ({ inputs, params, cotangents, outputs, needed }) => {
    const [u, k, carry] = inputs as [Tensor, Tensor, Tensor];
    const dy = cotangents[0] ?? zerosLike(outputs[0]!);
    const dafter = cotangents[1] ?? zerosLike(outputs[1]!);
    const after = carry.shape[1]!;
    const out: (Tensor | undefined)[] = [undefined, undefined, undefined];
    if (needed[0]) {
      // Backwards in time what came after is a prompt: it owes to the positions before.
      const owed = narrow(
        fftConv(padTime(flip(dafter, 1), 0, after), k, { layout: "bld" }),
        1,
        after,
        2 * after,
      );
      out[0] = flip(chunkedConvOp([flip(dy, 1), k, owed], params)[0]!, 1);
    }
    if (needed[1]) out[1] = chunkedConvFilterGradOp([u, dy, dafter], params)[0]!;
    if (needed[2]) out[2] = narrow(concat([dy, dafter], 1), 1, 0, after);
    return out;
  },
  cost: ([u, k, carry], outputs, { chunk }) => {
    const [batch, time, channels] = u!.shape as [number, number, number];
    return {
      flops: transformFlops(batch, channels, time, chunk, k!.shape[0]!),
      bytes: bytesMoved([u!, k!, carry!], outputs),
    };
  },
});

/** The lags 0 .. after of `dy` against `u`, of which `later` `[B, after, C]` comes behind `dy`. */
function lags(u: Tensor, dy: Tensor, later: Tensor): Tensor {
  const [time, after] = [u.shape[1]!, later.shape[1]!];
  const inputs = ["u", "dy"] as const;
  const params = { layout: "bld", circular: false, origin: 0, taps: after + 1, inputs } as const;
  return fftConvFilterGradOp([padTime(u, 0, after), concat([dy, later], 1)], params)[0]!.slice([
    { stop: Math.min(after + 1, time + after) },
  ]);
}

function decomposeFilterGrad([u, dy, dafter]: readonly Tensor[], { chunk }: ChunkedConvParams): Tensor[] {
  const [, time, channels] = u!.shape as [number, number, number];
  const after = dafter!.shape[1]!;
  const full = time - (time % chunk);
  const rest = (t: Tensor): Tensor => narrow(t, 1, full, time);
  let later = dafter!;
  let total = zeros([after + 1, channels], { dtype: u!.dtype, device: u!.device });
  if (full < time) {
    total = lags(rest(u!), rest(dy!), later);
    later = narrow(concat([rest(dy!), later], 1), 1, 0, after);
  }
  if (full === 0) return [total];
  const cut = (t: Tensor): Tensor => toChunks(narrow(t, 1, 0, full), chunk);
  const [last] = scan(
    (c: { total: Tensor; later: Tensor }, x: { u: Tensor; dy: Tensor }) =>
      [
        {
          total: add(c.total, lags(x.u, x.dy, c.later)),
          later: narrow(concat([x.dy, c.later], 1), 1, 0, after),
        },
        null,
      ] as const,
    { total, later },
    { u: cut(u!), dy: cut(dy!) },
    { reverse: true },
  );
  return [last.total];
}

/** `(u [B, T, C], dy [B, T, C], dafter [B, J - 1, C]) -> dk [J, C]`. */
export const chunkedConvFilterGradOp: Op<ChunkedConvParams> = defineOp<ChunkedConvParams>({
  name: "chunked-conv-filter-grad",
  shape: ([u, dy, dafter]) => {
    const op = "chunked-conv-filter-grad";
    const dtype = needCompute(op, "u", u!);
    need(op, "u", u!, [undefined, undefined, undefined], "[B, T, C]");
    const [batch, , channels] = u!.shape as [number, number, number];
    need(op, "dy", dy!, u!.shape, "shape of u", dtype);
    need(op, "dafter", dafter!, [batch, undefined, channels], "[B, J - 1, C]", dtype);
    return [{ shape: [dafter!.shape[1]! + 1, channels], dtype }];
  },
  reference: chunkedConvFilterGradReference,
  decompose: decomposeFilterGrad,
  vjp: ({ inputs, params, cotangents, needed }) => {
    const [u, dy, dafter] = inputs as [Tensor, Tensor, Tensor];
    const g = cotangents[0]!;
    // Bilinear: the cotangent is a filter, ahead in time for dy and dafter, backwards for u.
    const after = dafter.shape[1]!;
    const out: (Tensor | undefined)[] = [undefined, undefined, undefined];
    if (needed[0]) {
      const owed = narrow(
        fftConv(padTime(flip(dafter, 1), 0, after), g, { layout: "bld" }),
        1,
        after,
        2 * after,
      );
      out[0] = flip(chunkedConvOp([flip(dy, 1), g, owed], params)[0]!, 1);
    }
    if (needed[1] || needed[2]) [out[1], out[2]] = chunkedConvOp([u, g, zerosLike(dafter)], params);
    return out;
  },
  cost: ([u, dy, dafter], outputs, { chunk }) => {
    const [batch, time, channels] = u!.shape as [number, number, number];
    return {
      flops: transformFlops(batch, channels, time, chunk, outputs[0]!.shape[0]!),
      bytes: bytesMoved([u!, dy!, dafter!], outputs),
    };
  },
});

export interface ChunkedConvOptions {
  /** Positions convolved at a time. Default: as many as the filter has taps, at least 1,024. */
  readonly chunk?: number;
  /** What earlier inputs add, `[B, J - 1, C]`, as returned for the part before. Default: nothing. */
  readonly carry?: Tensor;
  /** `[C]`: weight of the input itself, added to lag 0. */
  readonly skip?: Tensor;
}

/**
 * Causal convolution of a long input, or of one part of a longer one, chunk after chunk (the state passing of FlashConv, Dao
 * et al. 2022, arXiv 2212.14052, section 4, for filters without a state space: what passes is what is owed to later outputs).
 * Equal to `fftConv` over the whole, gradients too; temporaries are as large as a chunk and the filter.
 * @param u `[B, T, C]`
 * @param k `[J, C]`
 * @returns `y` `[B, T, C]` and the `carry` for the part that follows
 */
export function chunkedConv(
  u: Tensor,
  k: Tensor,
  options: ChunkedConvOptions = {},
): { readonly y: Tensor; readonly carry: Tensor } {
  checkOptions("chunkedConv", options, ["chunk", "carry", "skip"]);
  if (u.rank !== 3 || k.rank !== 2)
    throw new ShapeError("chunkedConv", "wrong ranks", {
      expected: "u [B, T, C] and k [J, C]",
      got: `${show(u.shape)} and ${show(k.shape)}`,
    });
  const [batch, , channels] = u.shape as [number, number, number];
  const { skip, chunk = Math.max(1024, k.shape[0]!) } = options;
  // A second tap of 0 leaves something to carry.
  let filter =
    k.shape[0] === 1
      ? pad(k, [
          [0, 1],
          [0, 0],
        ])
      : k;
  if (skip) {
    const first = add(narrow(filter, 0, 0, 1), reshape(skip, [1, channels]));
    filter = concat([first, narrow(filter, 0, 1, filter.shape[0]!)], 0);
  }
  const carry =
    options.carry ?? zeros([batch, filter.shape[0]! - 1, channels], { dtype: u.dtype, device: u.device });
  const { tensors } = inOneDtype({ u, k: filter, carry });
  const [y, next] = chunkedConvOp(tensors, { chunk });
  return { y: cast(y!, u.dtype), carry: next! };
}
