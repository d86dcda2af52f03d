// Iso-FLOP profiles: at each compute a parabola of the loss over the logarithm of size, whose lowest points follow a power
// law of compute (Hoffmann et al. 2022, approach 2). Size is parameters, or numbers of state: then the law is state-optimal
// scaling (Poli et al. 2024, section 4).

import { ConfigError } from "@everlong/core";
import { Matrix, solve } from "ml-matrix";
import { bootstrap, type Estimate, type ResampleOptions } from "./resample.ts";

/** Runs at several budgets of compute. */
export interface IsoFlopRuns {
  readonly size: readonly number[];
  readonly flops: readonly number[];
  readonly loss: readonly number[];
}

/** The parabola of one budget. */
export interface IsoFlopProfile {
  /** Geometric mean over its runs. */
  readonly flops: number;
  readonly runs: number;
  /** loss = a x^2 + b x + c, x the natural logarithm of size. */
  readonly parabola: readonly [number, number, number];
  readonly bestSize: number;
  readonly bestLoss: number;
  /** Whether the lowest point lies among the sizes that were run; an extrapolated one is a guess. */
  readonly inside: boolean;
}

export interface IsoFlopFit {
  readonly profiles: readonly IsoFlopProfile[];
  /** Budgets without a lowest point (an arc that opens downwards, or fewer than three sizes). */
  readonly dropped: readonly { readonly flops: number; readonly why: string }[];
  /** bestSize = k flops^exponent. */
  readonly exponent: Estimate;
  readonly k: Estimate;
}

export interface IsoFlopOptions extends ResampleOptions {
  /** Runs whose compute differs by less than this factor share a budget. Default 1.1. */
  readonly tolerance?: number;
}

/** Rows of one budget each, by rising compute. */
function budgets(flops: readonly number[], tolerance: number): number[][] {
  const order = flops.map((_, i) => i).toSorted((a, b) => flops[a]! - flops[b]!);
  const groups: number[][] = [];
  for (const i of order) {
    const group = groups.at(-1);
    if (group && flops[i]! < flops[group[0]!]! * tolerance) group.push(i);
    else groups.push([i]);
  }
  return groups;
}

function profileOf(runs: IsoFlopRuns, rows: readonly number[]): IsoFlopProfile | string {
  const x = rows.map((i) => Math.log(runs.size[i]!));
  if (new Set(x).size < 3) return "fewer than three sizes";
  const mean = x.reduce((a, b) => a + b, 0) / x.length;
  const design = new Matrix(x.map((v) => [(v - mean) ** 2, v - mean, 1]));
  const losses = Matrix.columnVector(rows.map((i) => runs.loss[i]!));
  const transposed = design.transpose();
  const [a, b, c] = solve(transposed.mmul(design), transposed.mmul(losses)).to1DArray() as [
    number,
    number,
    number,
  ];
  if (!(a > 0)) return "no lowest point: the arc opens downwards";
  const bottom = -b / (2 * a);
  const best = mean + bottom;
  return {
    flops: Math.exp(rows.reduce((s, i) => s + Math.log(runs.flops[i]!), 0) / rows.length),
    runs: rows.length,
    parabola: [a, b - 2 * a * mean, c - b * mean + a * mean * mean],
    bestSize: Math.exp(best),
    bestLoss: c - (b * b) / (4 * a),
    inside: best >= Math.min(...x) && best <= Math.max(...x),
  };
}

const valueAt = ([a, b, c]: readonly [number, number, number], x: number): number => a * x * x + b * x + c;

/** Slope and start of a line through logarithms. */
function powerLaw(profiles: readonly IsoFlopProfile[]): { exponent: number; k: number } {
  const xs = profiles.map((p) => Math.log(p.flops));
  const ys = profiles.map((p) => Math.log(p.bestSize));
  const n = xs.length;
  const [mx, my] = [xs.reduce((a, b) => a + b, 0) / n, ys.reduce((a, b) => a + b, 0) / n];
  const slope =
    xs.reduce((s, x, i) => s + (x - mx) * (ys[i]! - my), 0) / xs.reduce((s, x) => s + (x - mx) ** 2, 0);
  return { exponent: slope, k: Math.exp(my - slope * mx) };
}

/**
 * Fits a parabola per budget and the power law of their lowest points, with a bootstrap of residuals. With three runs a
 * budget the parabolas leave no residuals, and intervals are infinite.
 *
 * @throws ConfigError when fewer than two budgets have a lowest point
 */
export function fitIsoFlop(runs: IsoFlopRuns, options: IsoFlopOptions = {}): IsoFlopFit {
  const { tolerance = 1.1 } = options;
  for (const name of ["size", "flops", "loss"] as const) {
    const bad = runs[name].findIndex((x) => !(x > 0));
    if (bad >= 0) {
      throw new ConfigError("iso-flop fit", `"${name}" must be positive`, {
        got: `${runs[name][bad]} in run ${bad + 1}`,
      });
    }
  }
  const groups = budgets(runs.flops, tolerance);
  const tried = groups.map((rows) => ({ rows, profile: profileOf(runs, rows) }));
  const profiles = tried.flatMap(({ profile }) => (typeof profile === "string" ? [] : [profile]));
  const dropped = tried.flatMap(({ rows, profile }) =>
    typeof profile === "string" ? [{ flops: runs.flops[rows[0]!]!, why: profile }] : [],
  );
  if (profiles.length < 2) {
    throw new ConfigError("iso-flop fit", "needs two budgets of compute with a lowest point", {
      got: `${profiles.length} of ${groups.length} budgets`,
      hint: dropped[0] ? `At ${dropped[0].flops.toExponential(2)} flops: ${dropped[0].why}.` : "",
    });
  }
  // Few sizes a budget leave nothing to draw from: residuals of all budgets are drawn instead, widened for what the
  // parabolas took up.
  const kept = tried.flatMap(({ rows, profile }) => (typeof profile === "string" ? [] : rows));
  const smooth = tried.flatMap(({ rows, profile }) =>
    typeof profile === "string" ? [] : rows.map((i) => valueAt(profile.parabola, Math.log(runs.size[i]!))),
  );
  const free = kept.length - 3 * profiles.length;
  const widen = free > 0 ? Math.sqrt(kept.length / free) : Number.NaN;
  const residuals = kept.map((row, i) => widen * (runs.loss[row]! - smooth[i]!));
  const point = powerLaw(profiles);
  if (free <= 0) {
    const open = { low: Number.NEGATIVE_INFINITY, high: Number.POSITIVE_INFINITY };
    return {
      profiles,
      dropped,
      exponent: { value: point.exponent, ...open },
      k: { value: point.k, ...open },
    };
  }
  const fitted = bootstrap(
    kept.length,
    point,
    (drawn) => {
      const loss = [...runs.loss];
      kept.forEach((row, i) => (loss[row] = smooth[i]! + residuals[drawn[i]!]!));
      const again = tried.flatMap(({ rows, profile }) =>
        typeof profile === "string" ? [] : [profileOf({ ...runs, loss }, rows)],
      );
      const good = again.filter((p) => typeof p !== "string");
      return good.length < 2 ? undefined : powerLaw(good);
    },
    options,
  );
  return { profiles, dropped, ...fitted };
}
