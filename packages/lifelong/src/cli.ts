// `everlong lifelong ...`

import type { Command } from "commander";
import { registerLists, registerSummary, registerValidate } from "./cli/curricula.ts";
import { registerAggregate, registerMetrics, registerReport, registerSte } from "./cli/metrics.ts";
import { registerAbc, registerContinualWorld } from "./cli/other-metrics.ts";
import { registerDemo } from "./cli/demo.ts";
import { registerRun } from "./cli/run.ts";

/** Adds the `lifelong` command with its subcommands to a program. */
export function registerLifelong(program: Command): void {
  const lifelong = program
    .command("lifelong")
    .description("lifelong agents: curricula, runs, logs and the L2M metrics");
  registerRun(lifelong);
  registerDemo(lifelong);
  registerMetrics(lifelong);
  registerReport(lifelong);
  registerAbc(lifelong);
  registerContinualWorld(lifelong);
  registerValidate(lifelong);
  registerSummary(lifelong);
  registerAggregate(lifelong);
  registerSte(lifelong);
  registerLists(lifelong);
}
