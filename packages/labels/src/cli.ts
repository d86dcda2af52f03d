// `everlong label ...`

import type { Command } from "commander";
import { registerDemo } from "./cli/demo.ts";
import { registerExtend } from "./cli/extend.ts";
import { registerFunctions } from "./cli/functions.ts";
import { registerModels } from "./cli/models.ts";
import { registerReport } from "./cli/report.ts";

/** Adds the `label` command with its subcommands to a program. */
export function registerLabel(program: Command): void {
  const label = program
    .command("label")
    .description("probabilistic labels from labelling functions, label models, Epoxy and Liger");
  registerFunctions(label);
  registerModels(label);
  registerExtend(label);
  registerReport(label);
  registerDemo(label);
}
