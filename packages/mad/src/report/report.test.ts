import { describe, expect, test } from "vitest";
import { parseArchitecture } from "../benchmark/architecture-name.ts";
import { makeCell } from "../benchmark/cell.ts";
import { hyperParameters, type Recipe } from "../benchmark/recipe.ts";
import type { CellResult, Measured } from "../benchmark/result.ts";
import { scoreArchitectures } from "../benchmark/scores.ts";
import { MAD_SETTINGS } from "../protocol.ts";
import { TASKS } from "../tasks/registry.ts";
import { benchmarkPage } from "./benchmark-page.ts";
import { chart } from "./draw.ts";
import { exampleRow } from "./example-rows.ts";
import { paretoFront } from "./pareto.ts";
import { runsCsv, scoreTable } from "./score-table.ts";

/** A finished cell with chosen accuracy; the last run diverged. */
function finished(
  stack: string,
  setting: (typeof MAD_SETTINGS)[number],
  accuracy: number,
  name = "",
): CellResult {
  const recipe: Partial<Recipe> = { learningRates: [1e-3, 5e-3], weightDecays: [0] };
  const cell = makeCell({ ...parseArchitecture(stack), ...(name ? { name } : {}) }, setting, recipe);
  const measured = (a: number): Measured => {
    const scores = { macroAccuracy: a, tokenAccuracy: a, loss: 1 - a, perplexity: Math.exp(1 - a) };
    return { epoch: scores, batches: { ...scores, macroAccuracy: 0.9 * a } };
  };
  return {
    ...cell,
    format: 1,
    layers: ["a"],
    setting: setting.id,
    task: setting.task,
    options: setting.options,
    trainCount: setting.trainCount,
    testCount: setting.testCount,
    runs: hyperParameters(cell.recipe).map((h, i) => ({
      ...h,
      curve: [
        {
          epoch: 0,
          step: 0,
          trainLoss: null,
          testLoss: 2,
          tokenAccuracy: 0,
          macroAccuracy: 0,
          batchAccuracy: 0,
        },
        {
          epoch: 1,
          step: 9,
          trainLoss: 1,
          testLoss: 1,
          tokenAccuracy: accuracy,
          macroAccuracy: accuracy,
          batchAccuracy: 0,
        },
      ],
      test: i === 1 ? null : measured(accuracy),
      stopped: i === 1 ? "diverged" : "done",
      steps: 9,
    })),
    leakage: { testRows: 10, shared: 0, fraction: 0 },
    model: {
      parameters: 1000,
      layerParameters: 900,
      stateElements: 64,
      fixedState: true,
      flopsPerToken: 5000,
    },
    seconds: 1,
    rowsPerSecond: 10,
    together: true,
    device: "cpu",
    finished: "2026-01-01T00:00:00Z",
  };
}

const recall = MAD_SETTINGS.filter((s) => s.task === "in-context-recall");
const results = [
  ...recall.map((s, i) => finished("mA-Sg", s, 0.9 - i / 20)),
  ...recall.map((s, i) => finished("Mb-Sg", s, 0.6 - i / 20, `<b>"mine"</b>`)),
];
const options = { title: "A & B", command: "c", environment: { device: "cpu" } };

describe("the page", () => {
  const page = benchmarkPage(results, {
    ...options,
    compare: [{ name: "old", results: recall.map((s) => finished("mA-Sg", s, 0.5)) }],
  });

  test("stands alone and escapes what it is given", () => {
    expect(page).not.toMatch(/<script|(src|href)="http|url\((?!#)/);
    expect(page).not.toContain(`<b>"mine"</b>`);
    expect(page).toContain("&lt;b&gt;&quot;mine&quot;&lt;/b&gt;");
    expect(page).toContain("<title>A &amp; B</title>");
    // No stand-in colour is left: charts follow light and dark.
    expect(page).not.toMatch(/#a[12]0\d0\d/);
    expect(page).toContain("prefers-color-scheme: dark");
  });

  test("shows every setting, the charts of difficulty, the front and the changes", () => {
    for (const s of recall) expect(page).toContain(`<b>${s.id}</b>`);
    for (const option of ["vocabSize", "seqLen", "trainCount"])
      expect(page).toContain(`in-context-recall, by ${option}`);
    expect(page).toMatch(/Pareto front: mA-Sg</);
    expect(page).toMatch(/Against old.*11 settings in common/s);
    expect(page).toContain('class="good">+');
    expect(page).toContain("diverged");
  });

  test("judges by the figure that is asked for, and compares only what is in common", () => {
    const other = benchmarkPage(results, {
      ...options,
      figure: "batches",
      compare: [{ name: "elsewhere", results: [finished("H-Sg", recall[0]!, 0.5)] }],
    });
    expect(other).toContain("accuracy, mean over batches");
    expect(other).not.toContain(">macro accuracy<");
    // The best run's accuracy is 0.9, mad-lab's of it 0.81.
    expect(other).toMatch(/in-context-recall<\/b>: mA-Sg 0\.810/);
    expect(page).toMatch(/in-context-recall<\/b>: mA-Sg 0\.900/);
    expect(other).toContain("0 settings in common");
    expect(other).toContain("only there: H-Sg");
    expect(other).not.toContain("<th>elsewhere</th>");
  });

  test("a task's example row holds its question", () => {
    for (const task of TASKS) {
      const html = exampleRow(task.name);
      const says = html.slice(html.indexOf("says"));
      expect(says, task.name).toMatch(/<td class="t-\w+">\d+<\/td>/);
    }
  });
});

test("a chart names its axes and itself", () => {
  const svg = chart({
    label: "a < b",
    x: { name: "left" },
    y: { name: "up" },
    series: [{ name: "s", colour: 9, points: [[1, 2]] }],
  });
  expect(svg).toContain('aria-label="a &lt; b"');
  expect(svg).toContain("var(--s1)");
  expect(svg).toContain("left");
});

test("the front holds what nothing beats in both", () => {
  const points = [
    { cost: 3, value: 5 },
    { cost: 1, value: 2 },
    { cost: 2, value: 2 },
    { cost: 3, value: 4 },
    { cost: 2, value: 3 },
  ];
  expect(paretoFront(points)).toEqual([points[1], points[4], points[0]]);
});

test("tables: both accuracies, and a line a run", () => {
  const scores = scoreArchitectures(results, MAD_SETTINGS);
  const text = scoreTable(scores);
  expect(text).toMatch(/mA-Sg .*0\.650 +0\.650 +0\.585 +0\.650 +11 of 66/);
  const csv = runsCsv(scores).trim().split("\n");
  expect(csv.length).toBe(1 + 2 * results.length);
  expect(new Set(csv.map((l) => l.replaceAll(/"[^"]*(""[^"]*)*"/g, "").split(",").length)).size).toBe(1);
});
