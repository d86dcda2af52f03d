import { describe, expect, test } from "vitest";
import { abcPairs, abcTransfer } from "./abc-transfer.ts";
import { bootstrap, separated } from "./bootstrap.ts";
import { continualWorldMetrics, type SuccessRun } from "./continual-world.ts";
import { streamMetrics } from "./evaluation-matrix.ts";
import type { Lifetime } from "./lifetime.ts";

describe("Avalanche's stream metrics", () => {
  const matrix = {
    tasks: ["a", "b", "c"],
    values: [
      [0.1, 0.2, 0.3],
      [0.9, 0.3, 0.3],
      [0.6, 0.8, 0.5],
      [0.5, 0.9, 0.7],
    ],
    trained: [0, 1, 2],
  };

  test("forgetting is the first value minus the last, for tasks seen again", () => {
    const m = streamMetrics(matrix);
    expect(m.forgetting.map((v) => Number(v.toFixed(12)))).toEqual([0.4, -0.1, Number.NaN]);
    expect(m.meanForgetting).toBeCloseTo(0.15, 12);
    expect(m.meanBackwardTransfer).toBeCloseTo(-0.15, 12);
  });

  test("forward transfer compares with the untrained model", () => {
    const m = streamMetrics(matrix);
    expect(m.forwardTransfer.map((v) => Number(v.toFixed(12)))).toEqual([Number.NaN, 0.1, 0.2]);
    expect(m.finalPerformance).toBeCloseTo(0.7, 12);
    expect(() => streamMetrics({ ...matrix, trained: [0] })).toThrow(/expected \[2\]\[3\]/);
  });
});

describe("Continual World's metrics", () => {
  const run = (id: string, a: number[], b: number[]): SuccessRun => ({
    id,
    tasks: ["reach", "push"],
    success: [Float64Array.from(a), Float64Array.from(b)],
    active: Int32Array.from([0, 0, 0, 1, 1, 1]),
  });
  const runs = [
    run("1", [0, 0.5, 1, 0.5, 0.5, 0.5], [0, 0, 0, 0.4, 0.8, 1]),
    run("2", [0.2, 0.4, 0.6, 0.3, 0.2, 0.1], [0, 0, 0, 0, 0.5, 1]),
  ];
  const baselines = [
    { id: "x", task: "reach", success: Float64Array.from([0, 0.2, 0.4]) },
    { id: "y", task: "push", success: Float64Array.from([0.5, 0.5, 0.8]) },
  ];

  test("performance, forgetting and normalised forward transfer", () => {
    const m = continualWorldMetrics(runs, baselines, { window: 1 });
    expect(m.performance.value).toBeCloseTo((0.5 + 1 + 0.1 + 1) / 4, 12);
    expect(m.forgetting.value).toBeCloseTo((0.5 + 0 + 0.5 + 0) / 4, 12);
    const reach = ((0.5 + 0.4) / 2 - 0.2) / 0.8;
    const push = ((2.2 / 3 + 0.5) / 2 - 0.6) / 0.4;
    expect(m.perTask.map((t) => t.forwardTransfer)).toEqual([
      expect.closeTo(reach, 12),
      expect.closeTo(push, 12),
    ]);
    expect(m.forwardTransfer!.value).toBeCloseTo((reach + push) / 2, 12);
    expect(m.forwardTransfer!.low).toBeLessThan(m.forwardTransfer!.high);
  });

  test("the end is the mean of the last five evaluations by default", () => {
    expect(continualWorldMetrics(runs).perTask[1]!.performance).toBeCloseTo((2.2 / 5 + 1.5 / 5) / 2, 12);
    expect(continualWorldMetrics(runs).forwardTransfer).toBeNull();
    expect(() => continualWorldMetrics(runs, baselines.slice(1))).toThrow(/no baseline run for reach/);
  });
});

describe("area between curves", () => {
  const lifetime = (runId: string, curves: [string, number[]][]): Lifetime => {
    const perf = Float64Array.from(curves.flatMap(([, values]) => values));
    let start = 0;
    const regimes = curves.map(([task, values], i) => ({
      index: i,
      blockNum: i,
      blockType: "train" as const,
      blockSubtype: "wake" as const,
      task,
      taskParams: "",
      start,
      end: (start += values.length),
    }));
    return { runId, perf, regimes } as unknown as Lifetime;
  };
  const ramp = (from: number, to: number, n: number): number[] =>
    Array.from({ length: n }, (_, i) => from + ((to - from) * i) / (n - 1));

  test("compares with the mean curve of lifetimes that start with the task, by the trapezoid rule", () => {
    const values = abcTransfer([
      lifetime("1", [
        ["a", ramp(0, 1, 8)],
        ["b", ramp(5, 9, 8)],
      ]),
      lifetime("2", [
        ["b", ramp(1, 5, 10)],
        ["a", ramp(2, 3, 8)],
      ]),
      lifetime("3", [
        ["b", ramp(3, 7, 10)],
        ["c", ramp(0, 0, 4)],
      ]),
      lifetime("4", [
        ["a", ramp(0, 1, 8)],
        ["b", ramp(6, 10, 8)],
      ]),
    ]);
    expect(values.map((v) => v.area === null)).toEqual([false, false, true, false]);
    const base = ramp(2, 6, 10).slice(0, 8);
    const gap = ramp(5, 9, 8).map((v, i) => v - base[i]!);
    const area = gap.slice(1).reduce((s, v, i) => s + (v + gap[i]!) / 16, 0);
    expect(values[0]!.area).toBeCloseTo(area, 12);
    expect(values[1]!.area).toBeCloseTo(2 * (7 / 8), 12);
    const pairs = abcPairs(values);
    expect(pairs.find((p) => p.to === "b")).toMatchObject({ from: "a", count: 2 });
    expect(pairs.find((p) => p.to === "b")!.area).toBeCloseTo(area + 0.5 * (7 / 8), 12);
    expect(values[1]!.divisions[0]).toHaveLength(4);
  });
});

describe("bootstrap", () => {
  test("covers the mean of normal samples as often as it says", () => {
    let state = 12345;
    const uniform = (): number => (state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0) / 2 ** 32;
    const normal = (): number => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
    let inside = 0;
    for (let k = 0; k < 200; k++) {
      const { low, high } = bootstrap(Array.from({ length: 30 }, normal), { samples: 400, seed: k });
      if (low <= 0 && 0 <= high) inside++;
    }
    // percentile intervals of 30 values cover a little less than 90 %
    expect(inside).toBeGreaterThan(165);
    expect(inside).toBeLessThan(195);
  });

  test("is a function of its seed, skips NaN, and tells separated groups", () => {
    const low = bootstrap([1, 2, Number.NaN, 1.5, 1.2]);
    expect(low).toEqual(bootstrap([1, 2, 1.5, 1.2]));
    expect(low.count).toBe(4);
    expect(separated(low, bootstrap([3, 4, 3.5]))).toBe(true);
    expect(separated(low, bootstrap([1.1, 2.4, 3.5]))).toBe(false);
    expect(bootstrap([1]).low).toBeNaN();
    expect(() => bootstrap([1, 2], { confidence: 90 })).toThrow(/between 0 and 1/);
  });
});
