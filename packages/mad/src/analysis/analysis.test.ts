import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Pcg64 } from "@everlong/data";
import { describe, expect, test } from "vitest";
import { fitIsoFlop } from "./iso-flop.ts";
import { computeOptimal, fitParametric, lawOf, predictLoss, type ScalingRuns } from "./parametric.ts";
import { kendall, rankCorrelation, ranks, spearman } from "./rank.ts";
import { numbersOf, readTable } from "./runs-table.ts";

/** Hoffmann et al.'s published law. */
const LAW = { E: 1.69, A: 406.4, alpha: 0.34, B: 410.7, beta: 0.28 };

/** A normal draw. */
const normal = (bits: Pcg64): number =>
  Math.sqrt(-2 * Math.log(1 - bits.double())) * Math.cos(2 * Math.PI * bits.double());

function synthetic(noise: number, outliers = 0): ScalingRuns {
  const bits = new Pcg64(7);
  const runs = { size: [] as number[], tokens: [] as number[], loss: [] as number[] };
  for (const size of [3e7, 7e7, 2e8, 5e8, 1.3e9, 3e9, 7e9]) {
    for (const tokens of [5e8, 2e9, 8e9, 3e10, 1e11, 4e11]) {
      runs.size.push(size);
      runs.tokens.push(tokens);
      runs.loss.push(predictLoss(LAW, size, tokens) * Math.exp(noise * normal(bits)));
    }
  }
  for (let i = 0; i < outliers; i++) runs.loss[i * 9 + 3]! *= 1.4;
  return runs;
}

describe("parametric fit", () => {
  test("finds the law behind exact data", () => {
    const fit = fitParametric(synthetic(0), { resamples: 20 });
    const law = lawOf(fit);
    for (const name of Object.keys(LAW) as (keyof typeof LAW)[])
      expect(law[name] / LAW[name], name).toBeCloseTo(1, 4);
    expect(fit.sizeExponent.value).toBeCloseTo(0.28 / 0.62, 5);
    expect(fit.rms).toBeLessThan(1e-7);
  });

  test("with noise its intervals hold the truth, with outliers it barely moves", () => {
    const noisy = fitParametric(synthetic(0.005), { resamples: 100 });
    for (const name of ["E", "alpha", "beta"] as const) {
      const { low, high, value } = noisy.law[name];
      expect(low, name).toBeLessThan(value);
      // The interval of 90 % twice as wide: seven such draws rarely all hold otherwise.
      expect(Math.abs(value - LAW[name]), name).toBeLessThan(high - low);
    }
    expect(noisy.sizeExponent.low).toBeLessThan(0.28 / 0.62);
    expect(noisy.sizeExponent.high).toBeGreaterThan(0.28 / 0.62);
    const robust = lawOf(fitParametric(synthetic(0, 4), { resamples: 5 }));
    expect(robust.alpha).toBeCloseTo(LAW.alpha, 2);
    expect(robust.beta).toBeCloseTo(LAW.beta, 2);
    // Least squares, which a large delta is, is led astray.
    const square = lawOf(fitParametric(synthetic(0, 4), { resamples: 5, delta: 10 }));
    expect(Math.abs(square.alpha - LAW.alpha)).toBeGreaterThan(5 * Math.abs(robust.alpha - LAW.alpha));
  });

  test("the optimum of a budget is one", () => {
    const flops = 1e21;
    const { size, tokens, loss } = computeOptimal(LAW, flops);
    expect(6 * size * tokens).toBeCloseTo(flops, -10);
    for (const factor of [0.9, 1.1])
      expect(predictLoss(LAW, size * factor, tokens / factor)).toBeGreaterThan(loss);
  });

  test("tables that cannot be fitted are refused", () => {
    const runs = synthetic(0);
    const cut = (n: number): ScalingRuns => ({
      size: runs.size.slice(0, n),
      tokens: runs.tokens.slice(0, n),
      loss: runs.loss.slice(0, n),
    });
    expect(() => fitParametric(cut(5))).toThrow(/at least 6/);
    expect(() => fitParametric(cut(6))).toThrow(/"size" is the same/);
    expect(() => fitParametric({ ...runs, loss: runs.loss.map(() => -1) })).toThrow(/positive/);
  });
});

describe("iso-flop profiles", () => {
  const make = (noise: number, widths = [0.1, 0.3, 1, 3, 10], seed = 5): Parameters<typeof fitIsoFlop>[0] => {
    const bits = new Pcg64(seed);
    const runs = { size: [] as number[], flops: [] as number[], loss: [] as number[] };
    for (const flops of [1e18, 1e19, 1e20, 1e21]) {
      const best = 0.02 * flops ** 0.52;
      for (const w of widths) {
        runs.size.push(best * w);
        runs.flops.push(flops * (1 + 0.01 * bits.double()));
        runs.loss.push(2 + 1e4 / flops ** 0.25 + 0.05 * Math.log(w) ** 2 + noise * normal(bits));
      }
    }
    return runs;
  };

  test("finds exponent and factor", () => {
    const { exponent, k, profiles } = fitIsoFlop(make(0), { resamples: 50 });
    expect(exponent.value).toBeCloseTo(0.52, 3);
    expect(k.value / 0.02).toBeCloseTo(1, 1);
    expect(profiles.length).toBe(4);
    expect(profiles.every((p) => p.inside && p.runs === 5)).toBe(true);
    const { parabola, bestSize, bestLoss } = profiles[2]!;
    const x = Math.log(bestSize);
    expect(parabola[0] * x * x + parabola[1] * x + parabola[2]).toBeCloseTo(bestLoss, 9);
    // An interval of 90 % holds the truth in nine of ten data sets.
    const held = Array.from({ length: 60 }, (_, seed) => {
      const noisy = fitIsoFlop(make(0.004, undefined, seed), { resamples: 100 }).exponent;
      return noisy.low < 0.52 && noisy.high > 0.52;
    });
    expect(held.filter(Boolean).length).toBeGreaterThan(46);
    expect(held.filter(Boolean).length).toBeLessThan(60);
  });

  test("says when a lowest point is a guess, or missing", () => {
    // Three runs a budget determine the parabola: the interval is open.
    expect(fitIsoFlop(make(0.01, [0.3, 1, 3])).exponent.high).toBe(Number.POSITIVE_INFINITY);
    expect(fitIsoFlop(make(0, [0.01, 0.03, 0.1]), { resamples: 50 }).profiles.every((p) => !p.inside)).toBe(
      true,
    );
    expect(() => fitIsoFlop(make(0, [1, 3]))).toThrow(/fewer than three sizes/);
    const runs = make(0);
    expect(() => fitIsoFlop({ ...runs, loss: runs.loss.map((l) => 9 - l) })).toThrow(/downwards/);
  });
});

describe("rank correlation", () => {
  test("ties share ranks", () => expect(ranks([3, 1, 3, 2])).toEqual([3.5, 1, 3.5, 2]));

  test("known values", () => {
    // scipy.stats.spearmanr and kendalltau of the same lists, with a tie and without
    const x = [1, 2, 3, 4, 5];
    const y = [5, 6, 7, 8, 7];
    expect(spearman(x, y)).toBeCloseTo(0.820_782_681_668_123_3, 12);
    expect(kendall(x, y)).toBeCloseTo(0.737_864_787_372_621_8, 12);
    expect(kendall(x, [1, 2, 3, 5, 4])).toBeCloseTo(0.8, 12);
    expect(spearman(x, [5, 4, 3, 2, 1])).toBe(-1);
    expect(kendall(x, [1, 1, 1, 1, 1])).toBeNaN();
  });

  test("intervals and a test", () => {
    const x = Array.from({ length: 14 }, (_, i) => i);
    const y = x.map((v) => -v + 3 * Math.sin(5 * v));
    const r = rankCorrelation(x, y, { resamples: 500 });
    expect(r.spearman.value).toBeLessThan(-0.7);
    expect(r.spearman.high).toBeLessThan(-0.3);
    expect(r.kendall.low).toBeLessThan(r.kendall.value);
    expect(r.pValue).toBeLessThan(0.01);
    const bits = new Pcg64(2);
    expect(
      rankCorrelation(
        x,
        x.map(() => bits.double()),
        { resamples: 200 },
      ).pValue,
    ).toBeGreaterThan(0.05);
    expect(() => rankCorrelation([1, 2, 3], [1, 2, 3])).toThrow(/at least 4/);
    expect(() =>
      rankCorrelation(
        x,
        x.map(() => 1),
      ),
    ).toThrow(/constant/);
  });
});

test("tables of either kind, columns by their usual names", () => {
  const folder = mkdtempSync(join(tmpdir(), "everlong-table-"));
  const path = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text);
    return join(folder, name);
  };
  const csv = readTable(path("a.csv", "Model,N,train tokens,final_loss\nx,1e6,2e9,3.5\ny,2e6,4e9,3.1\n"));
  expect(numbersOf(csv, "parameters")).toEqual([1e6, 2e6]);
  expect(numbersOf(csv, "tokens")).toEqual([2e9, 4e9]);
  expect(numbersOf(csv, "loss")).toEqual([3.5, 3.1]);
  expect(() => numbersOf(csv, "flops")).toThrow(/no column "flops".*Model, N/);
  const large = readTable(path("c.csv", 'flops\n1e19\n3072e17\n9007199254740993\n" 2.5e22"\n'));
  expect(numbersOf(large, "flops")).toEqual([1e19, 3.072e20, 9007199254740992, 2.5e22]);
  const gaps = readTable(path("d.csv", "flops,loss\n1e19,\n1e20,3\n"));
  expect(() => numbersOf(gaps, "loss")).toThrow(/row 1 has no number under "loss"/);
  const json = readTable(path("a.json", '[{"loss": 1, "n": 5}, {"loss": null, "n": 6}]'));
  expect(() => numbersOf(json, "loss")).toThrow(/row 2/);
  expect(() => readTable(path("b.json", "{}"))).toThrow(/holds no rows/);
  expect(() => readTable(path("b.csv", "a,b\n"))).toThrow(/holds no rows/);
  rmSync(folder, { recursive: true });
});
