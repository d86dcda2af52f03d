// Counter-based keyed random numbers: Threefry-2x32 with 20 rounds (Salmon et al. 2011). A key is an i32 tensor [2]; the
// same key always gives the same numbers, on every device.

import { isFloat, type DType } from "./dtype.ts";
import { ConfigError, ShapeError } from "./errors.ts";
import { record1 } from "./record.ts";
import { defaultDevice } from "./settings.ts";
import { sizeOf, type Shape } from "./shape.ts";
import type { Tensor } from "./tensor.ts";
import { fromHost } from "./ops/creation.ts";
import { add, cast, cos, div, less, log, mul, neg, shr, sqrt, where } from "./ops/elementwise.ts";
import { broadcastTo, reshape, slice } from "./ops/movement.ts";
import { argmax, argsort } from "./ops/reduction.ts";
import { take } from "./ops/indexing.ts";
import type { Device } from "./device.ts";

export interface RandomOptions {
  /** Default: the device's float. */
  readonly dtype?: DType;
}

/** A key from an integer seed (up to 53 bits). */
export function key(seed: number, on: Device = defaultDevice()): Tensor {
  if (!Number.isSafeInteger(seed))
    throw new ConfigError("random.key", "not a seed", { expected: "an integer", got: `${seed}` });
  return fromHost(Int32Array.of(Math.floor(seed / 2 ** 32) | 0, seed | 0), [2], "i32", on);
}

/** Plain JavaScript can leave a key out, or give the seed in its place: said here, before anything reads its device. */
function checkKey(op: string, k: Tensor): void {
  const given: unknown = k;
  if (typeof given === "object" && given !== null && "device" in given) return;
  throw new ConfigError(op, "needs a key", { expected: "random.key(seed)", got: String(given) });
}

/** `count` independent keys from one, as an array. Never use a key again after splitting it. */
export function splitKey(k: Tensor, count = 2): Tensor[] {
  const words = reshape(bits(k, [count * 2]), [count, 2]);
  return Array.from({ length: count }, (_, i) => slice(words, [i]));
}

/** A key for item `data` of a family (step number, layer number). `data` is a number or an i32 scalar tensor. */
export function foldIn(k: Tensor, data: number | Tensor): Tensor {
  checkKey("random.foldIn", k);
  const d =
    typeof data === "number" ? fromHost(Int32Array.of(data | 0), [1], "i32", k.device) : reshape(data, [1]);
  const words = (a: number, b: number): Tensor => fromHost(Int32Array.of(a | 0, b | 0), [2], "i32", k.device);
  // The added constant keeps item 0 apart from the keys that splitKey makes.
  const item = add(mul(broadcastTo(d, [2]), words(0x9e3779b1, 0x85ebca77)), words(0x5bd1e995, 0x27d4eb2f));
  return bits(record1("binary", { fn: "xor" }, [k, item]), [2]);
}

/** 32 random bits each, as i32. */
export function bits(k: Tensor, shape: Shape): Tensor {
  checkKey("random", k);
  return record1("randomBits", { shape }, [k]);
}

/** Uniform in [low, high): 24 random bits, so bit-identical everywhere. */
export function uniform(
  k: Tensor,
  shape: Shape,
  options: RandomOptions & { readonly low?: number; readonly high?: number } = {},
): Tensor {
  checkKey("random.uniform", k);
  const dtype = options.dtype ?? k.device.defaultFloat;
  const { low = 0, high = 1 } = options;
  const unit = mul(cast(shr(bits(k, shape), 8), dtype === "f64" ? "f64" : "f32"), 2 ** -24);
  const scaled = low === 0 && high === 1 ? unit : add(mul(unit, high - low), low);
  return cast(scaled, dtype);
}

/** Normal with mean 0 and standard deviation 1 unless told otherwise (Box & Muller 1958). */
export function normal(
  k: Tensor,
  shape: Shape,
  options: RandomOptions & { readonly mean?: number; readonly std?: number } = {},
): Tensor {
  checkKey("random.normal", k);
  const dtype = options.dtype ?? k.device.defaultFloat;
  const work = dtype === "f64" ? "f64" : "f32";
  const n = sizeOf(shape);
  const pairs = reshape(bits(k, [2 * n]), [2, n]);
  // u in (0, 1]: the logarithm is finite.
  const u = mul(add(cast(shr(slice(pairs, [0]), 8), work), 1), 2 ** -24);
  const angle = mul(cast(shr(slice(pairs, [1]), 8), work), 2 * Math.PI * 2 ** -24);
  const z = reshape(mul(sqrt(mul(log(u), -2)), cos(angle)), shape);
  const { mean = 0, std = 1 } = options;
  const scaled = std === 1 ? z : mul(z, std);
  return cast(mean === 0 ? scaled : add(scaled, mean), dtype);
}

/** Integers in low..high-1 (i32). The bias is below (high - low) / 2^24. */
export function integers(k: Tensor, shape: Shape, low: number, high: number): Tensor {
  if (!(high > low) || high - low > 2 ** 24) {
    throw new ConfigError("random.integers", "range out of bounds", {
      expected: "1 to 2^24 values",
      got: `${low}..${high}`,
    });
  }
  const span = high - low;
  const raw = cast(mul(cast(shr(bits(k, shape), 8), "f32"), span * 2 ** -24), "i32");
  // Rounding of the product can reach the upper end.
  return add(where(less(raw, span), raw, span - 1), low);
}

/** True with probability p. */
export const bernoulli = (k: Tensor, shape: Shape, p: number): Tensor => less(uniform(k, shape), p);

/** A random order of 0..n-1 (i32). */
export const permutation = (k: Tensor, n: number): Tensor => argsort(bits(k, [n]));

/** The rows of `x` in a random order along `axis`. */
export const shuffle = (k: Tensor, x: Tensor, axis = 0): Tensor =>
  take(x, permutation(k, x.shape[axis]!), axis);

/** Class numbers (i32) drawn from unnormalised log-probabilities `[..., N]` (Gumbel-max). */
export function categorical(k: Tensor, logits: Tensor): Tensor {
  if (!isFloat(logits.dtype))
    throw new ShapeError("random.categorical", "needs float logits", { got: logits.dtype });
  // 23 bits and a half are exact in f32, so u stays inside (0, 1).
  const u = mul(add(cast(shr(bits(k, logits.shape), 9), logits.dtype), 0.5), 2 ** -23);
  return argmax(add(logits, neg(log(neg(log(u))))), -1);
}

/** Zeroes elements with probability `rate` and scales the rest by 1 / (1 - rate). */
export function dropout(k: Tensor, x: Tensor, rate: number): Tensor {
  if (!(rate >= 0 && rate < 1))
    throw new ConfigError("dropout", "rate out of range", { expected: "0 <= rate < 1", got: `${rate}` });
  if (rate === 0) return x;
  const keep = less(uniform(k, x.shape), 1 - rate);
  return where(keep, div(x, 1 - rate), 0);
}
