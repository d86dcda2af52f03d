import { describe, expect, test } from "vitest";
import { type LifetimeSource, prepareLifetime } from "./lifetime.ts";
import type { MetricsOptions } from "./options.ts";
import { metricsOptionsFromSettings, resolveMetricsOptions } from "./options.ts";
import { saturation } from "./regime-metrics.ts";
import { computeMetrics } from "./report.ts";
import { smooth, unitWindow } from "./smooth.ts";
import type { SteRun } from "./ste-store.ts";
import { quantile, sum, theilSenSlope } from "./statistics.ts";

interface Stretch {
  readonly block: number;
  readonly type: "train" | "test";
  readonly task: string;
  readonly values: readonly number[];
  readonly sleep?: boolean;
}

/** A lifetime from its regimes. */
function lifetime(stretches: readonly Stretch[]): LifetimeSource {
  const rows = stretches.flatMap((s) => s.values.map((value) => ({ ...s, value })));
  const tasks = [...new Set(rows.map((r) => r.task))];
  const ints = (of: (row: (typeof rows)[number]) => number): Int32Array => Int32Array.from(rows, of);
  return {
    runId: "made",
    scenarioInfo: {},
    table: {
      rows: rows.length,
      blockNum: ints((r) => r.block),
      expNum: Int32Array.from(rows.keys()),
      test: Uint8Array.from(rows, (r) => Number(r.type === "test")),
      sleep: Uint8Array.from(rows, (r) => Number(r.sleep === true)),
      complete: new Uint8Array(rows.length).fill(1),
      task: ints((r) => tasks.indexOf(r.task)),
      tasks,
      param: ints(() => 0),
      params: [""],
      worker: ints(() => 0),
      workers: ["w"],
      timestamp: rows.map(() => ""),
      numbers: new Map([["reward", Float64Array.from(rows, (r) => r.value)]]),
      texts: new Map(),
    },
  };
}

const fill = (value: number, count: number): number[] => Array.from({ length: count }, () => value);
const bare: MetricsOptions = {
  normalization: "none",
  smoothing: "none",
  transfer: "both",
  maintenance: "both",
};

/** Evaluations of a, b, c around two trainings that stand between the same two evaluations. */
const crowded: Stretch[] = [
  { block: 0, type: "test", task: "a", values: fill(10, 4) },
  { block: 0, type: "test", task: "b", values: fill(20, 4) },
  { block: 0, type: "test", task: "c", values: fill(40, 4) },
  { block: 1, type: "train", task: "a", values: fill(50, 10) },
  { block: 2, type: "train", task: "b", values: fill(60, 10) },
  { block: 3, type: "test", task: "a", values: fill(15, 4) },
  { block: 3, type: "test", task: "b", values: fill(30, 4) },
  { block: 3, type: "test", task: "c", values: fill(60, 4) },
];

describe("transfer with several trainings between two evaluations", () => {
  test("every pair keeps its value by default", () => {
    const { tasks, values } = computeMetrics(lifetime(crowded), new Map(), bare);
    const forward = Object.fromEntries(tasks.map((t) => [t.task, t.transfer["forward_transfer_ratio"]]));
    expect(forward).toEqual({ a: { b: [1.5], c: [1.5] }, b: { c: [1.5] }, c: {} });
    expect(tasks.find((t) => t.task === "b")!.transfer["backward_transfer_ratio"]).toEqual({ a: [1.5] });
    expect(values["forward_transfer_contrast"]).toBeCloseTo(0.2, 12);
  });

  test("compat follows the original, where b -> c overwrites a -> c", () => {
    const { tasks } = computeMetrics(lifetime(crowded), new Map(), { ...bare, compat: true });
    const forward = Object.fromEntries(tasks.map((t) => [t.task, t.transfer["forward_transfer_ratio"]]));
    expect(forward).toEqual({ a: { b: [1.5] }, b: { c: [1.5] }, c: {} });
  });

  test("a zero before the training leaves the ratio out and keeps the contrast", () => {
    const zero = crowded.map((s) => (s.block === 0 && s.task === "c" ? { ...s, values: fill(0, 4) } : s));
    const { tasks } = computeMetrics(lifetime(zero), new Map(), bare);
    expect(tasks[1]!.transfer["forward_transfer_ratio"]).toEqual({});
    expect(tasks[1]!.transfer["forward_transfer_contrast"]).toEqual({ c: [1] });
  });
});

describe("maintenance and recovery", () => {
  const forgetting: Stretch[] = [
    { block: 0, type: "train", task: "a", values: fill(90, 10) },
    { block: 1, type: "test", task: "a", values: fill(80, 4) },
    { block: 2, type: "train", task: "b", values: fill(70, 10) },
    { block: 3, type: "test", task: "a", values: fill(60, 4) },
    { block: 4, type: "train", task: "a", values: [...fill(10, 3), ...fill(95, 7)] },
    { block: 5, type: "test", task: "a", values: fill(85, 4) },
    { block: 6, type: "test", task: "a", values: fill(75, 4), sleep: false },
    { block: 7, type: "train", task: "a", values: fill(20, 10) },
    { block: 8, type: "train", task: "a", values: [...fill(0, 6), ...fill(30, 4)] },
  ];

  test("differences are taken to the first evaluation after the latest training, or to that training's end", () => {
    const a = computeMetrics(lifetime(forgetting), new Map(), bare).tasks[0]!;
    expect(a.maintenance["mrlep"]!.differences).toEqual([[-20], [-10]]);
    expect(a.maintenance["mrtlp"]!.differences).toEqual([[-30], [-20]]);
    expect(a.values["perf_maintenance_mrlep"]).toBe(-15);
  });

  test("recovery counts experiences to the previous level, one more than there are if it is not reached", () => {
    const a = computeMetrics(lifetime(forgetting), new Map(), bare).tasks[0]!;
    expect(a.recoveryTimes).toEqual([3, 11, 6]);
    expect(a.values["perf_recovery"]).toBe(-1.5);
  });

  test("where there are sleep evaluations, those while awake do not count", () => {
    const slept = forgetting.map((s) => (s.block === 3 ? { ...s, sleep: true } : s));
    const a = computeMetrics(lifetime(slept), new Map(), bare).tasks[0]!;
    expect(a.evalValues).toEqual([60]);
    expect(a.maintenance["mrlep"]!.differences).toEqual([]);
  });
});

describe("experts", () => {
  const run = (values: number[], source = "x"): SteRun => ({
    source,
    expNum: Int32Array.from(values.keys()),
    regime: new Int32Array(values.length),
    test: new Uint8Array(values.length),
    columns: new Map([["reward", Float64Array.from(values)]]),
  });
  const rising = Array.from({ length: 8 }, (_, i) => i + 1);
  const log = lifetime([{ block: 0, type: "train", task: "a", values: [2, 4, 6, 8] }]);

  test("relative performance divides areas over the shorter curve, per run or against the mean curve", () => {
    const ste = new Map([["a", [run(rising), run(rising.map((v) => 3 * v))]]]);
    const apart = computeMetrics(log, ste, bare);
    expect(apart.tasks[0]!.relativePerformance).toEqual([2, 2 / 3]);
    expect(apart.values["ste_rel_perf"]).toBeCloseTo(4 / 3, 12);
    expect(computeMetrics(log, ste, { ...bare, steAveraging: "time" }).values["ste_rel_perf"]).toBe(1);
  });

  test("sample efficiency multiplies saturation and speed; a falling curve has none", () => {
    const ste = new Map([["a", [run(rising)]]]);
    expect(computeMetrics(log, ste, bare).values["sample_efficiency"]).toBeCloseTo((8 / 8) * (7 / 3), 12);
    const falling = lifetime([{ block: 0, type: "train", task: "a", values: [7, 9, 4, 2] }]);
    expect(computeMetrics(falling, ste, bare).values["sample_efficiency"]).toBe(0);
    const best = lifetime([{ block: 0, type: "train", task: "a", values: [9, 4, 2, 1] }]);
    expect(computeMetrics(best, ste, bare).values["sample_efficiency"]).toBeNaN();
  });
});

describe("saturation", () => {
  // a falling curve of 17: windows of 3 centred on x[-1] (reflected) and on x[1] hold the same three values
  const falling = Array.from({ length: 17 }, (_, i) => Math.exp(-i) + 0.1 * Math.cos(7 * i));

  test("is reached first where equal windows first stand, whatever the rounding of their sums", () => {
    for (let k = 0; k < 200; k++) {
      const curve = falling.map(
        (v, i) => v * (1 + 0.37 * k) + 1e-3 * Math.sin(k * (i + 1)) - (i > 3 ? 3 * k : 0),
      );
      const { value, at } = saturation(curve);
      expect(value).toBe(Math.max(...smooth(curve)));
      if (saturation(curve, true).at === 2) expect(at).toBe(0);
    }
  });

  test("a constant curve is saturated at once; an empty one never", () => {
    expect(saturation(fill(3.3, 40))).toEqual({ value: expect.closeTo(3.3, 12), at: 0 });
    expect(saturation([])).toEqual({ value: Number.NaN, at: Number.NaN });
  });
});

describe("preprocessing", () => {
  test("smoothing of 1..10 by 3", () => {
    expect([...smooth([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 3)].map((v) => Number(v.toFixed(8)))).toEqual([
      2, 1.66666667, 2, 3, 4, 5, 6, 7, 8, 9,
    ]);
  });

  test("a window longer than the series, or none, falls back to a fifth; below three nothing happens", () => {
    const series = Array.from({ length: 14 }, (_, i) => i % 5);
    expect(smooth(series, 15)).toEqual(smooth(series));
    expect([...smooth(series)]).toEqual(series);
    expect(smooth(Array.from({ length: 1000 }, () => 1)).length).toBe(1000);
  });

  test.each(["flat", "hanning", "hamming", "bartlett", "blackman"] as const)(
    "%s sums to one and is symmetric",
    (name) => {
      const w = unitWindow(7, name);
      expect(sum(w)).toBeCloseTo(1, 14);
      expect([...w].reverse()).toEqual([...w]);
    },
  );

  test("clamping and normalising use train and test rows of the lifetime and training rows of experts", () => {
    const log = lifetime([
      { block: 0, type: "test", task: "a", values: [-100] },
      { block: 1, type: "train", task: "a", values: [0, 100] },
      { block: 2, type: "train", task: "b", values: [5, 5] },
    ]);
    const task = prepareLifetime(log, new Map(), resolveMetricsOptions({ smoothing: "none" }));
    expect([...task.perf]).toEqual([1, 51, 101, 1, 1]);
    const run = prepareLifetime(
      log,
      new Map(),
      resolveMetricsOptions({ smoothing: "none", normalization: "run" }),
    );
    expect([...run.perf]).toEqual([1, 51, 101, 53.5, 53.5]);
    const clamped = prepareLifetime(
      log,
      new Map(),
      resolveMetricsOptions({ smoothing: "none", clampOutliers: true }),
    );
    expect([...clamped.clamped!]).toEqual([-80, 0, 80, 5, 5]);
    const given = resolveMetricsOptions({
      smoothing: "none",
      dataRange: { A: { min: 0, max: 50 }, b: { min: 0, max: 10 } },
      clampOutliers: true,
    });
    expect([...prepareLifetime(log, new Map(), given).perf]).toEqual([1, 1, 101, 51, 51]);
    const short = resolveMetricsOptions({ dataRange: { a: { min: 0, max: 1 } } });
    expect(() => prepareLifetime(log, new Map(), short)).toThrow(/no entry for b/);
  });

  test("quantiles, slopes and sums follow NumPy and SciPy", () => {
    expect(quantile([1, 2, 3, 4], 0.1)).toBeCloseTo(1.3, 15);
    expect(theilSenSlope([0, 18, 12])).toBe(6);
    const noisy = Array.from({ length: 4097 }, (_, i) => Math.sin(i) * 1e8 + 1e-8);
    expect(Math.abs(sum(noisy) - noisy.reduce((a, b) => a + b, 0))).toBeLessThan(1e-5);
  });
});

describe("options", () => {
  test("unknown names and values are refused with advice", () => {
    expect(() => resolveMetricsOptions({ transfr: "ratio" } as MetricsOptions)).toThrow(
      /Did you mean "transfer"/,
    );
    expect(() => resolveMetricsOptions({ transfer: "sum" as "ratio" })).toThrow(
      /ratio, contrast, both, got "sum"/,
    );
    expect(() => resolveMetricsOptions({ windowLength: 0 })).toThrow(/positive integer/);
    expect(() => metricsOptionsFromSettings({ perf_mesure: "x" })).toThrow(/perf_measure/);
  });

  test("noise is a function of its seed", () => {
    const log = lifetime(crowded);
    const values = (noiseSeed: number): number[] => [
      ...computeMetrics(log, new Map(), { ...bare, noise: [0, 1], noiseSeed }).lifetime.perf,
    ];
    expect(values(1)).toEqual(values(1));
    expect(values(1)).not.toEqual(values(2));
  });

  test("a custom metric is aggregated from regimes to tasks to the lifetime", () => {
    const best = {
      key: "best",
      title: "Best",
      about: "Largest performance.",
      calculate: ({ lifetime: l }: { lifetime: ReturnType<typeof prepareLifetime> }) => ({
        regimes: new Map(l.regimes.map((r) => [r.index, Math.max(...l.perf.subarray(r.start, r.end))])),
      }),
    };
    const report = computeMetrics(lifetime(crowded), new Map(), bare, [best]);
    expect(report.tasks.map((t) => t.values["best"])).toEqual([25, 110 / 3, 50]);
    expect(report.values["best"]).toBeCloseTo((25 + 110 / 3 + 50) / 3, 12);
    const taken = { ...best, key: "avg_eval_perf" };
    expect(() => computeMetrics(lifetime(crowded), new Map(), bare, [taken])).toThrow(/key of a built-in/);
  });
});
