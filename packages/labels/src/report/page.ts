import type { RadiusPoint, SmoothnessBin } from "../epoxy/diagnostics.ts";
import type { Interval } from "../evaluation/bootstrap.ts";
import type { CalibrationBin, Scores } from "../evaluation/metrics.ts";
import { calibrationError } from "../evaluation/metrics.ts";
import type { VoteAnalysis } from "../functions/analysis.ts";
import { calibrationChart, conflictChart, extensionChart, intervalChart, smoothnessChart } from "./charts.ts";

/** What a report can show; absent parts are left out. */
export interface LabelReport {
  readonly title: string;
  readonly summary: readonly string[];
  /** Systems with scores and, where there is one, their gain over the first. */
  readonly systems?: readonly {
    readonly group: string;
    readonly name: string;
    readonly scores: Scores;
    readonly gain?: Interval;
  }[];
  readonly gainUnit?: string;
  readonly analysis?: VoteAnalysis;
  readonly conflicts?: Float64Array;
  readonly extension?: {
    readonly before: VoteAnalysis;
    readonly after: VoteAnalysis;
    readonly radii: ArrayLike<number>;
    readonly curves: readonly { readonly name: string; readonly points: readonly RadiusPoint[] }[];
  };
  readonly smoothness?: {
    readonly bins: readonly SmoothnessBin[];
    readonly slope: number;
    readonly metric: "cosine" | "l2";
  };
  readonly parts?: readonly { readonly parts: number; readonly loss: number; readonly accuracy: number }[];
  readonly calibration?: readonly { readonly name: string; readonly bins: readonly CalibrationBin[] }[];
  readonly errors?: readonly {
    readonly bucket: string;
    readonly count: number;
    readonly examples: readonly {
      readonly text: string;
      readonly probability: number;
      readonly votes: string;
    }[];
  }[];
  readonly classNames?: readonly string[];
}

/** A self-contained HTML page: no scripts, no files beside it. */
export function labelReportPage(report: LabelReport): string {
  const body = [
    `<header><h1>${escape(report.title)}</h1>${report.summary.map((line) => `<p>${escape(line)}</p>`).join("")}</header>`,
    section("Systems compared", systemsSection(report)),
    section("Labelling functions", report.analysis ? analysisTable(report.analysis, report.classNames) : ""),
    section(
      "Conflicts",
      report.conflicts && report.analysis
        ? `<p class="note">Share of items on which two functions vote and disagree.</p>${conflictChart(
            report.conflicts,
            report.analysis.functions.map((f) => f.name),
          )}`
        : "",
    ),
    section("What extension adds", extensionSection(report)),
    section("Smoothness of the space", smoothnessSection(report)),
    section("Number of parts", partsSection(report)),
    section("Calibration", calibrationSection(report)),
    section("Errors", errorSection(report)),
  ];
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escape(report.title)}</title><style>${STYLE}</style></head><body><main>${body.join("\n")}</main></body></html>
`;
}

const STYLE = `
:root{color-scheme:light;--ink:#0f172a;--soft:#475569;--line:#e2e8f0;--paper:#fff;--ground:#f8fafc}
*{box-sizing:border-box}body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 ui-sans-serif,system-ui,sans-serif}
main{max-width:1080px;margin:0 auto;padding:28px 20px 60px}h1{font-size:26px;margin:0 0 4px}h2{font-size:18px;margin:0 0 12px}h3{font-size:15px;margin:18px 0 6px}
header p,.note{color:var(--soft);font-size:13.5px;margin:4px 0}section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:18px 20px;margin:18px 0;overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px;margin-bottom:12px}th,td{padding:5px 10px;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}td.text{white-space:normal;overflow-wrap:anywhere}section svg{min-width:min(560px,150vw)}tr.group td{font-weight:600;background:var(--ground)}
.yes{color:#047857;font-weight:600}.no{color:#b91c1c;font-weight:600}
`;

function systemsSection(report: LabelReport): string {
  const { systems, gainUnit = "F1 points against the first system, 95 % paired bootstrap interval" } = report;
  if (!systems || systems.length === 0) return "";
  let group = "";
  const rows = systems.map((s) => {
    const head = s.group === group ? "" : `<tr class="group"><td colspan="6">${escape(s.group)}</td></tr>`;
    group = s.group;
    const numbers = [s.scores.accuracy, s.scores.precision, s.scores.recall, s.scores.f1];
    const cells = numbers.map((x) => `<td class="n">${x.toFixed(4)}</td>`).join("");
    return `${head}<tr><td>${escape(s.name)}</td>${cells}<td class="n">${s.gain ? gain(s.gain) : ""}</td></tr>`;
  });
  const drawn = systems.filter((s) => s.gain !== undefined && s !== systems[0]);
  const chart =
    drawn.length > 0
      ? intervalChart(
          drawn.map((s) => ({
            name:
              drawn.filter((other) => other.name === s.name).length > 1 ? `${s.name} (${s.group})` : s.name,
            interval: scaled(s.gain!),
          })),
          gainUnit,
        )
      : "";
  return `${table(["system", "accuracy", "precision", "recall", "F1", "gain"], rows)}${chart}`;
}

const scaled = (x: Interval): Interval => ({ value: x.value * 100, low: x.low * 100, high: x.high * 100 });

function gain(x: Interval): string {
  const { value, low, high } = scaled(x);
  const kind = low > 0 ? "yes" : high < 0 ? "no" : "";
  return `<span class="${kind}">${value >= 0 ? "+" : ""}${value.toFixed(1)}</span> [${low.toFixed(1)}, ${high.toFixed(1)}]`;
}

function analysisTable(analysis: VoteAnalysis, classNames?: readonly string[]): string {
  const labelled = analysis.functions.some((f) => f.accuracy !== undefined);
  const rows = analysis.functions.map((f) => {
    const votesFor = f.polarity.map((c) => classNames?.[c] ?? `class ${c}`).join(", ") || "-";
    const numbers = [f.coverage, f.overlaps, f.conflicts].map(percent);
    if (labelled) numbers.push(f.accuracy === null || f.accuracy === undefined ? "-" : percent(f.accuracy));
    return `<tr><td>${escape(f.name)}</td><td>${escape(votesFor)}</td>${numbers.map((x) => `<td class="n">${x}</td>`).join("")}</tr>`;
  });
  const head = [
    "function",
    "votes for",
    "coverage",
    "overlaps",
    "conflicts",
    ...(labelled ? ["accuracy"] : []),
  ];
  return `<p class="note">Items with a vote ${percent(analysis.coverage)}, with several ${percent(analysis.overlap)}, with contradicting ones ${percent(analysis.conflict)}.</p>${table(head, rows, 2)}`;
}

function extensionSection(report: LabelReport): string {
  const { extension } = report;
  if (!extension) return "";
  const { before, after, radii, curves } = extension;
  const rows = before.functions.map((f, j) => {
    const later = after.functions[j]!;
    const radius = radii[j]!;
    const cells = [
      Number.isFinite(radius) ? radius.toFixed(3) : "closed",
      percent(f.coverage),
      percent(later.coverage),
      ...(f.accuracy === undefined ? [] : [f.accuracy === null ? "-" : percent(f.accuracy)]),
      ...(later.accuracy === undefined ? [] : [later.accuracy === null ? "-" : percent(later.accuracy)]),
    ];
    return `<tr><td>${escape(f.name)}</td>${cells.map((x) => `<td class="n">${x}</td>`).join("")}</tr>`;
  });
  const labelled = before.functions.some((f) => f.accuracy !== undefined);
  const head = [
    "function",
    "radius",
    "coverage before",
    "after",
    ...(labelled ? ["accuracy before", "after"] : []),
  ];
  return `<p class="note">Items with a vote: ${percent(before.coverage)} before, ${percent(after.coverage)} after.</p>${table(head, rows)}${
    curves.length > 0 ? extensionChart(curves) : ""
  }`;
}

function smoothnessSection(report: LabelReport): string {
  const { smoothness } = report;
  if (!smoothness) return "";
  return `<p class="note">How often two labelled items have different labels, by their distance. Extension and partition help where the curve rises from near 0; the largest ratio of change to distance (the label's Lipschitz constant in the papers' bounds) is about ${smoothness.slope.toFixed(2)}.</p>${smoothnessChart(smoothness.bins, smoothness.metric)}`;
}

function partsSection(report: LabelReport): string {
  if (!report.parts || report.parts.length === 0) return "";
  const rows = report.parts.map(
    (p) =>
      `<tr><td>${p.parts}</td><td class="n">${p.loss.toFixed(4)}</td><td class="n">${percent(p.accuracy)}</td></tr>`,
  );
  return `<p class="note">Cross-validated on dev: every item is scored by radii and class balances chosen without it.</p>${table(["parts", "log loss", "accuracy"], rows)}`;
}

function calibrationSection(report: LabelReport): string {
  const { calibration } = report;
  if (!calibration || calibration.length === 0) return "";
  const notes = calibration
    .map((c) => `${c.name}: expected calibration error ${(calibrationError(c.bins) * 100).toFixed(1)} %`)
    .join(" · ");
  return `<p class="note">${escape(notes)}</p>${calibrationChart(calibration)}`;
}

function errorSection(report: LabelReport): string {
  const { errors } = report;
  if (!errors || errors.length === 0) return "";
  return errors
    .map((bucket) => {
      const rows = bucket.examples.map(
        (e) =>
          `<tr><td class="n">${e.probability.toFixed(2)}</td><td class="text">${escape(e.text)}</td><td class="text">${escape(e.votes)}</td></tr>`,
      );
      return `<h3>${escape(bucket.bucket)} (${bucket.count})</h3>${table(["P(class 1)", "text", "votes after extension"], rows)}`;
    })
    .join("");
}

function table(head: readonly string[], rows: readonly string[], left = 1): string {
  const cells = head
    .map((h, i) => `<th${i >= left && h !== "text" ? ' class="n"' : ""}>${escape(h)}</th>`)
    .join("");
  return `<table><thead><tr>${cells}</tr></thead><tbody>${rows.join("")}</tbody></table>`;
}

const percent = (x: number): string => `${(x * 100).toFixed(1)} %`;

function section(title: string, content: string): string {
  return content === "" ? "" : `<section><h2>${escape(title)}</h2>${content}</section>`;
}

function escape(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
