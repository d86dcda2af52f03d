import { availableParallelism } from "node:os";
import { join } from "node:path";
import { writeWhole } from "@everlong/data";
import type { Command } from "commander";
import { DEMO_CURRICULUM } from "../curriculum/demo.ts";
import { type Interval, separated } from "../metrics/bootstrap.ts";
import { summarizeGroup } from "../metrics/summary.ts";
import { groupTable, shortInterval } from "../report/tables.ts";
import { runExperiment } from "../run/experiment.ts";
import { parseSeed } from "../run/seeds.ts";
import { measure } from "./measure.ts";
import { type Output, outputOf, withJson } from "./output.ts";
import { progressPrinter } from "./run.ts";

/** Small and quick to learn: a task lasts 5000 steps. */
const SMALL = { hidden: 64, learningRate: 1e-3, capacity: 20_000, taskInputs: 3 };

/** Agents of the demo: DQN without a memory of old tasks, and its two remedies. All are told which task it is. */
const AGENTS: readonly {
  readonly name: string;
  readonly agent: string;
  readonly options: Record<string, string | number>;
}[] = [
  { name: "DQN", agent: "DQN", options: { ...SMALL, replay: "clear" } },
  { name: "DQN-Replay", agent: "DQN-Replay", options: SMALL },
  { name: "DQN-EWC", agent: "DQN-EWC", options: SMALL },
];

interface DemoFlags {
  readonly lifetimes: number;
  readonly processes: number;
  readonly seed: string;
  readonly outputDir: string;
  readonly resume?: boolean;
  readonly json?: boolean;
}

/** `demo`: three tasks, three agents, several lifetimes; performance maintenance tells them apart. */
export function registerDemo(parent: Command): void {
  const command = parent
    .command("demo")
    .description("forgetting and two remedies: DQN alone, with replay across tasks, with EWC, on three tasks")
    .option("--lifetimes <n>", "lifetimes of each agent", Number, 5)
    .option("--processes <n>", "lifetimes at the same time", Number, Math.min(2, availableParallelism()))
    .option("--seed <seed>", "seed of everything", "1")
    .option("--resume", "go on with an unfinished demo")
    .option("-O, --output-dir <dir>", "folder of logs and page", "lifelong-demo");
  withJson(command).action((flags: DemoFlags) => demo(flags));
}

async function demo(flags: DemoFlags): Promise<void> {
  const out = outputOf(flags);
  const seed = parseSeed("--seed", flags.seed);
  const started = performance.now();
  const groups = [];
  for (const { name, agent, options } of AGENTS) {
    const { dirs } = await runExperiment({
      agent,
      agentOptions: options,
      curriculum: DEMO_CURRICULUM.name,
      lifetimes: flags.lifetimes,
      processes: flags.processes,
      logDir: join(flags.outputDir, name),
      resume: flags.resume ?? false,
      // the same curricula for all agents: differences are the agents'
      agentSeed: seed,
      curriculumSeed: seed,
      onEvent: progressPrinter(out.note),
    });
    groups.push({
      name,
      reports: dirs.flatMap((dir) => measure(dir, { metrics: { transfer: "contrast" } })),
    });
  }
  const summaries = groups.map((group) => summarizeGroup(group.name, group.reports));
  const seconds = (performance.now() - started) / 1000;
  const { reportPage } = await import("../report/page.ts");
  const page = join(flags.outputDir, "report.html");
  writeWhole(page, reportPage(groups, { title: "Three poles: forgetting and two remedies", detailed: 1 }));
  out.text(groupTable(summaries));
  const maintenance = summaries.map((s) => ({ name: s.name, interval: s.values["perf_maintenance_mrlep"]! }));
  const verdicts = tellApart(maintenance[0]!, maintenance.slice(1), out);
  out.text(`\n${seconds.toFixed(0)} s; page: ${page}`);
  out.result({ seconds, page, groups: summaries, separated: verdicts });
}

interface Named {
  readonly name: string;
  readonly interval: Interval;
}

function tellApart(plain: Named, others: readonly Named[], out: Output): Record<string, boolean> {
  out.text("\nPerformance maintenance, mean over lifetimes with its 90 % interval:");
  for (const { name, interval } of [plain, ...others]) out.text(`  ${name}: ${shortInterval(interval)}`);
  return Object.fromEntries(
    others.map(({ name, interval }) => {
      const apart = separated(plain.interval, interval);
      out.text(`${name} and ${plain.name}: the intervals ${apart ? "do not overlap" : "overlap"}.`);
      return [name, apart];
    }),
  );
}
