import { type Command, Option } from "commander";
import { ConfigError } from "@everlong/core";
import { readConfigFile } from "../curriculum/file.ts";
import type { Environment, RenderMode } from "../environments/environment.ts";
import { startLiveView } from "../live/server.ts";
import { summarizeGroup } from "../metrics/summary.ts";
import { groupTable } from "../report/tables.ts";
import { type ExperimentEvent, runExperiment } from "../run/experiment.ts";
import { parseSeed } from "../run/seeds.ts";
import { measure } from "./measure.ts";
import { outputOf, withJson } from "./output.ts";

interface RunFlags {
  readonly agent: string;
  readonly agentOption: readonly string[];
  readonly agentConfig?: string;
  readonly numLifetimes: number;
  readonly lifetimeIdx: number;
  readonly numParallelEnvs: number;
  readonly processes: number;
  readonly logDir: string;
  readonly agentSeed?: string;
  readonly curriculumSeed?: string;
  readonly curriculumConfig?: string;
  readonly resume?: boolean;
  readonly import: readonly string[];
  readonly render?: boolean;
  readonly live?: boolean | string;
  readonly metrics: boolean;
  readonly clock?: string;
  readonly quiet?: boolean;
  readonly json?: boolean;
}

const collect = (value: string, before: readonly string[]): readonly string[] => [...before, value];

/** `run`: lifetimes of an agent on a curriculum. */
export function registerRun(parent: Command): void {
  const command = parent
    .command("run")
    .description("run lifetimes of an agent on a curriculum and log them")
    .argument("<curriculum>", "name, YAML, JSON or module file, or package")
    .option("--agent <agent>", "name, module file or package", "Random")
    .option("--agent-option <key=value>", "option of the agent; repeatable", collect, [])
    .option("--agent-config <file>", "YAML or JSON file of agent options")
    .option("--lifetimes, --num-lifetimes <n>", "number of lifetimes", Number, 1)
    .option("--lifetime-idx <n>", "first lifetime", Number, 0)
    .option("--parallel-envs, --num-parallel-envs <n>", "environments stepped together", Number, 1)
    .option("--processes <n>", "lifetimes at the same time, each in its process", Number, 1)
    .option("--log-dir <dir>", "folder of log folders", "logs")
    .option("--agent-seed <seed>", "seed of the agents (default: drawn)")
    .option("--curriculum-seed <seed>", "seed of the curricula (default: drawn)")
    .option("--curriculum-config <file>", "configuration file of the curriculum")
    .option(
      "--import <module>",
      "module that registers agents, curricula or environments; repeatable",
      collect,
      [],
    )
    .option("--resume", "go on with unfinished lifetimes")
    .option("--render", "draw the first environment in the terminal")
    .option("--live [port]", "serve a page that follows the run")
    .option("--no-metrics", "do not print metrics at the end")
    .addOption(new Option("--clock <ms>", "fixed clock for byte-equal logs").hideHelp())
    .option("--quiet", "no progress");
  withJson(command).action((curriculum: string, flags: RunFlags & Record<string, unknown>) =>
    run(curriculum, flags),
  );
}

async function run(curriculum: string, flags: RunFlags): Promise<void> {
  const out = outputOf(flags);
  const live =
    flags.live === undefined ? null : await startLiveView(flags.live === true ? 0 : Number(flags.live));
  if (live !== null) out.note(`live view: ${live.url}`);
  const progress = flags.quiet === true ? (): void => {} : progressPrinter(out.note);
  const seed = (name: string, text: string | undefined): object =>
    text === undefined ? {} : { [name]: parseSeed(name, text) };
  try {
    const result = await runExperiment({
      agent: flags.agent,
      agentOptions: agentOptions(flags),
      curriculum,
      curriculumConfig: flags.curriculumConfig === undefined ? null : readConfigFile(flags.curriculumConfig),
      lifetimes: flags.numLifetimes,
      firstLifetime: flags.lifetimeIdx,
      environments: flags.numParallelEnvs,
      processes: flags.processes,
      logDir: flags.logDir,
      resume: flags.resume ?? false,
      imports: flags.import,
      clock: flags.clock === undefined ? null : Number(flags.clock),
      ...seed("agentSeed", flags.agentSeed),
      ...seed("curriculumSeed", flags.curriculumSeed),
      onEvent(event) {
        live?.send(event);
        progress(event);
      },
      ...(flags.render === true ? { onStep: terminalRenderer("ansi") } : {}),
    });
    out.note(`seeds: --agent-seed ${result.agentSeed} --curriculum-seed ${result.curriculumSeed}`);
    const reports = result.dirs.flatMap((dir) => measure(dir, { metrics: {} }));
    const summary = summarizeGroup(flags.agent, reports);
    if (flags.metrics) out.text(groupTable([summary]));
    out.result({ ...result, metrics: summary.values });
  } finally {
    await live?.close();
  }
}

function agentOptions(flags: RunFlags): Record<string, number | string | boolean> {
  const file = flags.agentConfig === undefined ? {} : readConfigFile(flags.agentConfig);
  if (typeof file !== "object" || file === null || Array.isArray(file)) {
    throw new ConfigError("run", "the agent's configuration is not a set of options", {
      got: JSON.stringify(file),
    });
  }
  const pairs = flags.agentOption.map((text) => {
    const at = text.indexOf("=");
    if (at < 1) throw new ConfigError("run", "--agent-option is not of the form key=value", { got: text });
    return [text.slice(0, at), text.slice(at + 1)];
  });
  return { ...(file as Record<string, number>), ...Object.fromEntries(pairs) };
}

/** Prints a line a block, and for long blocks a line every few seconds. */
export function progressPrinter(print: (line: string) => void): (event: ExperimentEvent) => void {
  const last = new Map<number, { at: number; rewards: number[] }>();
  return (event) => {
    const name = `lifetime ${event.lifetime}`;
    if (event.type === "start") {
      print(
        `${name}: ${event.agent} on ${event.curriculum} -> ${event.dir}${event.resumed > 0 ? `, from block ${event.resumed + 1}` : ""}`,
      );
    } else if (event.type === "end") {
      print(
        event.skipped
          ? `${name}: finished before`
          : `${name}: ${event.experiences} experiences in ${event.seconds.toFixed(1)} s`,
      );
    } else if (event.type === "block") {
      last.set(event.lifetime, { at: performance.now(), rewards: [] });
    } else if (event.type === "experience") {
      const state = last.get(event.lifetime)!;
      state.rewards.push(event.reward);
      if (performance.now() - state.at < 5000) return;
      const mean = state.rewards.reduce((a, b) => a + b, 0) / state.rewards.length;
      print(
        `${name}, block ${event.block + 1}: ${event.task}, experience ${event.experience}, reward ${mean.toFixed(2)}`,
      );
      last.set(event.lifetime, { at: performance.now(), rewards: [] });
    }
  };
}

function terminalRenderer(mode: RenderMode): (environment: Environment) => void {
  return (environment) => process.stderr.write(`\u001b[2J\u001b[H${environment.render(mode)}\n`);
}
