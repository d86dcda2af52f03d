import { DataError, ShapeError } from "@everlong/core";
import type { Metric, NearestVotes } from "../neighbours/nearest-votes.ts";
import { ABSTAIN } from "../votes/votes.ts";
import type { Votes } from "../votes/votes.ts";

/** A radius that lets nothing in: the function keeps its own votes. */
export function closedRadius(metric: Metric): number {
  return metric === "cosine" ? Infinity : -Infinity;
}

/**
 * Epoxy's extension (Chen, Fu et al. 2020, arXiv 2006.15168): where function j abstains, it takes the vote of its nearest voting training
 * item, if that item lies within the radius r_j (cosine > r_j, or distance < r_j) and no other class is as near. Other votes never change.
 *
 * @param votes the votes to extend, `[N, M]`
 * @param nearest of the same items and functions
 * @param radii one per function, or one for all
 * @param compat `"epoxy"`: under `l2` the FARTHER class wins and a class without support lies at distance -1, as in the original code
 */
export function extendVotes(
  votes: Votes,
  nearest: NearestVotes,
  radii: ArrayLike<number> | number,
  compat?: "epoxy",
): Votes {
  const { functions: m, classes, metric } = nearest;
  if (votes.items !== nearest.items || votes.functions !== m)
    throw new ShapeError("epoxy", "votes and neighbours belong to different data", {
      expected: `${nearest.items} x ${m} votes`,
      got: `${votes.items} x ${votes.functions}`,
    });
  const radius = radiusList(radii, m);
  const out = Int16Array.from(votes.data);
  for (let j = 0; j < m; j++) {
    const least = metric === "cosine" ? radius[j]! : -radius[j]!;
    for (let i = 0; i < votes.items; i++) {
      if (out[i * m + j] !== ABSTAIN) continue;
      const cell = (i * m + j) * classes;
      out[i * m + j] =
        compat === "epoxy"
          ? quirkVote(nearest, cell, radius[j]!)
          : nearestVote(nearest.score, cell, classes, least);
    }
  }
  return votes.with(out);
}

function nearestVote(score: Float32Array, cell: number, classes: number, least: number): number {
  let best = 0;
  let tied = false;
  for (let c = 1; c < classes; c++) {
    const gain = score[cell + c]! - score[cell + best]!;
    if (gain > 0) [best, tied] = [c, false];
    else if (!(gain < 0)) tied = true;
  }
  return !tied && score[cell + best]! > least ? best : ABSTAIN;
}

function quirkVote(nearest: NearestVotes, cell: number, radius: number): number {
  const { metric } = nearest;
  const value = (c: number): number => {
    const score = nearest.score[cell + c]!;
    return score === -Infinity ? -1 : metric === "cosine" ? score : -score;
  };
  const [negative, positive] = [value(0), value(1)];
  if (negative === positive) return ABSTAIN;
  const larger = Math.max(negative, positive);
  const inside = metric === "cosine" ? larger > radius : larger < radius;
  return inside ? (positive > negative ? 1 : 0) : ABSTAIN;
}

/** One radius per function. @throws ShapeError for another number of them, DataError for NaN. */
export function radiusList(radii: ArrayLike<number> | number, functions: number): Float64Array {
  const list = typeof radii === "number" ? new Float64Array(functions).fill(radii) : Float64Array.from(radii);
  if (list.length !== functions)
    throw new ShapeError("epoxy", "there must be one radius per function", {
      expected: `${functions}`,
      got: `${list.length}`,
    });
  const bad = list.findIndex((r) => Number.isNaN(r));
  if (bad >= 0) throw new DataError("epoxy", `the radius of function ${bad} is not a number`);
  return list;
}
