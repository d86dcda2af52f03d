// The self-contained report page of single runs, those of `mad quick`.

import type { RunRecord } from "../run-record.ts";
import { chart } from "./draw.ts";
import { escapeHtml, figureBlock, heatCell, legend, STYLE } from "./style.ts";
import { bytesText, countText, shareText } from "./table.ts";

export interface PageOptions {
  readonly title: string;
  /** Facts of the machine and engine, shown at the top. */
  readonly environment: Readonly<Record<string, string>>;
  /** The command that repeats the runs. */
  readonly command: string;
}

/** Title, command and facts: how every report begins. */
export function pageHead({ title, command, environment }: PageOptions): string {
  const facts = Object.entries(environment).map(
    ([k, v]) => `<span>${escapeHtml(k)}: <b>${escapeHtml(v)}</b></span>`,
  );
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)}</title><style>${STYLE}</style></head><body>
<h1>${escapeHtml(title)}</h1>
<p class="soft">Repeat: <code>${escapeHtml(command)}</code></p>
<p class="facts">${facts.join(" ")}</p>`;
}

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
      const head = `<td>${escapeHtml(r.task)}</td><td class="text">${escapeHtml(r.architecture)}</td>`;
      return `<tr>${head}${accuracy}${cells.map((c) => `<td>${c}</td>`).join("")}</tr>`;
    })
    .join("\n");
}

/** Accuracy by architecture and task. */
function heatTable(
  records: readonly RunRecord[],
  names: readonly string[],
  tasks: readonly string[],
): string {
  const body = names.map((name) => {
    const cells = tasks.map((task) => {
      const found = records.find((r) => r.task === task && r.architecture === name);
      return heatCell(found?.tokenAccuracy ?? Number.NaN);
    });
    return `<tr><td>${escapeHtml(name)}</td>${cells.join("")}</tr>`;
  });
  const head = tasks.map((t) => `<th>${escapeHtml(t)}</th>`).join("");
  return `<div class="scroll"><table><thead><tr><th></th>${head}</tr></thead><tbody>${body.join("\n")}</tbody></table></div>`;
}

/** The page as HTML text without outside references. */
export function reportPage(records: readonly RunRecord[], options: PageOptions): string {
  const tasks = [...new Set(records.map((r) => r.task))];
  const names = [...new Set(records.map((r) => r.architecture))];
  const curves = tasks.map((task) => {
    const mine = records.filter((r) => r.task === task);
    const draw = (name: string, of: (p: RunRecord["curve"][number]) => number, max?: number): string =>
      chart({
        label: `${task}: ${name} by step`,
        x: { name: "step", min: 0 },
        y: { name, min: 0, ...(max === undefined ? {} : { max }) },
        series: mine.map((r) => ({
          name: r.architecture,
          colour: names.indexOf(r.architecture),
          points: r.curve.map((p): [number, number] => [p.step, of(p)]),
        })),
      });
    return `<h2>${escapeHtml(task)}</h2>${legend(names)}<div class="charts">${figureBlock(
      "test accuracy",
      draw("accuracy", (p) => p.accuracy, 1),
    )}${figureBlock(
      "test loss",
      draw("loss", (p) => p.testLoss),
    )}</div>`;
  });
  const configs = records.map(
    (r) =>
      `<details><summary>${escapeHtml(r.task)}, ${escapeHtml(r.architecture)}: ${escapeHtml(r.layers.join(" → "))}</summary><pre>${escapeHtml(JSON.stringify(r.config, null, 2))}</pre></details>`,
  );
  return `${pageHead(options)}
<h2>Accuracy by architecture and task</h2>
${heatTable(records, names, tasks)}
<h2>Results</h2>
<div class="scroll"><table class="wide"><thead><tr><th>task</th><th class="text">architecture</th><th>accuracy</th><th>macro</th><th>test loss</th><th>parameters</th><th>state</th><th>tokens/s</th><th>steps</th><th>seconds</th></tr></thead>
<tbody>
${rows(records)}
</tbody></table></div>
<p class="soft">Accuracy: share of counted test positions predicted right. Macro: mean recall over classes. State: bytes that a
sequence of the task's length needs during generation. Bold: best of the task.</p>
${curves.join("\n")}
<h2>Configuration</h2>
${configs.join("\n")}
</body></html>
`;
}
