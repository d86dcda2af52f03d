// Choosing the next token from logits, inside a trace: greedy, by temperature, among the k best, or among the fewest that
// hold a given probability.

import {
  ConfigError,
  argmax,
  cast,
  checkOptions,
  cumsum,
  div,
  iota,
  less,
  random,
  reshape,
  softmax,
  sort,
  sub,
  takeAlong,
  where,
  type Tensor,
} from "@everlong/core";

export interface SamplingOptions {
  /** Logits are divided by it; 0 takes the best token always. Default 1. */
  readonly temperature?: number;
  /** Only the k best tokens. Default: all. */
  readonly topK?: number;
  /**
   * Only the fewest tokens whose probabilities, after temperature and `topK`, sum to at least p (nucleus sampling, Holtzman
   * et al. 2020); the best one always stays. Default 1: all.
   */
  readonly topP?: number;
}

export const SAMPLING_OPTIONS: readonly (keyof SamplingOptions)[] = ["temperature", "topK", "topP"];

const LOW = -1e30;

/** @throws ConfigError when an option is out of its range */
export function checkSampling(op: string, options: SamplingOptions): void {
  const { temperature = 1, topK, topP = 1 } = options;
  const bad = (what: string, expected: string, got: number): never => {
    throw new ConfigError(op, `${what} is out of range`, { expected, got: `${got}` });
  };
  if (!(temperature >= 0 && Number.isFinite(temperature))) bad("temperature", "a number from 0", temperature);
  if (topK !== undefined && !(Number.isInteger(topK) && topK >= 1)) bad("topK", "an integer from 1", topK);
  if (!(topP > 0 && topP <= 1)) bad("topP", "a number above 0, at most 1", topP);
}

/**
 * One token per row.
 * @param logits `[B, N]`
 * @param key random key `[2]`, unused at temperature 0
 * @returns `[B]` i32
 */
export function sampleToken(logits: Tensor, key: Tensor, options: SamplingOptions = {}): Tensor {
  checkOptions("sampleToken", options, SAMPLING_OPTIONS);
  checkSampling("sampleToken", options);
  const { temperature = 1, topK, topP = 1 } = options;
  if (temperature === 0) return argmax(logits, -1);
  const scaled = div(logits, temperature);
  if ((topK === undefined || topK >= logits.shape[1]!) && topP === 1) return random.categorical(key, scaled);
  // Ranks, not values, decide: equal logits do not widen the choice.
  const { values, indices } = sort(scaled, { axis: -1, descending: true });
  let kept = values;
  if (topK !== undefined)
    kept = where(less(iota(values.shape, 1, { device: values.device }), topK), kept, LOW);
  if (topP < 1) {
    const probability = softmax(kept, -1);
    const before = sub(cumsum(probability, -1), probability);
    const first = less(iota(values.shape, 1, { device: values.device }), 1);
    kept = where(less(before, topP), kept, where(first, kept, LOW));
  }
  const rank = reshape(random.categorical(key, kept), [-1, 1]);
  return cast(reshape(takeAlong(indices, rank, 1), [-1]), "i32");
}
