// The look of report pages, light and dark, and the pieces that they share.

import { seriesDash, SERIES_COLOURS } from "./draw.ts";
import { shareText } from "./table.ts";

export const STYLE = `
:root { color-scheme: light dark; --ink: #1c1e21; --soft: #5b6168; --paper: #fff; --panel: #f5f6f8; --line: #e0e3e7; --axis: #9aa0a8; --grid: #e9ebee;
  --heat: #2f7fd6; --good: #1a7f4b; --bad: #b3362b;
  --s0: #0072b2; --s1: #d55e00; --s2: #009e73; --s3: #b3589a; --s4: #b98300; --s5: #3a9bd9; --s6: #6b4fbb; --s7: #7a7a7a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8eb; --soft: #a2a9b2; --paper: #15181c; --panel: #1e2329; --line: #323941; --axis: #69717b; --grid: #262c33;
  --heat: #3d8fe8; --good: #5fc48d; --bad: #f08a7e;
  --s0: #4ea8e8; --s1: #f08a3c; --s2: #35c79c; --s3: #dd8fc6; --s4: #e6b53a; --s5: #86cbf5; --s6: #a890ea; --s7: #b0b0b0; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1180px; margin: 1.6rem auto; padding: 0 1rem; }
h1 { font-size: 1.55rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.3rem 0 .3rem; overflow-wrap: anywhere; }
p { margin: .3rem 0 .7rem; max-width: 75ch; } .soft, figcaption { color: var(--soft); } .facts { color: var(--soft); } .facts span { margin-right: 1.2rem; display: inline-block; }
code, pre { font: 13px/1.45 ui-monospace, monospace; background: var(--panel); border-radius: 4px; } code { padding: .1rem .3rem; overflow-wrap: anywhere; } pre { padding: .8rem; overflow-x: auto; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1rem; margin: .8rem 0; } a { color: var(--s0); }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; } table.wide { width: 100%; } table.wide td:first-child { white-space: normal; min-width: 7.5rem; } table.wide th { white-space: normal; vertical-align: bottom; line-height: 1.25; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; } th { color: var(--soft); font-weight: 600; }
th:first-child, td:first-child, td.text, th.text { text-align: left; } td.best { font-weight: 700; } .good { color: var(--good); } .bad { color: var(--bad); }
td.heat { background: color-mix(in srgb, var(--heat) calc(var(--v) * 62%), transparent); }
.charts { display: flex; flex-wrap: wrap; align-items: end; gap: 1rem 1.4rem; } figure { margin: 0; width: fit-content; max-width: min(100%, 440px); } figure svg { max-width: 100%; height: auto; display: block; } figcaption { font-size: .87rem; margin: 0 0 .1rem; contain: inline-size; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; padding: 0; margin: .3rem 0 .7rem; } .legend li { overflow-wrap: anywhere; }
.legend i { display: inline-block; width: 1.5rem; border-top: 3px solid; vertical-align: middle; margin-right: .4rem; }
details { border-bottom: 1px solid var(--line); padding: .25rem 0; } summary { cursor: pointer; overflow-wrap: anywhere; }
table.tokens td { border: 1px solid var(--line); text-align: center; min-width: 1.75rem; padding: .12rem .25rem; } table.tokens th { border: 0; padding-left: 0; }
.t-key { background: color-mix(in srgb, var(--s0) 26%, transparent); } .t-value { background: color-mix(in srgb, var(--s2) 26%, transparent); }
.t-special { background: color-mix(in srgb, var(--s1) 34%, transparent); } .t-blank { color: var(--soft); }
.key { padding: 0 .35rem; border-radius: 3px; }
`;

export const escapeHtml = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

/** A chart with its caption. */
export const figureBlock = (caption: string, svg: string): string =>
  `<figure><figcaption>${escapeHtml(caption)}</figcaption>${svg}</figure>`;

/** What the colours of a section's charts mean. */
export function legend(labels: readonly string[]): string {
  const items = labels.map(
    (l, i) =>
      `<li><i style="border-color: var(--s${i % SERIES_COLOURS}); border-top-style: ${seriesDash(i)}"></i>${escapeHtml(l)}</li>`,
  );
  return `<ul class="legend">${items.join("")}</ul>`;
}

/** A table cell with a share from 0 to 1, coloured by it. */
export const heatCell = (value: number): string =>
  Number.isFinite(value)
    ? `<td class="heat" style="--v: ${value.toFixed(3)}">${shareText(value)}</td>`
    : "<td>-</td>";
