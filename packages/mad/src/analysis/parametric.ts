// Parametric scaling laws: loss = E + A / N^alpha + B / D^beta (Hoffmann et al. 2022, arXiv 2203.15556, approach 3), where N
// is what a model is made of: its parameters, or the numbers of its state.

import { ConfigError, NumericError } from "@everlong/core";
import { Matrix, solve } from "ml-matrix";
import { bootstrap, type Estimate, type ResampleOptions } from "./resample.ts";

/** Runs of one architecture family. */
export interface ScalingRuns {
  /** Parameters, or numbers of state. */
  readonly size: readonly number[];
  /** Training tokens. */
  readonly tokens: readonly number[];
  readonly loss: readonly number[];
}

export interface ParametricLaw {
  /** Loss that no size and no data removes. */
  readonly E: number;
  readonly A: number;
  readonly alpha: number;
  readonly B: number;
  readonly beta: number;
}

export interface ParametricFit {
  readonly law: { readonly [K in keyof ParametricLaw]: Estimate };
  /**
   * Exponents of compute in the optimal size and data under C = 6 N D: beta / (alpha + beta) and alpha / (alpha + beta).
   * Only for parameters: a state says nothing of the cost of a step.
   */
  readonly sizeExponent: Estimate;
  readonly dataExponent: Estimate;
  /** Root mean square of the residuals of log loss. */
  readonly rms: number;
  readonly runs: number;
}

export interface ParametricOptions extends ResampleOptions {
  /** Residuals of log loss beyond this count linearly. Default 0.001, the paper's. */
  readonly delta?: number;
}

/** log E, log A, alpha, log B, beta. */
type Theta = readonly [number, number, number, number, number];

const toLaw = ([e, a, alpha, b, beta]: Theta): ParametricLaw => ({
  E: Math.exp(e),
  A: Math.exp(a),
  alpha,
  B: Math.exp(b),
  beta,
});

/** The loss that a law predicts. */
export const predictLoss = (law: ParametricLaw, size: number, tokens: number): number =>
  law.E + law.A / size ** law.alpha + law.B / tokens ** law.beta;

/** Size and data of least loss for a compute of `flops` = 6 N D. */
export function computeOptimal(
  law: ParametricLaw,
  flops: number,
): { readonly size: number; readonly tokens: number; readonly loss: number } {
  const { alpha, beta, A, B } = law;
  const g = ((alpha * A) / (beta * B)) ** (1 / (alpha + beta));
  const size = g * (flops / 6) ** (beta / (alpha + beta));
  const tokens = flops / (6 * size);
  return { size, tokens, loss: predictLoss(law, size, tokens) };
}

const huber = (r: number, delta: number): number =>
  Math.abs(r) <= delta ? 0.5 * r * r : delta * (Math.abs(r) - 0.5 * delta);

/** One row as logarithms. */
interface LogRow {
  readonly n: number;
  readonly d: number;
  readonly l: number;
}

/** Residual of log loss and its gradient. */
function residual([e, a, alpha, b, beta]: Theta, { n, d, l }: LogRow): readonly [number, Theta] {
  const terms = [e, a - alpha * n, b - beta * d] as const;
  const peak = Math.max(...terms);
  const [pe, pa, pb] = terms.map((t) => Math.exp(t - peak)) as [number, number, number];
  const total = pe + pa + pb;
  const [we, wa, wb] = [pe / total, pa / total, pb / total];
  return [peak + Math.log(total) - l, [we, wa, -wa * n, wb, -wb * d]];
}

const costOf = (theta: Theta, rows: readonly LogRow[], delta: number): number =>
  rows.reduce((sum, row) => sum + huber(residual(theta, row)[0], delta), 0);

const STEPS = 200;

/** Levenberg-Marquardt on the Huber cost: residuals beyond delta are weighted down (iterated reweighting). */
function descend(start: Theta, rows: readonly LogRow[], delta: number): { theta: Theta; cost: number } {
  let theta = start;
  let cost = costOf(theta, rows, delta);
  let damping = 1e-3;
  for (let step = 0; step < STEPS; step++) {
    const normal = Matrix.zeros(5, 5);
    const slope = Matrix.zeros(5, 1);
    for (const row of rows) {
      const [r, g] = residual(theta, row);
      const weight = Math.min(1, delta / Math.max(Math.abs(r), 1e-300));
      for (let i = 0; i < 5; i++) {
        slope.set(i, 0, slope.get(i, 0) - weight * g[i]! * r);
        for (let j = 0; j < 5; j++) normal.set(i, j, normal.get(i, j) + weight * g[i]! * g[j]!);
      }
    }
    let moved = false;
    for (let attempt = 0; attempt < 12 && !moved; attempt++) {
      const damped = normal.clone();
      for (let i = 0; i < 5; i++) damped.set(i, i, normal.get(i, i) * (1 + damping) + 1e-12);
      const change = solve(damped, slope).to1DArray();
      const next = theta.map((t, i) => t + change[i]!) as unknown as Theta;
      const nextCost = costOf(next, rows, delta);
      // Exponents stay positive: a law whose loss grows with size is none.
      if (Number.isFinite(nextCost) && nextCost < cost && next[2] > 0 && next[4] > 0) {
        moved = (cost - nextCost) / cost > 1e-12;
        [theta, cost] = [next, nextCost];
        damping = Math.max(1e-12, damping / 5);
        if (!moved) return { theta, cost };
      } else damping *= 4;
    }
    if (!moved) break;
  }
  return { theta, cost };
}

const EXPONENTS = [0.1, 0.2, 0.35, 0.5, 0.8];

/** Starts for given exponents: the other three by least squares on the loss, held positive. */
function startAt(alpha: number, beta: number, rows: readonly LogRow[]): Theta {
  const design = new Matrix(rows.map(({ n, d }) => [1, Math.exp(-alpha * n), Math.exp(-beta * d)]));
  const losses = Matrix.columnVector(rows.map(({ l }) => Math.exp(l)));
  const lowest = Math.min(...losses.to1DArray());
  const scale = design.getRow(0).map((_, j) => Math.hypot(...design.getColumn(j)));
  const scaled = design.clone().divRowVector(scale);
  const found = solve(
    scaled.transpose().mmul(scaled).add(Matrix.eye(3).mul(1e-9)),
    scaled.transpose().mmul(losses),
  )
    .to1DArray()
    .map((x, j) => x / scale[j]!);
  const spread = lowest / 3;
  const positive = (x: number, otherwise: number): number => Math.log(x > 0 ? x : otherwise);
  return [
    positive(Math.min(found[0]!, 0.999 * lowest), spread),
    positive(found[1]!, spread / scale[1]!),
    alpha,
    positive(found[2]!, spread / scale[2]!),
    beta,
  ];
}

function bestFit(rows: readonly LogRow[], delta: number, starts: readonly Theta[]): Theta {
  let best: { theta: Theta; cost: number } | undefined;
  for (const start of starts) {
    const found = descend(start, rows, delta);
    if (Number.isFinite(found.cost) && (!best || found.cost < best.cost)) best = found;
  }
  if (!best) throw new NumericError("scaling fit", "no start led to a fit");
  return best.theta;
}

const figures = (law: ParametricLaw): Record<keyof ParametricLaw | "size" | "data", number> => ({
  ...law,
  size: law.beta / (law.alpha + law.beta),
  data: law.alpha / (law.alpha + law.beta),
});

/**
 * Fits the law to the logarithm of the loss under Huber's cost, from 25 starts, with a bootstrap over runs.
 *
 * @throws ConfigError for fewer than six runs, numbers that are not positive, or one size or one amount of data only
 */
export function fitParametric(runs: ScalingRuns, options: ParametricOptions = {}): ParametricFit {
  const { delta = 1e-3 } = options;
  const count = runs.loss.length;
  if (count < 6) {
    throw new ConfigError("scaling fit", "too few runs for five unknowns", {
      expected: "at least 6",
      got: `${count}`,
    });
  }
  for (const name of ["size", "tokens", "loss"] as const) {
    const bad = runs[name].findIndex((x) => !(x > 0));
    if (runs[name].length !== count || bad >= 0) {
      throw new ConfigError("scaling fit", `"${name}" needs a positive number for every run`, {
        got: bad >= 0 ? `${runs[name][bad]} in run ${bad + 1}` : `${runs[name].length} of ${count}`,
      });
    }
    if (new Set(runs[name]).size < 2)
      throw new ConfigError("scaling fit", `"${name}" is the same in every run`);
  }
  // Centred logarithms keep the normal equations well conditioned.
  const mean = (xs: readonly number[]): number => xs.reduce((a, x) => a + Math.log(x), 0) / count;
  const [n0, d0] = [mean(runs.size), mean(runs.tokens)];
  const rows = runs.loss.map((loss, i): LogRow => ({
    n: Math.log(runs.size[i]!) - n0,
    d: Math.log(runs.tokens[i]!) - d0,
    l: Math.log(loss),
  }));
  const starts = EXPONENTS.flatMap((a) => EXPONENTS.map((b) => startAt(a, b, rows)));
  const best = bestFit(rows, delta, starts);
  const uncentred = ([e, a, alpha, b, beta]: Theta): ParametricLaw =>
    toLaw([e, a + alpha * n0, alpha, b + beta * d0, beta]);
  const law = uncentred(best);
  const found = bootstrap(
    count,
    figures(law),
    (picked) => {
      const mine = picked.map((i) => rows[i]!);
      if (new Set(mine.map((r) => r.n)).size < 2 || new Set(mine.map((r) => r.d)).size < 2) return undefined;
      return figures(uncentred(bestFit(mine, delta, [best])));
    },
    options,
  );
  const { size, data, ...parts } = found;
  const squares = rows.reduce((sum, row) => sum + residual(best, row)[0] ** 2, 0);
  return {
    law: parts,
    sizeExponent: size,
    dataExponent: data,
    rms: Math.sqrt(squares / count),
    runs: count,
  };
}

/** The fitted law without its intervals. */
export const lawOf = (fit: ParametricFit): ParametricLaw => ({
  E: fit.law.E.value,
  A: fit.law.A.value,
  alpha: fit.law.alpha.value,
  B: fit.law.B.value,
  beta: fit.law.beta.value,
});
