// `everlong label apply` and `analyze`: from records to votes.

import { resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { Command } from "commander";
import { ConfigError } from "@everlong/core";
import { analyzeFunctions, formatAnalysis } from "../functions/analysis.ts";
import { applyFunctions } from "../functions/apply.ts";
import type { LabelingFunction } from "../functions/labeling-function.ts";
import { openVoteCache } from "../functions/vote-cache.ts";
import { readLabels, readRecords } from "../records.ts";
import { readVotes, writeVotes } from "../votes/vote-files.ts";
import { notation, outputFile, positiveInteger, signedOption } from "./options.ts";

interface ApplyFlags {
  readonly out: string;
  readonly classes: number;
  readonly cache?: string;
  readonly threads?: number;
  readonly signed?: boolean;
}

/** Adds `apply` and `analyze`. */
export function registerFunctions(label: Command): void {
  label
    .command("apply")
    .description("run the labelling functions that a module exports on records")
    .argument("<module>", "a .ts or .js file that exports labelling functions")
    .argument("<records>", ".jsonl, .json, .csv or .parquet")
    .requiredOption("--out <file>", "votes as .npy, .csv or .parquet", outputFile)
    .option("--classes <n>", "number of classes", positiveInteger, 2)
    .option("--cache <folder>", "keep votes of unchanged functions from run to run")
    .option("--threads <n>", "worker threads for functions that compute", positiveInteger)
    .addOption(signedOption())
    .action(async (moduleFile: string, recordsFile: string, flags: ApplyFlags) => {
      const module = pathToFileURL(resolve(moduleFile));
      const functions = await importFunctions(module);
      const rows = await readRecords(recordsFile);
      const result = await applyFunctions(functions, rows, {
        classes: flags.classes,
        ...(flags.cache ? { cache: await openVoteCache<unknown>(flags.cache) } : {}),
        ...(flags.threads ? { module, threads: flags.threads } : {}),
        onProgress: (done, total) => {
          if (process.stderr.isTTY) process.stderr.write(`\r${done} of ${total} records`);
        },
      });
      if (process.stderr.isTTY) process.stderr.write("\n");
      await writeVotes(flags.out, result.votes, notation(flags.signed));
      console.log(formatAnalysis(analyzeFunctions(result.votes)));
      console.log(`\n${rows.length} records, ${result.cached} votes from the cache, written to ${flags.out}`);
      for (const f of result.failures)
        console.error(`${f.function} failed on ${f.count} records (first: ${f.row}): ${f.message}`);
      if (result.failures.length > 0) process.exitCode = 1;
    });

  label
    .command("analyze")
    .description("coverage, overlaps, conflicts and, with labels, accuracies of functions")
    .argument("<votes>", ".npy, .csv, .parquet or WRENCH .json")
    .option("--labels <file>", "labels as .npy or in a field of records")
    .addOption(signedOption())
    .action(async (votesFile: string, flags: { labels?: string; signed?: boolean }) => {
      const votes = await readVotes(votesFile, { notation: notation(flags.signed) });
      const labels = flags.labels ? await readLabels(flags.labels) : undefined;
      const analysis = analyzeFunctions(votes, labels);
      console.log(formatAnalysis(analysis));
      const share = (x: number): string => `${(x * 100).toFixed(1)} %`;
      console.log(
        `\nitems with a vote ${share(analysis.coverage)}, with several ${share(analysis.overlap)}, with contradicting ones ${share(analysis.conflict)}`,
      );
    });
}

/** Everything in a module's exports, lists included, that is a labelling function. */
export async function importFunctions(module: URL): Promise<LabelingFunction<unknown>[]> {
  let exported: Record<string, unknown>;
  try {
    exported = (await import(module.href)) as Record<string, unknown>;
  } catch (problem) {
    throw new ConfigError("label apply", `cannot import ${module.pathname}`, {
      got: problem instanceof Error ? problem.message : String(problem),
      cause: problem,
    });
  }
  const found = Object.values(exported)
    .flat()
    .filter(
      (x): x is LabelingFunction<unknown> =>
        typeof x === "object" && x !== null && "vote" in x && typeof x.vote === "function" && "name" in x,
    );
  if (found.length === 0)
    throw new ConfigError("label apply", `${module.pathname} exports no labelling functions`, {
      hint: 'Export objects made with labelingFunction(name, vote) from "@everlong/labels", or a list of them.',
    });
  return found;
}
