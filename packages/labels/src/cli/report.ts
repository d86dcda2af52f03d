// `everlong label report`: functions, models and errors on labelled items as one page.

import { writeFile } from "node:fs/promises";
import type { Command } from "commander";
import { calibration, positives, score } from "../evaluation/metrics.ts";
import { pairedDifference } from "../evaluation/bootstrap.ts";
import { compareWithMajority } from "../evaluation/scored-labels.ts";
import { analyzeFunctions, conflictMatrix } from "../functions/analysis.ts";
import { errorBuckets } from "../functions/slices.ts";
import { decide } from "../label-models/label-model.ts";
import { MajorityVote } from "../label-models/majority-vote.ts";
import { readModel, requireSameFunctions } from "../label-models/model-file.ts";
import { readInput, readLabels, readRecords, textsOf } from "../records.ts";
import type { LabelReport } from "../report/page.ts";
import { labelReportPage } from "../report/page.ts";
import { readVotes } from "../votes/vote-files.ts";
import type { Votes } from "../votes/votes.ts";
import { notation, outputFile, signedOption } from "./options.ts";

interface ReportFlags {
  readonly labels: string;
  readonly model: string;
  readonly records?: string;
  readonly before?: string;
  readonly field: string;
  readonly out: string;
  readonly signed?: boolean;
}

/** Adds `report`. */
export function registerReport(label: Command): void {
  label
    .command("report")
    .description("an HTML page on functions, conflicts, extension, calibration and errors")
    .argument("<votes>", "votes on labelled items (extended or not)")
    .requiredOption("--labels <file>", "their labels")
    .requiredOption("--model <file>", "the .json that fit wrote")
    .option("--before <votes>", "the same votes before extension, to show what it added")
    .option("--records <file>", "the items' records, to show texts of errors")
    .option("--field <name>", "the field that holds the text", "text")
    .option("--out <file>", "the page", outputFile, "label-report.html")
    .addOption(signedOption())
    .action(async (votesFile: string, flags: ReportFlags) => {
      const model = readModel(new TextDecoder().decode(await readInput(flags.model)), flags.model);
      const options = { notation: notation(flags.signed), classes: model.classes };
      const votes = await readVotes(votesFile, options);
      requireSameFunctions(model, votes, votesFile);
      const labels = await readLabels(flags.labels);
      const texts = flags.records
        ? textsOf(await readRecords(flags.records), flags.field, flags.records)
        : undefined;
      const before = flags.before ? await readVotes(flags.before, options) : undefined;
      const report = reportOf(votes, labels, model.fitted.predictProba(votes), {
        model: model.model,
        ...(texts ? { texts } : {}),
        ...(before ? { before } : {}),
      });
      await writeFile(flags.out, labelReportPage(report));
      console.log(`${report.summary.join("\n")}\nwritten to ${flags.out}`);
    });
}

/** The report of one label model on labelled items. */
export function reportOf(
  votes: Votes,
  labels: Int16Array,
  probabilities: Float64Array,
  extra: { readonly model: string; readonly texts?: readonly string[]; readonly before?: Votes },
): LabelReport {
  const { classes } = votes;
  const hard = (p: Float64Array): Int16Array => (classes === 2 ? positives(p) : decide(p, classes, "first"));
  const majority = new MajorityVote().fit(votes).predictProba(votes);
  const predictions = hard(probabilities);
  const analysis = analyzeFunctions(votes, labels);
  const { texts, before } = extra;
  return {
    title: "Label report",
    summary: [
      `${votes.items} labelled items, ${votes.functions} functions, ${classes} classes.`,
      compareWithMajority(labels, probabilities, majority, classes).text,
    ],
    systems: [
      { group: "label models", name: "majority vote", scores: score(labels, hard(majority), { classes }) },
      {
        group: "label models",
        name: extra.model,
        scores: score(labels, predictions, { classes }),
        gain: pairedDifference(labels, predictions, hard(majority), classes === 2 ? "f1" : "accuracy"),
      },
    ],
    gainUnit: `${classes === 2 ? "F1" : "accuracy"} points against the majority vote, 95 % paired bootstrap interval`,
    analysis,
    conflicts: conflictMatrix(votes),
    ...(before
      ? {
          extension: {
            before: analyzeFunctions(before, labels),
            after: analysis,
            radii: new Float64Array(votes.functions).fill(Number.NaN),
            curves: [],
          },
        }
      : {}),
    ...(classes === 2
      ? { calibration: [{ name: extra.model, bins: calibration(labels, probabilities) }] }
      : {}),
    errors: [...errorBuckets(labels, predictions)]
      .map(([key, rows]) => ({ rows, pair: key.split(">").map(Number) }))
      .filter(({ pair }) => pair[0] !== pair[1])
      .map(({ rows, pair }) => ({
        bucket: `class ${pair[0]} labelled ${pair[1]}`,
        count: rows.length,
        examples: rows.slice(0, 10).map((i) => ({
          text: texts?.[i]?.slice(0, 240) ?? `item ${i}`,
          probability: probabilities[i * classes + Math.min(1, classes - 1)]!,
          votes: votes.names
            .map((name, j) => ({ name, vote: votes.at(i, j) }))
            .filter(({ vote }) => vote >= 0)
            .map(({ name, vote }) => `${name}: ${vote}`)
            .join(", "),
        })),
      })),
  };
}
