import { ConfigError } from "@everlong/core";
import { stratifiedFolds } from "../evaluation/folds.ts";
import { logLoss, score } from "../evaluation/metrics.ts";
import type { LabelModel } from "../label-models/label-model.ts";
import { decide } from "../label-models/label-model.ts";
import type { NearestVotes } from "../neighbours/nearest-votes.ts";
import type { Votes } from "../votes/votes.ts";
import type { PreparedVotes } from "./epoxy.ts";
import { extendVotes } from "./extend.ts";
import type { RadiusSearchOptions } from "./radius-search.ts";
import { searchRadii } from "./radius-search.ts";

/** Options of {@link electRadii}. */
export interface CommitteeOptions extends RadiusSearchOptions {
  /** Members. Each searches its radii on all folds of dev but one. Default 5. */
  readonly folds?: number;
  readonly seed?: number;
}

/**
 * Several radius choices, averaged. A hundred dev labels choose radii with much luck; the mean of the labels of members that each saw another
 * part of dev keeps what they agree on (bagging, Breiman 1996). The part that a member did not see gives an honest estimate of its quality.
 */
export class RadiusCommittee {
  readonly members: readonly { readonly radii: Float64Array; readonly model: LabelModel }[];
  /** P(Y) of every dev item from the member that did not see it, `[n, K]`. */
  readonly heldOut: Float64Array;
  /** Log loss and accuracy of {@link heldOut}: cross-validated, not tuned. */
  readonly loss: number;
  readonly accuracy: number;

  constructor(
    members: RadiusCommittee["members"],
    heldOut: Float64Array,
    quality: { loss: number; accuracy: number },
  ) {
    this.members = members;
    this.heldOut = heldOut;
    this.loss = quality.loss;
    this.accuracy = quality.accuracy;
  }

  /** The members' mean P(Y), `[N, K]`. */
  predictProba(prepared: PreparedVotes): Float64Array {
    const { votes, nearest } = prepared;
    const out = new Float64Array(votes.items * votes.classes);
    for (const { radii, model } of this.members) {
      const p = model.predictProba(extendVotes(votes, nearest, radii));
      for (let x = 0; x < out.length; x++) out[x] = out[x]! + p[x]! / this.members.length;
    }
    return out;
  }

  /** The members' median radius of every function, `[M]`. */
  radii(): Float64Array {
    const m = this.members[0]!.radii.length;
    return Float64Array.from({ length: m }, (_, j) => {
      const sorted = this.members.map(({ radii }) => radii[j]!).sort((a, b) => a - b);
      return sorted[sorted.length >> 1]!;
    });
  }

  /** Votes extended with {@link radii}. */
  extend(prepared: PreparedVotes): Votes {
    return extendVotes(prepared.votes, prepared.nearest, this.radii());
  }
}

/** Searches radii on dev, once per fold. @throws ConfigError when a fold would miss a class. */
export function electRadii(
  train: PreparedVotes,
  dev: PreparedVotes,
  devLabels: ArrayLike<number>,
  options: CommitteeOptions,
): RadiusCommittee {
  const { folds = 5, seed = 5, ...search } = options;
  const { items: n, classes: k } = dev.votes;
  if (n < folds * 2)
    throw new ConfigError("epoxy", "too few dev items for a committee", {
      expected: `at least ${folds * 2} for ${folds} folds`,
      got: `${n}`,
      hint: "Label more items, or pass radii of your own.",
    });
  const fold = stratifiedFolds(devLabels, folds, seed);
  const heldOut = new Float64Array(n * k);
  const members: { radii: Float64Array; model: LabelModel }[] = [];
  for (let f = 0; f < folds; f++) {
    const seen = [...fold.keys()].filter((i) => fold[i] !== f);
    const unseen = [...fold.keys()].filter((i) => fold[i] === f);
    const { radii } = searchRadii(
      train,
      preparedRows(dev, seen),
      seen.map((i) => devLabels[i]!),
      search,
    );
    const model = search
      .model()
      .fit(
        extendVotes(train.votes, train.nearest, radii),
        search.classBalance ? { classBalance: search.classBalance } : {},
      );
    members.push({ radii, model });
    const probe = preparedRows(dev, unseen);
    const p = model.predictProba(extendVotes(probe.votes, probe.nearest, radii));
    for (const [r, i] of unseen.entries()) heldOut.set(p.subarray(r * k, (r + 1) * k), i * k);
  }
  const clipped = heldOut.map((x) => Math.min(0.98, Math.max(0.02, x)));
  return new RadiusCommittee(members, heldOut, {
    loss: logLoss(devLabels, clipped, k),
    accuracy: score(devLabels, decide(heldOut, k, "first"), { classes: k }).accuracy,
  });
}

/** The committee with the lowest held-out loss among several label models. */
export function electLabelModel<Name extends string>(
  train: PreparedVotes,
  dev: PreparedVotes,
  devLabels: ArrayLike<number>,
  models: ReadonlyMap<Name, () => LabelModel>,
  options: Omit<CommitteeOptions, "model"> = {},
): { name: Name; committee: RadiusCommittee; table: { name: Name; loss: number; accuracy: number }[] } {
  const tried = [...models].map(([name, model]) => ({
    name,
    committee: electRadii(train, dev, devLabels, { ...options, model }),
  }));
  const best = tried.reduce((a, b) => (b.committee.loss < a.committee.loss ? b : a));
  return {
    ...best,
    table: tried.map(({ name, committee: c }) => ({ name, loss: c.loss, accuracy: c.accuracy })),
  };
}

/** The neighbours and votes of some items. */
export function preparedRows(of: PreparedVotes, rows: ArrayLike<number>): PreparedVotes {
  return { votes: of.votes.rows(rows), nearest: nearestRows(of.nearest, rows) };
}

function nearestRows(of: NearestVotes, rows: ArrayLike<number>): NearestVotes {
  const width = of.functions * of.classes;
  const scores = new Float32Array(rows.length * width);
  const index = new Int32Array(rows.length * width);
  for (let r = 0; r < rows.length; r++) {
    const i = rows[r]!;
    scores.set(of.score.subarray(i * width, (i + 1) * width), r * width);
    index.set(of.index.subarray(i * width, (i + 1) * width), r * width);
  }
  return { ...of, items: rows.length, score: scores, index };
}
