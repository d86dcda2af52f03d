// Several lifetimes of one agent on one curriculum: seeds, log folders, processes, resuming.

import { existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ConfigError, DataError } from "@everlong/core";
import { makeFolder } from "@everlong/data";
import { loadAgent, moduleUrl, resolveAgentOptions } from "../agents/registry.ts";
import { loadCurriculum } from "../curriculum/file.ts";
import { validateCurriculum } from "../curriculum/validate.ts";
import type { Environment } from "../environments/environment.ts";
import type { Json } from "../logs/format.ts";
import { LogWriter } from "../logs/writer.ts";
import { type LifetimeEvent, runLifetime } from "./lifetime.ts";
import { runInProcesses } from "./processes.ts";
import { freshSeed, type LifetimeSeeds, lifetimeSeeds } from "./seeds.ts";
import type { Seed } from "../random/random-stream.ts";

/** What all lifetimes of an experiment share; plain data, so that a process can be given it. */
export interface ExperimentPlan {
  /** Agent by name, module or package. */
  readonly agent: string;
  readonly agentOptions: Readonly<Record<string, number | string | boolean>>;
  /** Curriculum by name, file, module or package. */
  readonly curriculum: string;
  readonly curriculumConfig: Json;
  readonly environments: number;
  readonly logDir: string;
  /** Go on with unfinished lifetimes and leave finished ones alone. */
  readonly resume: boolean;
  /** Fixed clock for timestamps, in milliseconds, for byte-equal logs; null: the real one. */
  readonly clock: number | null;
  /** Modules that register agents, curricula or environments; imported first. */
  readonly imports: readonly string[];
}

export interface ExperimentOptions extends Partial<Omit<ExperimentPlan, "agent" | "curriculum">> {
  readonly agent: string;
  readonly curriculum: string;
  /** Default: drawn, and returned. */
  readonly agentSeed?: Seed;
  readonly curriculumSeed?: Seed;
  /** First lifetime; needs both seeds. Default 0. */
  readonly firstLifetime?: number;
  /** Default 1. */
  readonly lifetimes?: number;
  /** Processes; default 1: in this one. */
  readonly processes?: number;
  readonly onEvent?: (event: ExperimentEvent) => void;
  /** Only in this process. */
  readonly onStep?: (environment: Environment) => void;
}

/** A lifetime's event with its number. */
export type ExperimentEvent = { readonly lifetime: number } & (
  | LifetimeEvent
  | {
      readonly type: "start";
      readonly dir: string;
      readonly agent: string;
      readonly curriculum: string;
      readonly resumed: number;
    }
  | {
      readonly type: "end";
      readonly dir: string;
      readonly experiences: number;
      readonly seconds: number;
      readonly skipped: boolean;
    }
);

export interface ExperimentResult {
  /** Log folders in order of lifetime. */
  readonly dirs: readonly string[];
  readonly agentSeed: bigint;
  readonly curriculumSeed: bigint;
}

const OP = "run";

/**
 * Runs lifetimes of an agent on a curriculum and logs them under `logDir/<curriculum>-<agent>-<lifetime>`.
 *
 * @throws ConfigError for wrong options, or a log folder that exists already without `resume`
 */
export async function runExperiment(options: ExperimentOptions): Promise<ExperimentResult> {
  const { firstLifetime = 0, lifetimes = 1, processes = 1 } = options;
  for (const [name, value, least] of [
    ["firstLifetime", firstLifetime, 0],
    ["lifetimes", lifetimes, 1],
    ["processes", processes, 1],
    ["environments", options.environments ?? 1, 1],
  ] as const) {
    if (!Number.isInteger(value) || value < least) {
      throw new ConfigError(OP, `${name} is out of range`, {
        expected: `an integer from ${least}`,
        got: String(value),
      });
    }
  }
  const seeded = options.agentSeed !== undefined && options.curriculumSeed !== undefined;
  if (firstLifetime > 0 && !seeded) {
    throw new ConfigError(OP, "a later first lifetime needs the seeds of the run it belongs to", {
      expected: "agentSeed and curriculumSeed",
    });
  }
  const agentSeed = BigInt(options.agentSeed ?? freshSeed());
  const curriculumSeed = BigInt(options.curriculumSeed ?? freshSeed());
  const plan: ExperimentPlan = {
    agent: options.agent,
    agentOptions: options.agentOptions ?? {},
    curriculum: options.curriculum,
    curriculumConfig: options.curriculumConfig ?? null,
    environments: options.environments ?? 1,
    logDir: options.logDir ?? "logs",
    resume: options.resume ?? false,
    clock: options.clock ?? null,
    imports: options.imports ?? [],
  };
  const seeds = lifetimeSeeds(agentSeed, curriculumSeed, firstLifetime, lifetimes);
  const emit = options.onEvent ?? ((): void => {});
  const dirs =
    processes === 1
      ? await inTurn(seeds, (one) => runOne(plan, one, emit, options.onStep))
      : await runInProcesses(plan, seeds, processes, emit);
  return { dirs, agentSeed, curriculumSeed };
}

async function inTurn<T, R>(list: readonly T[], run: (item: T) => Promise<R>): Promise<R[]> {
  const out: R[] = [];
  for (const item of list) out.push(await run(item));
  return out;
}

/** Runs one lifetime of a plan and returns its log folder. */
export async function runOne(
  plan: ExperimentPlan,
  seeds: LifetimeSeeds,
  emit: (event: ExperimentEvent) => void,
  onStep?: (environment: Environment) => void,
): Promise<string> {
  for (const specifier of plan.imports) await import(moduleUrl(specifier));
  const entry = await loadAgent(plan.agent);
  const agentOptions = resolveAgentOptions(entry, plan.agentOptions);
  const { make } = await loadCurriculum(plan.curriculum);
  const curriculum = make({ seed: seeds.curriculum, config: plan.curriculumConfig });
  const { observationSpace, actionSpace } = validateCurriculum(curriculum);
  const { environments } = plan;
  const agent = await entry.make(
    { seed: seeds.agent, observationSpace, actionSpace, environments },
    agentOptions,
  );
  const scenario = `${curriculum.name}-${agent.name}`;
  const folderSuffix = String(seeds.lifetime).padStart(3, "0");
  const dir = join(plan.logDir, `${scenario}-${folderSuffix}`);
  const { lifetime } = seeds;
  const started = performance.now();

  const from = await whereToStart(dir, plan.resume, agent);
  if (from === "finished") {
    emit({ lifetime, type: "end", dir, experiences: 0, seconds: 0, skipped: true });
    return dir;
  }
  emit({
    lifetime,
    type: "start",
    dir,
    agent: agent.name,
    curriculum: curriculum.name,
    resumed: from.blocks,
  });
  const writer = new LogWriter({
    baseDir: plan.logDir,
    scenario,
    folderSuffix,
    loggerInfo: { metrics_columns: ["reward"] },
    scenarioInfo: {
      ...curriculum.scenario,
      // decimal text: JSON numbers lose the low bits of 64-bit seeds
      curriculum_seed: String(seeds.curriculum),
      agent_seed: String(seeds.agent),
      curriculum_name: curriculum.name,
      agent_name: agent.name,
      agent_options: agentOptions,
      lifetime,
      environments,
    },
    ...(plan.clock === null ? {} : { now: () => plan.clock! }),
  });
  writeProgress(dir, from, null);
  try {
    const experiences = await runLifetime({
      agent,
      curriculum,
      writer,
      environments,
      from,
      onEvent: (event) => emit({ lifetime, ...event }),
      ...(onStep === undefined ? {} : { onStep }),
      onBlockEnd: async (done) => writeProgress(dir, done, (await agent.save?.()) ?? null),
    });
    rmSync(join(dir, PROGRESS));
    rmSync(join(dir, AGENT_STATE), { force: true });
    const seconds = (performance.now() - started) / 1000;
    emit({ lifetime, type: "end", dir, experiences, seconds, skipped: false });
  } finally {
    writer.close();
    agent.dispose?.();
  }
  return dir;
}

/** In a log folder while its lifetime is unfinished: how far it is. */
const PROGRESS = "progress.json";
/** The agent after the last finished block. */
const AGENT_STATE = "agent-state.bin";

interface Progress {
  readonly blocks: number;
  readonly experiences: number;
}

function writeProgress(dir: string, progress: Progress, agent: Uint8Array | null): void {
  // the state first, and each by renaming: a killed process leaves a pair that fits
  if (agent !== null) replaceFile(join(dir, AGENT_STATE), agent);
  replaceFile(join(dir, PROGRESS), `${JSON.stringify({ ...progress, agent: agent !== null })}\n`);
}

function replaceFile(path: string, content: string | Uint8Array): void {
  writeFileSync(`${path}.new`, content);
  renameSync(`${path}.new`, path);
}

async function whereToStart(
  dir: string,
  resume: boolean,
  agent: Awaited<ReturnType<Awaited<ReturnType<typeof loadAgent>>["make"]>>,
): Promise<Progress | "finished"> {
  const fresh = { blocks: 0, experiences: 0 };
  if (!existsSync(dir)) {
    makeFolder(dir);
    return fresh;
  }
  if (!resume) {
    throw new ConfigError(OP, `${dir} exists already`, {
      hint: "Give another log folder, or resume to go on with unfinished lifetimes.",
    });
  }
  const file = join(dir, PROGRESS);
  if (!existsSync(file)) return "finished";
  const progress = JSON.parse(readFileSync(file, "utf8")) as Progress & { agent: boolean };
  // without a saved agent the lifetime starts again: its seeds make it the same
  const from = progress.agent && agent.load !== undefined ? progress : fresh;
  if (from.blocks > 0) {
    const state = join(dir, AGENT_STATE);
    if (!existsSync(state)) throw new DataError(OP, `${dir} lacks ${AGENT_STATE}`);
    await agent.load!(new Uint8Array(readFileSync(state)));
  }
  dropBlocks(dir, from.blocks);
  return { blocks: from.blocks, experiences: from.experiences };
}

/** Removes the logs of blocks from `first` on: they were being written. */
function dropBlocks(dir: string, first: number): void {
  for (const worker of readdirSync(dir, { withFileTypes: true })) {
    if (!worker.isDirectory()) continue;
    for (const block of readdirSync(join(dir, worker.name))) {
      if (Number.parseInt(block, 10) >= first) rmSync(join(dir, worker.name, block), { recursive: true });
    }
  }
}
