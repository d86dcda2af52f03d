// `everlong label demo`: the papers' comparison on real comments, in under a minute.

import { writeFile } from "node:fs/promises";
import type { Command } from "commander";
import { studyComments } from "../demo/comment-study.ts";
import { studyReport, studySummary, studyTable } from "../demo/study-report.ts";
import { labelReportPage } from "../report/page.ts";
import { outputFile, positiveInteger } from "./options.ts";

/** Adds `demo`. */
export function registerDemo(label: Command): void {
  label
    .command("demo")
    .description("label 250 real YouTube comments without labels, beside the papers' baselines")
    .option("--out <file>", "also write the report as an HTML page", outputFile)
    .option("--size <n>", "dimensions of the text embeddings", positiveInteger, 64)
    .option("--seed <n>", "seed of embeddings and end models", Number, 1)
    .option("--json", "one line of JSON per system")
    .action(async (flags: { out?: string; size: number; seed: number; json?: boolean }) => {
      const study = await studyComments({
        size: flags.size,
        seed: flags.seed,
        onStep: (message) => process.stderr.write(`${message}\n`),
      });
      if (flags.out) await writeFile(flags.out, labelReportPage(studyReport(study)));
      if (flags.json) {
        for (const { group, system, scores, gain } of study.rows)
          console.log(JSON.stringify({ group, system, ...scores, gain }));
        return;
      }
      console.log(studyTable(study));
      console.log(`\n${studySummary(study).join("\n")}\n${study.seconds.toFixed(1)} s`);
      if (flags.out) console.log(`report: ${flags.out}`);
    });
}
