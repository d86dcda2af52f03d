// Two sets of results side by side: what changed, setting by setting.

import type { CellResult } from "../benchmark/result.ts";
import { cellScore, scoreArchitectures, type ScoreFigure } from "../benchmark/scores.ts";
import { escapeHtml } from "./style.ts";
import { shareText } from "./table.ts";

/** Results of before, or of elsewhere. */
export interface SavedRuns {
  readonly name: string;
  readonly results: readonly CellResult[];
}

const signed = (x: number): string => `${x >= 0 ? "+" : "\u2212"}${Math.abs(x).toFixed(3)}`;
const tone = (x: number): string => (Math.abs(x) < 5e-4 ? "" : x > 0 ? ' class="good"' : ' class="bad"');

/** Differences to each saved set; empty without any. */
export function comparisonSection(
  results: readonly CellResult[],
  saved: readonly SavedRuns[],
  figure: ScoreFigure,
): string {
  if (saved.length === 0) return "";
  const parts = saved.map(({ name, results: others }) => {
    const shared = results.flatMap((r) => {
      const other = others.find((o) => o.shorthand === r.shorthand && o.setting === r.setting);
      return other ? [{ r, other, change: cellScore(r, figure) - cellScore(other, figure) }] : [];
    });
    // Totals over what both sides have: a missing setting must not look like a change.
    const total = (of: readonly CellResult[]): Map<string, number> =>
      new Map(scoreArchitectures(of).map((s) => [s.shorthand, s.total[figure]]));
    const [now, before] = [total(shared.map((s) => s.r)), total(shared.map((s) => s.other))];
    const only = [...new Set(others.map((o) => o.shorthand))].filter((s) => !now.has(s));
    const line = (label: string, a: number, b: number, cell = "td"): string =>
      `<tr><${cell} class="text">${escapeHtml(label)}</${cell}><td>${shareText(b)}</td><td>${shareText(a)}</td><td${tone(a - b)}>${signed(a - b)}</td></tr>`;
    const totals = [...now].map(([s, a]) => line(s, a, before.get(s)!));
    const largest = shared.toSorted((a, b) => Math.abs(b.change) - Math.abs(a.change)).slice(0, 12);
    const rows = largest.map(({ r, other }) =>
      line(`${r.shorthand}  ${r.setting}`, cellScore(r, figure), cellScore(other, figure)),
    );
    const head = `<thead><tr><th class="text"></th><th>${escapeHtml(name)}</th><th>here</th><th>change</th></tr></thead>`;
    const rest = only.length > 0 ? `; only there: ${escapeHtml(only.join(", "))}` : "";
    const top = `<h3>Against ${escapeHtml(name)}</h3>
<p class="soft">${shared.length} settings in common, figure "${figure}"${rest}.</p>`;
    if (shared.length === 0) return top;
    return `${top}
<div class="scroll"><table>${head}<tbody>${totals.join("")}</tbody></table></div>
<p class="soft">Settings that changed most:</p>
<div class="scroll"><table>${head}<tbody>${rows.join("")}</tbody></table></div>`;
  });
  return `<h2 id="comparison">Comparison</h2>${parts.join("\n")}`;
}
