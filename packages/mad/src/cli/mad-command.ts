// The `mad` command group.

import type { Command } from "commander";
import { registerAnalysis } from "./analysis-commands.ts";
import type { MadHost } from "./host.ts";
import { registerImport } from "./import-command.ts";
import { registerLists } from "./list-commands.ts";
import { registerQuick } from "./quick-command.ts";
import { registerReport } from "./report-command.ts";
import { registerRun } from "./run-command.ts";
import { registerScore } from "./score-command.ts";
import { registerSearch } from "./search-command.ts";
import { registerSweep } from "./sweep-command.ts";

export function registerMad(program: Command, host: MadHost): void {
  const mad = program
    .command("mad")
    .description("mechanistic architecture design: synthetic tasks that predict scaling");
  registerQuick(mad, host);
  registerRun(mad, host);
  registerSweep(mad, host);
  registerScore(mad);
  registerImport(mad);
  registerReport(mad, host);
  registerSearch(mad, host);
  registerAnalysis(mad);
  registerLists(mad);
}
