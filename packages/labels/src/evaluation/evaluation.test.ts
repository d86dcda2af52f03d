import { describe, expect, it } from "vitest";
import { bootstrap, pairedDifference } from "./bootstrap.ts";
import { stratifiedFolds } from "./folds.ts";
import { brier, calibration, calibrationError, logLoss, score } from "./metrics.ts";
import { compareWithMajority } from "./scored-labels.ts";
import { seededUniform } from "./synthetic-votes.ts";

describe("scores", () => {
  it("are the usual ones", () => {
    // 3 of 5 right, precision 2/3, recall 2/3
    const s = score([1, 1, 1, 0, 0], [1, 1, 0, 1, 0]);
    expect(s).toEqual({ accuracy: 0.6, precision: 2 / 3, recall: 2 / 3, f1: 2 / 3, coverage: 1 });
    expect(score([0, 1, 2], [0, 1, -1], { classes: 3 })).toMatchObject({
      accuracy: 2 / 3,
      coverage: 2 / 3,
      f1: 2 / 3,
    });
    expect(score([1, 1], [0, 0]).f1).toBe(0);
  });

  it("of probabilities", () => {
    const p = Float64Array.of(0.2, 0.8, 0.9, 0.1);
    expect(brier([1, 1], p)).toBeCloseTo((0.04 + 0.04 + 0.81 + 0.81) / 2, 12);
    expect(logLoss([1, 0], p)).toBeCloseTo(-(Math.log(0.8) + Math.log(0.9)) / 2, 12);
    const bins = calibration([1, 1], p, { bins: 2 });
    expect(bins).toEqual([
      { predicted: 0.1, observed: 1, count: 1 },
      { predicted: 0.8, observed: 1, count: 1 },
    ]);
    expect(calibrationError(bins)).toBeCloseTo((0.9 + 0.2) / 2, 12);
  });
});

describe("paired bootstrap", () => {
  it("covers the true difference about as often as it says", () => {
    const uniform = seededUniform(Date.now() % 1e9);
    let covered = 0;
    for (let round = 0; round < 60; round++) {
      const labels = Int16Array.from({ length: 200 }, () => (uniform() < 0.5 ? 1 : 0));
      const noisy = (accuracy: number): Int16Array => labels.map((y) => (uniform() < accuracy ? y : 1 - y));
      const { low, high } = pairedDifference(labels, noisy(0.9), noisy(0.8), "accuracy", {
        rounds: 300,
        seed: round,
      });
      if (low <= 0.1 && high >= 0.1) covered++;
    }
    expect(covered).toBeGreaterThan(50);
  });

  it("is 0 wide for equal systems", () => {
    expect(pairedDifference([0, 1, 1], [1, 1, 0], [1, 1, 0])).toEqual({ value: 0, low: 0, high: 0 });
    expect(bootstrap((rows) => rows.length, 7).value).toBe(7);
  });

  it("says when a model does not beat the majority vote", () => {
    const labels = Array.from({ length: 100 }, (_, i) => i % 2);
    const p = (right: number): Float64Array =>
      Float64Array.from(labels.flatMap((y, i) => (i < right === (y === 1) ? [0, 1] : [1, 0])));
    expect(compareWithMajority(labels, p(90), p(90)).verdict).toBe("no difference");
    expect(compareWithMajority(labels, p(90), p(60)).text).toMatch(/beats the majority vote by 30\.0 points/);
    expect(compareWithMajority(labels, p(60), p(90)).text).toMatch(/LOSES/);
  });
});

describe("stratifiedFolds", () => {
  it("spreads classes evenly", () => {
    const labels = Array.from({ length: 50 }, (_, i) => (i < 20 ? 1 : 0));
    const fold = stratifiedFolds(labels, 5);
    for (let f = 0; f < 5; f++) {
      const inside = labels.filter((_, i) => fold[i] === f);
      expect(inside).toHaveLength(10);
      expect(inside.filter((y) => y === 1)).toHaveLength(4);
    }
  });
});
