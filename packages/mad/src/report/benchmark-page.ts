// The report of benchmark results: one self-contained page without scripts or outside references.

import { bestRun, testLossOf, type CellResult, type EpochPoint } from "../benchmark/result.ts";
import {
  cellScore,
  commonFigure,
  SCORE_FIGURES,
  scoreArchitectures,
  winner,
  type ArchitectureScore,
  type ScoreFigure,
} from "../benchmark/scores.ts";
import { MAD_SETTINGS } from "../protocol.ts";
import { TASKS } from "../tasks/registry.ts";
import { comparisonSection, type SavedRuns } from "./comparison.ts";
import { chart, type ChartSeries } from "./draw.ts";
import { exampleRow } from "./example-rows.ts";
import { pageHead, type PageOptions } from "./page.ts";
import { paretoFront } from "./pareto.ts";
import { recipeNote } from "./score-table.ts";
import { escapeHtml, figureBlock, heatCell, legend } from "./style.ts";
import { countText, shareText } from "./table.ts";

export interface BenchmarkPageOptions extends PageOptions {
  /** Results to compare with, a name each. */
  readonly compare?: readonly SavedRuns[];
  /** By which charts and tables judge. Default: the first that is known of all results. */
  readonly figure?: ScoreFigure;
}

/** What the sections are made of. */
interface Scored {
  readonly scores: readonly ArchitectureScore[];
  /** What tables call the architectures. */
  readonly labels: readonly string[];
  readonly figure: ScoreFigure;
}

const FIGURE_NAMES: Readonly<Record<ScoreFigure, string>> = {
  macro: "macro accuracy",
  batches: "accuracy, mean over batches",
  token: "token accuracy",
};
const CURVES: Readonly<Record<ScoreFigure, (p: EpochPoint) => number>> = {
  macro: (p) => p.macroAccuracy,
  batches: (p) => p.batchAccuracy,
  token: (p) => p.tokenAccuracy,
};

/** What tables call an architecture where one name has several recipes. */
function labelsOf(scores: readonly ArchitectureScore[]): string[] {
  return scores.map((s) =>
    scores.some((o) => o !== s && o.architecture === s.architecture)
      ? `${s.architecture} (${recipeNote(s)})`
      : s.architecture,
  );
}

function scoreSection({ scores, labels, figure }: Scored): string {
  const tasks = TASKS.filter((t) => scores.some((s) => s.tasks.some((x) => x.task === t.name)));
  const figures = Object.keys(SCORE_FIGURES) as ScoreFigure[];
  const rows = scores.map((s, i) => {
    const of = (task: string): number => s.tasks.find((t) => t.task === task)?.score[figure] ?? Number.NaN;
    const count =
      s.results.length + (s.missing.length > 0 ? ` of ${s.results.length + s.missing.length}` : "");
    return `<tr><td>${escapeHtml(labels[i]!)}</td>${figures
      .map((f) => heatCell(s.total[f]))
      .join("")}${tasks.map((t) => heatCell(of(t.name))).join("")}<td>${count}</td></tr>`;
  });
  const notes = figures.map((f) => `<b>${f}</b>: ${escapeHtml(SCORE_FIGURES[f].describe)}`).join("; ");
  return `<h2 id="scores">Scores</h2>
<div class="scroll"><table class="wide"><thead><tr><th>architecture</th>${figures.map((f) => `<th>${f}</th>`).join("")}${tasks
    .map((t) => `<th>${escapeHtml(t.name)}</th>`)
    .join("")}<th>settings</th></tr></thead><tbody>${rows.join("\n")}</tbody></table></div>
<p class="soft">Of each setting the best run of its sweep, of a task the mean over settings, in total the mean over tasks.
Task columns show "${figure}". ${notes}.</p>`;
}

/** A setting's value on one axis of difficulty; the baseline's stands on all of them. */
function difficultySection({ scores, labels, figure }: Scored): string {
  const charts = TASKS.flatMap((task) => {
    const mine = scores.map((s) => s.results.filter((r) => r.task === task.name));
    const value = (r: CellResult, option: string): number =>
      option === "trainCount" ? r.trainCount : Number(r.options[option as keyof CellResult["options"]]);
    const options = ["vocabSize", "seqLen", "trainCount", "fracNoise", "numTokensToCopy"];
    return options.flatMap((option) => {
      // Settings that differ from the baseline in this option alone, and the baseline.
      const rest = (r: CellResult): string =>
        options.map((o) => (o === option ? "" : `${value(r, o)}`)).join();
      const baseline = mine.flat().find((r) => r.setting === task.name);
      if (!baseline) return [];
      const axis = mine.map((rs) => rs.filter((r) => rest(r) === rest(baseline)));
      const values = [...new Set(axis.flat().map((r) => value(r, option)))].toSorted((a, b) => a - b);
      if (values.length < 2) return [];
      const series = axis.map((rs, i): ChartSeries => {
        const points = values.map((v): [string, number | null] => {
          const found = rs.find((r) => value(r, option) === v);
          return [`${v}`, found ? cellScore(found, figure) : null];
        });
        return { name: labels[i]!, colour: i, points };
      });
      const svg = chart({
        label: `${task.name}: accuracy by ${option}`,
        x: { name: option, kind: "category", categories: values.map(String) },
        y: { name: FIGURE_NAMES[figure], min: 0, max: 1 },
        series,
        width: 340,
        height: 220,
      });
      return [figureBlock(`${task.name}, by ${option}`, svg)];
    });
  });
  return charts.length === 0
    ? ""
    : `<h2 id="difficulty">Difficulty</h2>${legend(labels)}<div class="charts">${charts.join("\n")}</div>`;
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

function costSection({ scores, labels, figure }: Scored): string {
  const panel = (name: string, of: (r: CellResult) => number): string => {
    const points = scores
      .map((s, i) => ({ i, cost: Math.max(1, mean(s.results.map(of))), value: s.total[figure] }))
      .filter((p) => Number.isFinite(p.cost) && Number.isFinite(p.value));
    if (points.length === 0) return "";
    const front = paretoFront(points);
    const costs = points.map((p) => p.cost);
    const series: ChartSeries[] = [
      ...points.map(({ i, cost, value }): ChartSeries => ({
        name: labels[i]!,
        colour: i,
        kind: "scatter",
        points: [[cost, value]],
      })),
      { name: "Pareto front", colour: 0, faint: true, points: front.map((p) => [p.cost, p.value]) },
    ];
    const svg = chart({
      label: `score against ${name}`,
      // three beside each other
      width: 365,
      x: {
        name,
        kind: "log",
        min: 10 ** Math.floor(Math.log10(Math.min(...costs))),
        max: 10 ** Math.ceil(Math.log10(Math.max(...costs) * 1.01)),
        format: (v) => (v >= 1e6 ? `${v / 1e6}M` : v >= 1e3 ? `${v / 1e3}k` : `${v}`),
      },
      y: { name: "score", min: 0, max: 1 },
      series,
    });
    const names = front.map((p) => labels[p.i]!).join(", ");
    return figureBlock(`score against ${name}; on the Pareto front: ${names}`, svg);
  };
  return `<h2 id="cost">Score against cost</h2>${legend(labels)}<div class="charts">
${panel("numbers of state", (r) => r.model.stateElements)}
${panel("flops per token", (r) => r.model.flopsPerToken)}
${panel("parameters of the layers", (r) => r.model.layerParameters)}</div>
<p class="soft">Costs are means over the settings; a state that grows is that after a whole sequence. Dashed: beaten by none in
both.</p>`;
}

function curvesOf(
  results: readonly { readonly r: CellResult; readonly i: number }[],
  { labels, figure }: Scored,
): string {
  const best = results.flatMap(({ r, i }) => {
    const run = bestRun(r, r.recipe.accuracy);
    return run && run.curve.length > 0 ? [{ run, i }] : [];
  });
  if (best.length === 0) return "";
  const draw = (name: string, pick: (p: (typeof best)[number]["run"]["curve"][number]) => number): string =>
    chart({
      label: `${name} by epoch`,
      x: { name: "epoch", min: 0 },
      y: { name, min: 0, ...(name === "test loss" ? {} : { max: 1 }) },
      series: best.map(({ run, i }) => ({
        name: labels[i]!,
        colour: i,
        points: run.curve.map((p): [number, number] => [p.epoch, pick(p)]),
      })),
      width: 400,
      height: 220,
    });
  return `<div class="charts">${figureBlock(
    `best runs: ${FIGURE_NAMES[figure]}`,
    draw(FIGURE_NAMES[figure], CURVES[figure]),
  )}${figureBlock(
    "best runs: test loss",
    draw("test loss", (p) => p.testLoss),
  )}</div>`;
}

function settingSection(scored: Scored): string {
  const { scores, labels, figure } = scored;
  const settings = [...new Set(scores.flatMap((s) => s.results.map((r) => r.setting)))];
  // The published order; settings of one's own follow their task's.
  const order = (id: string): number => {
    const at = MAD_SETTINGS.findIndex((s) => s.id === id);
    const task = MAD_SETTINGS.findLastIndex((s) => s.task === id.split("/")[0]);
    return at >= 0 ? at : task + 0.5;
  };
  const parts = settings
    .toSorted((a, b) => order(a) - order(b))
    .map((id) => {
      const mine = scores.flatMap((s, i) => {
        const r = s.results.find((x) => x.setting === id);
        return r ? [{ r, i }] : [];
      });
      const ranked = mine.toSorted((a, b) => cellScore(b.r, figure) - cellScore(a.r, figure));
      const rows = ranked.flatMap(({ r, i }) =>
        r.runs.map((run) => {
          const best = run === bestRun(r, r.recipe.accuracy);
          const share = (x: number | undefined): string => (x === undefined ? "-" : shareText(x));
          return `<tr><td>${escapeHtml(labels[i]!)}</td><td>${run.learningRate}</td><td>${run.weightDecay}</td><td${best ? ' class="best"' : ""}>${share(run.test?.epoch.macroAccuracy)}</td><td>${share(run.test?.batches.macroAccuracy)}</td><td>${share(run.test?.epoch.tokenAccuracy)}</td><td>${run.test ? testLossOf(run).toFixed(3) : "-"}</td><td>${countText(run.steps)}</td><td class="text">${run.stopped}</td></tr>`;
        }),
      );
      const facts = ranked.map(
        ({ r, i }) =>
          `${escapeHtml(labels[i]!)}: ${countText(r.model.parameters)} parameters, state ${countText(r.model.stateElements)}${r.model.fixedState ? "" : " (grows)"}, ${countText(r.rowsPerSecond)} rows/s on ${escapeHtml(r.device)}`,
      );
      const top = ranked[0]!;
      return `<details><summary><b>${escapeHtml(id)}</b>: ${escapeHtml(labels[top.i]!)} ${shareText(cellScore(top.r, figure))}, ${escapeHtml(winner(top.r))}</summary>
<div class="scroll"><table><thead><tr><th>architecture</th><th>rate</th><th>decay</th><th>macro</th><th>batches</th><th>token</th><th>test loss</th><th>steps</th><th class="text">ended</th></tr></thead><tbody>${rows.join("")}</tbody></table></div>
${curvesOf(mine, scored)}
<p class="soft">${facts.join("<br>")}<br>${countText(top.r.leakage.shared)} of ${countText(top.r.leakage.testRows)} test rows stand in the training set.</p></details>`;
    });
  return `<h2 id="settings">Settings</h2>${legend(labels)}${parts.join("\n")}`;
}

function taskSection(results: readonly CellResult[]): string {
  const there = TASKS.filter((t) => results.some((r) => r.task === t.name));
  const rows = there.map(
    (t) => `<h3>${escapeHtml(t.name)}</h3><p class="soft">${escapeHtml(t.describe)}</p>${exampleRow(t.name)}`,
  );
  return `<h2 id="tasks">Tasks</h2><p class="soft">A small test row of each.
<span class="key t-key">key</span> <span class="key t-value">value</span> <span class="key t-special">special</span>
<span class="key t-blank">noise, blank or padding</span></p>${rows.join("\n")}`;
}

/** The page as HTML text. */
export function benchmarkPage(results: readonly CellResult[], options: BenchmarkPageOptions): string {
  const scores = scoreArchitectures(results);
  const labels = labelsOf(scores);
  const recipes = scores.map(
    (s, i) =>
      `<details><summary>${escapeHtml(labels[i]!)}: ${escapeHtml(s.results[0]!.layers.join(" → "))}</summary><pre>${escapeHtml(JSON.stringify(s.recipe, null, 1))}</pre></details>`,
  );
  const compared = options.compare ?? [];
  const figure = options.figure ?? commonFigure([...results, ...compared.flatMap((c) => c.results)]);
  const scored: Scored = { scores, labels, figure };
  const difficulty = difficultySection(scored);
  const comparison = comparisonSection(results, compared, figure);
  const links = [
    ["scores", "Scores"],
    ...(difficulty === "" ? [] : [["difficulty", "Difficulty"]]),
    ["cost", "Cost"],
    ...(comparison === "" ? [] : [["comparison", "Comparison"]]),
    ["settings", "Settings"],
    ["tasks", "Tasks"],
    ["recipes", "Recipes"],
  ].map(([id, name]) => `<a href="#${id}">${name}</a>`);
  return `${pageHead(options)}
<nav>${links.join("")}</nav>
${scoreSection(scored)}
${difficulty}
${costSection(scored)}
${comparison}
${settingSection(scored)}
${taskSection(results)}
<h2 id="recipes">Recipes</h2>
${recipes.join("\n")}
</body></html>
`;
}
