import { evaluationMatrix, streamMetrics } from "../metrics/evaluation-matrix.ts";
import { type MetricInfo, metricInfo } from "../metrics/registry.ts";
import type { MetricsReport } from "../metrics/report.ts";
import { type GroupSummary, summarizeGroup } from "../metrics/summary.ts";
import { comparisonChart, evaluationChart, learningChart, lifetimeChart, transferChart } from "./charts.ts";
import { color } from "./palette.ts";
import type { PlotType } from "./plot-types.ts";
import { shortInterval, shortNumber, verdict } from "./tables.ts";

/** Lifetimes of one agent. */
export interface ReportGroup {
  readonly name: string;
  readonly reports: readonly MetricsReport[];
}

export interface PageOptions {
  readonly title?: string;
  /** Default all. */
  readonly plots?: readonly PlotType[];
  /** Lines between evaluations; default true. */
  readonly showEvalLines?: boolean;
  /** Lifetimes shown in full per agent; the others count in tables and intervals. Default 3. */
  readonly detailed?: number;
}

/** A self-contained page: no scripts, no files beside it. */
export function reportPage(groups: readonly ReportGroup[], options: PageOptions = {}): string {
  const { title = "Lifelong learning report", detailed = 3 } = options;
  const summaries = groups.map((group) => summarizeGroup(group.name, group.reports));
  const all = groups.flatMap((group) => group.reports);
  const body = [
    `<header><h1>${escape(title)}</h1><p>${escape(overview(groups))}</p></header>`,
    section("Metrics", metricsSection(summaries)),
    groups.length > 1 ? section("Agents compared", comparison(summaries)) : "",
    section("Transfer", transferSection(groups)),
    section("By the definitions of Avalanche", avalancheTable(groups)),
    ...groups.map((group) =>
      section(
        group.name,
        group.reports
          .slice(0, detailed)
          .map((r) => lifetimeSection(r, options))
          .join(""),
      ),
    ),
    `<footer>${escape(settingsLine(all[0]))}</footer>`,
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(title)}</title><style>${STYLE}</style></head><body><main>${body.join("\n")}</main></body></html>
`;
}

const STYLE = `
:root{color-scheme:light;--ink:#0f172a;--soft:#475569;--line:#e2e8f0;--paper:#fff;--ground:#f8fafc}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 ui-sans-serif,system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:0 0 12px}h3{font-size:15px;margin:18px 0 6px}
header p,footer,.note{color:var(--soft);font-size:13px}section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:18px 0;overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}th,td{padding:5px 10px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}.about{white-space:normal;color:var(--soft);font-size:12.5px;line-height:1.35;min-width:190px;max-width:380px}
.yes{color:#047857;font-weight:600}.no{color:#b91c1c;font-weight:600}.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));gap:14px}
.dot{display:inline-block;width:10px;height:10px;border-radius:50%;margin-right:6px}summary{cursor:pointer;color:var(--soft)}
@media(max-width:600px){th,td{padding:5px 6px}.about{min-width:110px;max-width:130px}}
`;

function overview(groups: readonly ReportGroup[]): string {
  const lifetimes = groups.reduce((n, group) => n + group.reports.length, 0);
  const experiences = groups.flatMap((g) => g.reports).reduce((n, r) => n + r.numLx + r.numEx, 0);
  const names = groups.map((group) => group.name).join(", ");
  return `${lifetimes} lifetime${lifetimes === 1 ? "" : "s"} (${names}), ${experiences.toLocaleString("en")} experiences`;
}

function section(title: string, content: string): string {
  return content === "" ? "" : `<section><h2>${escape(title)}</h2>${content}</section>`;
}

function metricsSection(summaries: readonly GroupSummary[]): string {
  const keys = [...new Set(summaries.flatMap((summary) => Object.keys(summary.values)))];
  const head = ["<th>Metric</th>", ...summaries.map((s) => `<th class=n>${escape(s.name)}</th>`)];
  const rows = keys.map((key) => {
    const info: Partial<MetricInfo> = metricInfo(key) ?? {};
    const cells = summaries.map((s) => {
      const interval = s.values[key];
      if (interval === undefined) return "<td class=n>n/a</td>";
      return `<td class="n ${verdict(key, interval.value)}">${escape(shortInterval(interval))}</td>`;
    });
    const threshold =
      info.success === null || info.success === undefined ? "" : ` Shown from ${info.success}.`;
    const about = `<div class=about>${escape((info.about ?? "") + threshold)}</div>`;
    return `<tr><td>${escape(info.title ?? key)}${about}</td>${cells.join("")}</tr>`;
  });
  const note = summaries.some((s) => s.lifetimes > 1)
    ? "<p class=note>Mean over lifetimes with a 90 % bootstrap interval (4000 resamples).</p>"
    : "";
  return `<table><thead><tr>${head.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table>${note}`;
}

function comparison(summaries: readonly GroupSummary[]): string {
  const keys = [...new Set(summaries.flatMap((summary) => Object.keys(summary.values)))].filter((key) =>
    summaries.some((s) => Number.isFinite(s.values[key]?.value)),
  );
  const charts = keys.map((key) => comparisonChart(key, summaries, metricInfo(key)?.success ?? null));
  return `<div class=pair>${charts.join("")}</div>`;
}

function transferSection(groups: readonly ReportGroup[]): string {
  const keys = [
    "forward_transfer_ratio",
    "backward_transfer_ratio",
    "forward_transfer_contrast",
    "backward_transfer_contrast",
  ];
  return groups
    .map((group) => {
      const charts = keys.map((key) => transferChart(group.reports, key)).filter((chart) => chart !== null);
      if (charts.length === 0) return "";
      const title = groups.length > 1 ? `<h3>${escape(group.name)}</h3>` : "";
      return `${title}<div class=pair>${charts.join("")}</div>`;
    })
    .join("");
}

function avalancheTable(groups: readonly ReportGroup[]): string {
  const rows = groups.map((group) => {
    const streams = group.reports.map((report) => streamMetrics(evaluationMatrix(report)));
    const cell = (of: (s: (typeof streams)[number]) => number): string => {
      const defined = streams.map(of).filter((v) => !Number.isNaN(v));
      return `<td class=n>${shortNumber(defined.reduce((a, b) => a + b, 0) / defined.length)}</td>`;
    };
    return `<tr><td>${escape(group.name)}</td>${cell((s) => s.meanForgetting)}${cell((s) => s.meanBackwardTransfer)}${cell((s) => s.meanForwardTransfer)}${cell((s) => s.finalPerformance)}</tr>`;
  });
  return `<table><thead><tr><th>Agent</th><th class=n>forgetting</th><th class=n>backward transfer</th><th class=n>forward transfer</th><th class=n>final performance</th></tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

function lifetimeSection(report: MetricsReport, options: PageOptions): string {
  const plots = options.plots ?? ["all"];
  const wants = (type: PlotType): boolean => plots.includes("all") || plots.includes(type);
  const trained = report.tasks.filter((t) => t.numLx > 0).map((t) => t.task);
  const parts = [`<h3>${escape(report.lifetime.runId)}</h3>`];
  if (wants("raw")) {
    parts.push(lifetimeChart(report));
    parts.push(
      "<p class=note>Points: experiences. Lines: smoothed training. Grey: evaluation. ▲ saturation, ◆ recovery of the level before.</p>",
    );
  }
  if (wants("eb")) parts.push(evaluationChart(report, options.showEvalLines ?? true));
  if (wants("lb") || wants("ste")) {
    const charts = trained.map((task) => learningChart(report, task, wants("ste")));
    parts.push(`<div class=pair>${charts.join("")}</div>`);
  }
  parts.push(taskTable(report));
  if (report.warnings.length > 0) parts.push(`<p class=note>${report.warnings.map(escape).join("; ")}</p>`);
  return parts.join("");
}

function taskTable(report: MetricsReport): string {
  const keys = Object.keys(report.values).filter((key) => report.tasks.some((t) => key in t.values));
  const head = [
    "<th>Task</th><th class=n>LX</th><th class=n>EX</th>",
    ...keys.map((key) => `<th class=n>${escape(key)}</th>`),
  ];
  const rows = report.tasks.map((t, i) => {
    const cells = keys.map((key) => `<td class=n>${shortNumber(t.values[key] ?? Number.NaN)}</td>`);
    return `<tr><td><span class=dot style="background:${color(i)}"></span>${escape(t.task)}</td><td class=n>${t.numLx}</td><td class=n>${t.numEx}</td>${cells.join("")}</tr>`;
  });
  return `<details><summary>Tasks</summary><table><thead><tr>${head.join("")}</tr></thead><tbody>${rows.join("")}</tbody></table></details>`;
}

function settingsLine(report: MetricsReport | undefined): string {
  if (report === undefined) return "";
  const o = report.lifetime.options;
  return `Performance: ${o.perfMeasure}; smoothing ${o.smoothing}; normalisation ${o.normalization}; aggregation ${o.aggregation}; transfer ${o.transfer}; maintenance ${o.maintenance}. Definitions: arXiv 2201.08278.`;
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
