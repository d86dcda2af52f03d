// `mad import`: results of mad-lab's own runs into a results folder.

import { ConfigError } from "@everlong/core";
import type { Command } from "commander";
import { readOriginalLogs } from "../benchmark/original-logs.ts";
import { scoreArchitectures } from "../benchmark/scores.ts";
import { ResultStore } from "../benchmark/store.ts";
import { scoreTable } from "../report/score-table.ts";

interface ImportOptions {
  readonly store: string;
  readonly dim: string;
  readonly norm: string;
  readonly json?: boolean;
}

export function registerImport(mad: Command): void {
  mad
    .command("import <logs>")
    .description(
      "results of mad-lab's own runs (its --logs-path) into a results folder, to score and compare",
    )
    .option("--store <folder>", "folder of results", "mad-results")
    .option("--dim <n>", "width of the models, which mad-lab's logs do not say", "128")
    .option("--norm <name>", "rms (mad-lab's benchmark script) or layer (its training script)", "rms")
    .option("--json", "as JSON")
    .action((logs: string, o: ImportOptions) => {
      const dim = Number(o.dim);
      if (!Number.isSafeInteger(dim) || dim < 1)
        throw new ConfigError("mad import", "--dim is no width", { got: o.dim });
      if (o.norm !== "rms" && o.norm !== "layer")
        throw new ConfigError("mad import", "no such norm", { expected: "rms, layer", got: o.norm });
      const found = readOriginalLogs(logs, { dim, norm: o.norm });
      const store = new ResultStore(o.store);
      found.results.forEach((r) => store.put(r));
      const { results, runs, unfinished, missing, unknownModels } = found;
      if (o.json) {
        console.log(JSON.stringify({ settings: results.length, runs, unfinished, missing, unknownModels }));
        return;
      }
      const some = (list: readonly string[]): string =>
        list.slice(0, 5).join("; ") + (list.length > 5 ? `; and ${list.length - 5} more` : "");
      const notes = [
        ...(unfinished.length > 0 ? [`${unfinished.length} unfinished: ${some(unfinished)}`] : []),
        ...(missing.length > 0 ? [`${missing.length} runs of sweeps missing: ${some(missing)}`] : []),
        ...(unknownModels.length > 0 ? [`sizes unknown: ${some(unknownModels)}`] : []),
      ];
      console.log(
        [
          scoreTable(scoreArchitectures(results)),
          "",
          `${runs} runs of ${results.length} settings in ${o.store}`,
          ...notes,
        ].join("\n"),
      );
    });
}
