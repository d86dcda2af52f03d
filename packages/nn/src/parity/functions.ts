// Reference functions of flash-fft-conv and flash-attention.

import {
  ConfigError,
  add,
  cast,
  full,
  iota,
  less,
  mul,
  narrow,
  pad,
  reshape,
  squeeze,
  sum,
  tensor,
  isFloat,
  type Tensor,
} from "@everlong/core";
import {
  alibiSlopes,
  attention,
  attentionBlocksOf,
  attentionProbabilities,
  fftConv,
  lowFrequencyConv,
  partialConv,
  type AttentionOptions,
} from "@everlong/kernels";
import { rotate } from "../layers/rotary.ts";
import type { ParityModule, ParityRequest } from "../parity-entry.ts";
import { booleanOr, checkArguments, numberOr, pairOr, required, stringOr } from "./arguments.ts";

/** Period-n convolution of `u` `[B, D, L]` with `k` `[D, J]`, first L outputs, in the dtype of `u`. */
function convolve(u: Tensor, k: Tensor, n: number): Tensor {
  const length = u.shape[2]!;
  const taps = Math.min(k.shape[1]!, n);
  const filter = narrow(k, 1, 0, taps);
  if (length + taps - 1 <= n || (length === taps && n >= 2 * length - 1)) return fftConv(u, filter);
  if (n < length)
    throw new ConfigError("parity", "transform shorter than the input", { got: `${n} < ${length}` });
  const y = fftConv(pad(u, [[0, n - length]]), pad(filter, [[0, n - taps]]), { mode: "circular" });
  return narrow(y, 2, 0, length);
}

/** The second half of the last axis set to zero. */
function zeroSecondHalf(t: Tensor): Tensor {
  const length = t.shape[t.rank - 1]!;
  const kept = Math.floor(length / 2);
  return pad(narrow(t, -1, 0, kept), [[0, length - kept]]);
}

/**
 * `ref_fft_conv(u * pregate, k, n) * postgate`, every step in the dtype of `u`. The original's unpadded tests zero the
 * second halves of `u` and `k` first, which a case says in its note.
 */
export const fftConvReference = ({ args, json }: ParityRequest): ParityModule => ({
  float32Inside: true,
  call: ({ u, k, pregate, postgate }) => {
    checkArguments(args, { used: ["n"] });
    const halve = /second halves .*zeroed/.test(String(json["note"]))
      ? zeroSecondHalf
      : (t: Tensor): Tensor => t;
    const input = pregate ? mul(halve(u!), pregate) : halve(u!);
    const y = convolve(input, halve(k!), required(args, "n"));
    return { y: postgate ? mul(y, postgate) : y };
  },
});

/** flash-fft-conv's two sparse modules, which a case tells apart in its note. */
export const sparseFftConv = ({ args, json }: ParityRequest): ParityModule => ({
  call: ({ u, k }) => {
    checkArguments(args, { used: ["N_partial"] });
    const kept = required(args, "N_partial");
    if (!/FrequencySparse/.test(String(json["note"]))) {
      // Taps that reach beyond the 2L points act on the first outputs.
      const [length, taps] = [u!.shape[2]!, Math.min(kept, k!.shape[1]!)];
      const y =
        taps > length + 1 ? convolve(u!, narrow(k!, 1, 0, taps), 2 * length) : partialConv(u!, k!, kept);
      return { y };
    }
    // a number of points of the 2L, half of which are frequencies
    const bins = Math.floor(kept / 2);
    return { y: bins < 1 ? mul(u!, 0) : lowFrequencyConv(u!, k!, bins) };
  },
});

/** Lengths `[B]` i32 from a stored mask, or from lengths among the arguments. */
function lengthsOf(given: unknown, mask: Tensor | undefined, like: Tensor): Tensor | undefined {
  if (mask) return sum(cast(mask, "i32"), -1);
  if (!Array.isArray(given)) return undefined;
  return tensor(given.map(Number), { dtype: "i32", device: like.device });
}

/** `attention_ref` with ALiBi biases, rotary tables, windows, soft cap and padding as in flash-attention's tests. */
export const attentionReference = ({ args }: ParityRequest): ParityModule => ({
  call: (inputs) => {
    checkArguments(args, {
      used: ["causal", "window_size", "softcap", "kpad", "qpad", "interleaved", "alibi", "rotary_dim"],
      // Tables of angles are inputs; the reference's order of operations is not the function's.
      withoutEffect: ["rotary_base", "upcast", "reorder_ops"],
      only: { dropout_p: [0] },
    });
    if (numberOr(args, "rotary_dim", 0) > 0 && !(inputs["cos"] && inputs["sin"]))
      throw new ConfigError("parity", 'unsupported: argument "rotary_dim" without tables of angles');
    const interleaved = booleanOr(args, "interleaved", false);
    const turn = (t: Tensor): Tensor => {
      const { cos, sin } = inputs;
      if (!cos || !sin) return t;
      // Tables may go on past the last position.
      const rows = (table: Tensor): Tensor => cast(narrow(table, 0, 0, t.shape[1]!), t.dtype);
      return rotate(t, rows(cos), rows(sin), interleaved);
    };
    const [q, k, v] = [turn(inputs["q"]!), turn(inputs["k"]!), inputs["v"]!];
    const masks = Object.entries(inputs).filter(([, t]) => !isFloat(t.dtype) && t.rank === 2);
    const maskOf = (letter: string): Tensor | undefined =>
      masks.find(([name]) => name.startsWith(letter))?.[1];
    const keyLengths = lengthsOf(args["kpad"], maskOf("k"), q);
    const queryLengths = lengthsOf(args["qpad"], maskOf("q"), q);
    const [left, right] = pairOr(args, "window_size", [-1, -1]);
    const every = (t: Tensor): Tensor => full([t.shape[0]!], t.shape[1]!, { dtype: "i32", device: t.device });
    const slopes =
      inputs["alibi_slopes"] ??
      (booleanOr(args, "alibi", false) ? tensor(alibiSlopes(q.shape[2]!), { device: q.device }) : undefined);
    const options: AttentionOptions = {
      causal: booleanOr(args, "causal", false),
      window: [left, right],
      softCap: numberOr(args, "softcap", 0),
      ...(slopes ? { alibiSlopes: cast(slopes, q.dtype) } : {}),
      ...(keyLengths ? { keyLengths, queryLengths: queryLengths ?? every(q) } : {}),
      ...(queryLengths ? { queryLengths, keyLengths: keyLengths ?? every(k) } : {}),
    };
    if (options.causal || left < 0 || right >= 0)
      return { y: attention(q, k, v, options), attention: attentionProbabilities(q, k, options) };
    // The reference takes a right end of -1 for a bound, not for none, where there is a left one: the key before the
    // query's own. One query more at the end moves all of them by one key.
    const asked = queryLengths ?? every(q);
    const moved: AttentionOptions = {
      ...options,
      window: [Math.max(left - 1, 0), 0],
      queryLengths: add(asked, 1),
      keyLengths: keyLengths ?? every(k),
    };
    const more = pad(q, [
      [0, 0],
      [0, 1],
      [0, 0],
      [0, 0],
    ]);
    const real = cast(prefix(asked, q.shape[1]!), q.dtype);
    const kept = left > 0 ? real : mul(real, 0);
    const first = (t: Tensor, axis: number): Tensor => narrow(t, axis, 0, q.shape[1]!);
    return {
      y: mul(first(attention(more, k, v, moved), 1), reshape(kept, [...kept.shape, 1, 1])),
      attention: mul(
        first(attentionProbabilities(more, k, moved), 2),
        reshape(kept, [kept.shape[0]!, 1, kept.shape[1]!, 1]),
      ),
    };
  },
});

/** `[B, T]` bool: positions before the lengths `[B]`. */
const prefix = (lengths: Tensor, time: number): Tensor =>
  less(iota([lengths.shape[0]!, time], 1, { device: lengths.device }), reshape(lengths, [-1, 1]));

/** Block sizes of the original's masks, as a case writes them: "16 rows x 256 columns". */
function blockSize(args: ParityRequest["args"]): { queries: number; keys: number } {
  const text = stringOr(args, "block", "16 rows x 256 columns");
  const found = /(\d+) rows x (\d+) columns/.exec(text);
  if (!found) throw new ConfigError("parity", "not a size of blocks", { got: text });
  return { queries: Number(found[1]), keys: Number(found[2]) };
}

/** `attention_blocksparse_ref`: self-attention over a mask of blocks; positions that `attn_mask` leaves out are a suffix. */
export const blockSparseReference = ({ args }: ParityRequest): ParityModule => ({
  call: ({ qkv, blockmask, attn_mask: mask }) => {
    checkArguments(args, {
      used: ["block", "lengths", "softmax_scale", "causal"],
      // The mask is an input.
      withoutEffect: ["density"],
      only: { dropout_p: [0] },
    });
    const size = blockSize(args);
    const [q, k, v] = [0, 1, 2].map((i) => squeeze(narrow(qkv!, 2, i, i + 1), 2)) as [Tensor, Tensor, Tensor];
    // the original's mask covers lengths rounded up to 256
    const rows = Math.ceil(q.shape[1]! / size.queries);
    const lengths = lengthsOf(args["lengths"], mask, q);
    const options: AttentionOptions = {
      blocks: attentionBlocksOf(narrow(blockmask!, 0, 0, rows), size),
      ...(lengths ? { keyLengths: lengths } : {}),
      ...(typeof args["softmax_scale"] === "number" ? { scale: args["softmax_scale"] } : {}),
      causal: booleanOr(args, "causal", false),
    };
    return { y: attention(q, k, v, options) };
  },
});
