import { ConfigError, ShapeError, checkOptions } from "@everlong/core";
import { logLoss, score } from "../evaluation/metrics.ts";
import type { LabelModel } from "../label-models/label-model.ts";
import { decide } from "../label-models/label-model.ts";
import type { Metric, NearestVotes } from "../neighbours/nearest-votes.ts";
import { ABSTAIN } from "../votes/votes.ts";
import type { PreparedVotes } from "./epoxy.ts";
import { closedRadius, extendVotes } from "./extend.ts";

/** Options of {@link searchRadii}. */
export interface RadiusSearchOptions {
  /** Makes the label model that judges the radii. */
  readonly model: () => LabelModel;
  /** P(Y) told to the model. */
  readonly classBalance?: ArrayLike<number>;
  /** Shares of the dev items' abstentions that the candidate radii let in. Default 0.05 .. 1. */
  readonly shares?: readonly number[];
  /** Rounds over the functions after the common start. Default 2. */
  readonly rounds?: number;
  /** A change must lower the dev log loss by this much. Default 0.002. */
  readonly leastGain?: number;
  /** Probabilities are held within [floor, 1 - floor] for the loss, so that one sure mistake does not decide. Default 0.02. */
  readonly floor?: number;
}

/** Radii with what they do on dev. */
export interface RadiusChoice {
  readonly radii: Float64Array;
  /** Log loss on dev with and without extension. */
  readonly loss: number;
  readonly lossWithout: number;
  readonly accuracy: number;
  /** Every candidate that was tried, in order. */
  readonly tried: number;
}

/**
 * One radius per function, chosen on dev labels alone: the best common radius first, then function by function, each step refitting the label
 * model on the extended training votes and taking the log loss of its labels on dev. Closing a function (no extension) is always a candidate.
 */
export function searchRadii(
  train: PreparedVotes,
  dev: PreparedVotes,
  devLabels: ArrayLike<number>,
  options: RadiusSearchOptions,
): RadiusChoice {
  checkOptions("radius-search", options, ["model", "classBalance", "shares", "rounds", "leastGain", "floor"]);
  const { shares = DEFAULT_SHARES, rounds = 2, leastGain = 0.002 } = options;
  if (devLabels.length !== dev.votes.items)
    throw new ShapeError("radius-search", "dev votes and labels differ in length", {
      expected: `${dev.votes.items} labels`,
      got: `${devLabels.length}`,
    });
  const seen = new Set(Array.from(devLabels));
  if (seen.size < 2)
    throw new ConfigError("radius-search", "the dev labels hold a single class", {
      expected: "at least two classes",
      got: `only ${[...seen].join()}`,
      hint: "Any radius that votes for that class would look perfect.",
    });
  const m = train.votes.functions;
  const { metric } = train.nearest;
  const closed = closedRadius(metric);
  const candidates = Array.from({ length: m }, (_, j) => radiusCandidates(dev, j, shares));
  let tried = 0;
  const judge = (radii: Float64Array): Judged => {
    tried++;
    return judgeRadii(radii, train, dev, devLabels, options);
  };
  const none = judge(new Float64Array(m).fill(closed));
  let best = none;
  for (const radius of commonCandidates(candidates.flat(), metric)) {
    const next = judge(new Float64Array(m).fill(radius));
    if (next.loss < best.loss - leastGain) best = next;
  }
  for (let round = 0; round < rounds; round++) {
    const before = best;
    for (let j = 0; j < m; j++)
      for (const radius of [closed, ...candidates[j]!]) {
        const radii = Float64Array.from(best.radii);
        if (radii[j] === radius) continue;
        radii[j] = radius;
        const next = judge(radii);
        if (next.loss < best.loss - leastGain) best = next;
      }
    if (best === before) break;
  }
  return {
    radii: best.radii,
    loss: best.loss,
    lossWithout: none.loss,
    accuracy: best.accuracy,
    tried,
  };
}

const DEFAULT_SHARES = [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1];

interface Judged {
  readonly radii: Float64Array;
  readonly loss: number;
  readonly accuracy: number;
}

function judgeRadii(
  radii: Float64Array,
  train: PreparedVotes,
  dev: PreparedVotes,
  labels: ArrayLike<number>,
  options: RadiusSearchOptions,
): Judged {
  const { floor = 0.02, classBalance, model } = options;
  const fitted = model().fit(
    extendVotes(train.votes, train.nearest, radii),
    classBalance ? { classBalance } : {},
  );
  const probabilities = fitted.predictProba(extendVotes(dev.votes, dev.nearest, radii));
  const { classes } = dev.votes;
  const held = probabilities.map((p) => Math.min(1 - floor, Math.max(floor, p)));
  return {
    radii,
    loss: logLoss(labels, held, classes),
    accuracy: score(labels, decide(probabilities, classes), { classes }).accuracy,
  };
}

/** Radii that let in given shares of the items on which function `j` abstains, from the nearest to the farthest. */
export function radiusCandidates(prepared: PreparedVotes, j: number, shares: readonly number[]): number[] {
  const { nearest, votes } = prepared;
  const scores: number[] = [];
  for (let i = 0; i < votes.items; i++)
    if (votes.at(i, j) === ABSTAIN) {
      const best = bestScore(nearest, i, j);
      if (best > -Infinity) scores.push(best);
    }
  scores.sort((a, b) => b - a);
  const out = new Set<number>();
  for (const share of shares) {
    if (scores.length === 0) break;
    const last = Math.max(1, Math.round(share * scores.length)) - 1;
    // halfway to the next item, so that the boundary is no item
    const edge =
      scores[last + 1] === undefined ? scores[last]! - 1e-3 : (scores[last]! + scores[last + 1]!) / 2;
    out.add(nearest.metric === "cosine" ? edge : -edge);
  }
  return [...out];
}

function bestScore(nearest: NearestVotes, i: number, j: number): number {
  const cell = (i * nearest.functions + j) * nearest.classes;
  let best = -Infinity;
  for (let c = 0; c < nearest.classes; c++) best = Math.max(best, nearest.score[cell + c]!);
  return best;
}

// A dozen common radii spread over all candidates.
function commonCandidates(all: readonly number[], metric: Metric): number[] {
  const sorted = [...new Set(all)].sort((a, b) => (metric === "cosine" ? b - a : a - b));
  const step = Math.max(1, sorted.length / 16);
  const out: number[] = [];
  for (let at = 0; at < sorted.length; at += step) out.push(sorted[Math.floor(at)]!);
  return out;
}
