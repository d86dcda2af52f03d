import { type Curriculum, variantsOf } from "./curriculum.ts";

/** Outline of a curriculum, indented by tabs, in the original's wording. */
export function summarizeCurriculum({ blocks }: Curriculum): string {
  const lines = [`This curriculum has ${counted(blocks.length, "block")}`];
  for (const [b, { kind, taskBlocks }] of blocks.entries()) {
    const role = kind === "learn" ? "learning" : "evaluation";
    lines.push("", `\tBlock ${b + 1}, ${role}: ${counted(taskBlocks.length, "task")}`);
    for (const [t, { task, variants }] of taskBlocks.entries()) {
      lines.push(`\t\tTask ${t + 1}, ${task}: ${counted(variants.length, "variant")}`);
      for (const [v, { task: label, variant, length }] of variants.entries()) {
        const amount = counted(length.count, length.unit.slice(0, -1));
        lines.push(`\t\t\tTask variant ${v + 1}, ${label} - ${variant}: ${amount}.`);
      }
    }
  }
  return lines.join("\n");
}

/** Totals of a curriculum. */
export interface CurriculumTotals {
  readonly blocks: number;
  readonly variants: number;
  /** `<task>_<variant>` in order of appearance. */
  readonly tasks: readonly string[];
  readonly learn: { readonly episodes: number; readonly steps: number };
  readonly evaluate: { readonly episodes: number; readonly steps: number };
}

/** Counts blocks, variants, episodes and steps. */
export function curriculumTotals(curriculum: Curriculum): CurriculumTotals {
  const totals = { learn: { episodes: 0, steps: 0 }, evaluate: { episodes: 0, steps: 0 } };
  const tasks = new Set<string>();
  let variants = 0;
  for (const block of curriculum.blocks) {
    for (const { task, variant, length } of variantsOf(block)) {
      totals[block.kind][length.unit] += length.count;
      tasks.add(`${task}_${variant}`);
      variants++;
    }
  }
  return { blocks: curriculum.blocks.length, variants, tasks: [...tasks], ...totals };
}

function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
