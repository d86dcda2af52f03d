// The self-contained report page of a set of runs.

import type { RunRecord } from "../run-record.ts";
import { curveChart, heatMap } from "./charts.ts";
import { bytesText, countText, shareText } from "./table.ts";

export interface PageOptions {
  readonly title: string;
  /** Facts of the machine and engine, shown at the top. */
  readonly environment: Readonly<Record<string, string>>;
  /** The command that repeats the runs. */
  readonly command: string;
}

const escape = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

const STYLE = `
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1180px; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; margin: 0 0 .3rem; } h2 { font-size: 1.2rem; margin: 2rem 0 .5rem; }
p.lead, .facts { color: #555; } .facts span { margin-right: 1.4rem; white-space: nowrap; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: #f5f6f8; border-radius: 4px; }
code { padding: .1rem .3rem; } pre { padding: .8rem; overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem; border-bottom: 1px solid #e3e5e8; text-align: right; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; } th { color: #555; font-weight: 600; }
td.best { font-weight: 700; }
.charts { display: flex; flex-wrap: wrap; gap: 1rem; } .charts svg { max-width: 100%; height: auto; }
details { margin: .4rem 0; } summary { cursor: pointer; }
`;

function rows(records: readonly RunRecord[]): string {
  return records
    .map((r) => {
      const rivals = records.filter((o) => o.task === r.task);
      const best = rivals.every((o) => o.tokenAccuracy <= r.tokenAccuracy);
      const cells = [
        shareText(r.macroAccuracy),
        r.testLoss.toFixed(3),
        countText(r.parameters),
        bytesText(r.stateBytes),
        countText(r.tokensPerSecond),
        countText(r.steps),
        r.seconds.toFixed(1),
      ];
      const accuracy = `<td${best ? ' class="best"' : ""}>${shareText(r.tokenAccuracy)}</td>`;
      const head = `<td>${escape(r.task)}</td><td>${escape(r.architecture)}</td>`;
      return `<tr>${head}${accuracy}${cells.map((c) => `<td>${c}</td>`).join("")}</tr>`;
    })
    .join("\n");
}

/** The page as HTML text without outside references. */
export function reportPage(records: readonly RunRecord[], options: PageOptions): string {
  const tasks = [...new Set(records.map((r) => r.task))];
  const facts = Object.entries(options.environment).map(
    ([k, v]) => `<span>${escape(k)}: <b>${escape(v)}</b></span>`,
  );
  const curves = tasks.map((task) => {
    const mine = records.filter((r) => r.task === task);
    return `<h2>${escape(task)}</h2><div class="charts">${curveChart(mine, "accuracy")}${curveChart(mine, "testLoss")}</div>`;
  });
  const configs = records.map(
    (r) =>
      `<details><summary>${escape(r.task)}, ${escape(r.architecture)}: ${escape(r.layers.join(" → "))}</summary><pre>${escape(JSON.stringify(r.config, null, 2))}</pre></details>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${escape(options.title)}</title><style>${STYLE}</style></head><body>
<h1>${escape(options.title)}</h1>
<p class="lead">Repeat: <code>${escape(options.command)}</code></p>
<p class="facts">${facts.join(" ")}</p>
<h2>Accuracy by architecture and task</h2>
<div class="charts">${heatMap(records)}</div>
<h2>Results</h2>
<table><thead><tr><th>task</th><th>architecture</th><th>accuracy</th><th>macro</th><th>test loss</th><th>parameters</th><th>state</th><th>tokens/s</th><th>steps</th><th>seconds</th></tr></thead>
<tbody>
${rows(records)}
</tbody></table>
<p class="lead">Accuracy: share of counted test positions predicted right. Macro: mean recall over classes. State: bytes that a
sequence of the task's length needs during generation. Bold: best of the task.</p>
${curves.join("\n")}
<h2>Configuration</h2>
${configs.join("\n")}
</body></html>
`;
}
