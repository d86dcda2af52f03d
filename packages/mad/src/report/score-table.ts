// Scores in the terminal and as CSV.

import { bestRun, testLossOf } from "../benchmark/result.ts";
import {
  cellScore,
  commonFigure,
  SCORE_FIGURES,
  type ArchitectureScore,
  type ScoreFigure,
} from "../benchmark/scores.ts";
import { TASKS } from "../tasks/registry.ts";
import { shareText } from "./table.ts";

/** Lines of cells, the first column left, the others right. */
export function alignedTable(head: readonly string[], body: readonly (readonly string[])[]): string {
  const widths = head.map((h, i) => Math.max(h.length, ...body.map((row) => row[i]!.length)));
  const line = (row: readonly string[]): string =>
    row.map((c, i) => (i === 0 ? c.padEnd(widths[i]!) : c.padStart(widths[i]!))).join("  ");
  return [line(head), widths.map((w) => "-".repeat(w)).join("  "), ...body.map(line)].join("\n");
}

/** How a recipe is told from others of the same architecture: what mad-lab's quirks change. */
export const recipeNote = ({ recipe }: ArchitectureScore): string =>
  `${recipe.epochs} ep, ${recipe.schedule}`;

/** Scores by task; the total in every figure. */
export function scoreTable(
  scores: readonly ArchitectureScore[],
  figure: ScoreFigure = commonFigure(scores.flatMap((s) => s.results)),
): string {
  const tasks = TASKS.filter((t) => scores.some((s) => s.tasks.some((x) => x.task === t.name)));
  const figures = Object.keys(SCORE_FIGURES) as ScoreFigure[];
  const head = ["architecture", "recipe", ...tasks.map((t) => t.shorthand), ...figures, "settings"];
  const body = scores.map((s) => [
    s.architecture,
    recipeNote(s),
    ...tasks.map((t) => shareText(s.tasks.find((x) => x.task === t.name)?.score[figure] ?? Number.NaN)),
    ...figures.map((f) => shareText(s.total[f])),
    s.missing.length > 0
      ? `${s.results.length} of ${s.results.length + s.missing.length}`
      : `${s.results.length}`,
  ]);
  const notes = figures.map((f) => `${f}: ${SCORE_FIGURES[f].describe}`).join("; ");
  const diverged = scores.flatMap((s) => s.diverged.map((id) => `${s.architecture} diverged on ${id}`));
  return [alignedTable(head, body), `tasks: ${figure}; ${notes}`, ...diverged].join("\n");
}

const quoted = (text: string): string => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

const known = (x: number | undefined): string => (x !== undefined && Number.isFinite(x) ? `${x}` : "");

/** One line a run: everything that tables of runs are analysed by. */
export function runsCsv(scores: readonly ArchitectureScore[]): string {
  const head =
    "architecture,shorthand,task,setting,learning_rate,weight_decay,epochs,schedule,seed,stopped,steps,test_acc,test_acc_macro,test_acc_token,test_loss,best,parameters,state,flops_per_token";
  const lines = scores.flatMap((s) =>
    s.results.flatMap((r) => {
      const figure = Number.isNaN(cellScore(r, "macro")) ? "batches" : "epoch";
      return r.runs.map((run) =>
        [
          quoted(s.architecture),
          quoted(s.shorthand),
          r.task,
          quoted(r.setting),
          run.learningRate,
          run.weightDecay,
          r.recipe.epochs,
          r.recipe.schedule,
          r.recipe.seed,
          run.stopped,
          run.steps,
          known(run.test?.batches.macroAccuracy),
          known(run.test?.epoch.macroAccuracy),
          known(run.test?.epoch.tokenAccuracy),
          known(testLossOf(run)),
          run === bestRun(r, figure) ? 1 : 0,
          known(r.model.layerParameters),
          known(r.model.stateElements),
          known(Math.round(r.model.flopsPerToken)),
        ].join(","),
      );
    }),
  );
  return `${[head, ...lines].join("\n")}\n`;
}
