// `everlong label fit` and `predict`: from votes to probabilistic labels.

import { writeFile } from "node:fs/promises";
import type { Command } from "commander";
import { writeNpy } from "@everlong/data";
import { positives, score } from "../evaluation/metrics.ts";
import { compareWithMajority } from "../evaluation/scored-labels.ts";
import { formatTable } from "../functions/analysis.ts";
import { decide } from "../label-models/label-model.ts";
import { MajorityVote } from "../label-models/majority-vote.ts";
import { readModel, requireSameFunctions, writeModel } from "../label-models/model-file.ts";
import { createLabelModel } from "../label-models/registry.ts";
import { readInput, readLabels } from "../records.ts";
import { readVotes } from "../votes/vote-files.ts";
import type { Votes } from "../votes/votes.ts";
import {
  balanceOption,
  modelOption,
  modelOptionsOption,
  notation,
  outputFile,
  signedOption,
} from "./options.ts";

interface FitFlags {
  readonly model: string;
  readonly modelOptions: object;
  readonly classBalance?: number[];
  readonly out?: string;
  readonly labelsOut?: string;
  readonly signed?: boolean;
  readonly devVotes?: string;
  readonly devLabels?: string;
}

interface PredictFlags {
  readonly out?: string;
  readonly labels?: string;
  readonly signed?: boolean;
}

/** Adds `fit` and `predict`. */
export function registerModels(label: Command): void {
  label
    .command("fit")
    .description("fit a label model on unlabelled votes")
    .argument("<votes>", ".npy, .csv, .parquet or WRENCH .json")
    .addOption(modelOption())
    .addOption(modelOptionsOption())
    .addOption(balanceOption())
    .addOption(signedOption())
    .option("--out <file>", "the fitted model as .json", outputFile)
    .option("--labels-out <file>", "P(Y) of the items as float64 .npy, [N, K]")
    .option("--dev-votes <file>", "votes on labelled items, to compare with the majority vote")
    .option("--dev-labels <file>", "their labels")
    .action(async (votesFile: string, flags: FitFlags) => {
      const votes = await readVotes(votesFile, { notation: notation(flags.signed) });
      const model = createLabelModel(flags.model, flags.modelOptions).fit(
        votes,
        flags.classBalance ? { classBalance: flags.classBalance } : {},
      );
      const accuracies = model.accuracies();
      console.log(
        formatTable([
          ["function", "estimated accuracy"],
          ...votes.names.map((name, j) => [name, accuracies[j]!.toFixed(4)]),
        ]),
      );
      if (flags.out) await writeFile(flags.out, writeModel(flags.model, flags.modelOptions, model, votes));
      if (flags.labelsOut) await writeProbabilities(flags.labelsOut, model.predictProba(votes), votes);
      if (!flags.devVotes || !flags.devLabels) return;
      const dev = await readVotes(flags.devVotes, {
        notation: notation(flags.signed),
        classes: votes.classes,
      });
      const labels = await readLabels(flags.devLabels);
      const majority = new MajorityVote().fit(votes).predictProba(dev);
      console.log(`\n${compareWithMajority(labels, model.predictProba(dev), majority, votes.classes).text}`);
    });

  label
    .command("predict")
    .description("probabilistic labels from a fitted label model")
    .argument("<model>", "the .json that fit wrote")
    .argument("<votes>", "votes of the same functions")
    .option("--out <file>", "P(Y) as float64 .npy, [N, K]", outputFile)
    .option("--labels <file>", "true labels, to score the predictions")
    .addOption(signedOption())
    .action(async (modelFile: string, votesFile: string, flags: PredictFlags) => {
      const model = readModel(new TextDecoder().decode(await readInput(modelFile)), modelFile);
      const votes = await readVotes(votesFile, { notation: notation(flags.signed), classes: model.classes });
      requireSameFunctions(model, votes, votesFile);
      const p = model.fitted.predictProba(votes);
      if (flags.out) await writeProbabilities(flags.out, p, votes);
      const predictions = votes.classes === 2 ? positives(p) : decide(p, votes.classes, "first");
      const counts = Array.from(
        { length: votes.classes },
        (_, c) => predictions.filter((y) => y === c).length,
      );
      console.log(`${votes.items} items, by class: ${counts.join(", ")}`);
      if (!flags.labels) return;
      const s = score(await readLabels(flags.labels), predictions, { classes: votes.classes });
      const digits = (x: number): string => x.toFixed(4);
      console.log(
        `accuracy ${digits(s.accuracy)}, precision ${digits(s.precision)}, recall ${digits(s.recall)}, F1 ${digits(s.f1)}`,
      );
    });
}

async function writeProbabilities(file: string, p: Float64Array, votes: Votes): Promise<void> {
  await writeFile(file, writeNpy({ dtype: "f8", shape: [votes.items, votes.classes], data: p }));
}
