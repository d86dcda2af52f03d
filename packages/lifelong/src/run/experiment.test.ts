import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { RANDOM } from "../agents/random.ts";
import { loadAgent, resolveAgentOptions } from "../agents/registry.ts";
import {
  block,
  type Curriculum,
  DEFAULT_SCENARIO,
  type Length,
  type TaskVariant,
} from "../curriculum/curriculum.ts";
import { readLog } from "../logs/reader.ts";
import { LogWriter } from "../logs/writer.ts";
import { computeMetrics } from "../metrics/report.ts";
import { RandomStream } from "../random/random-stream.ts";
import type { Agent, Transition } from "./agent.ts";
import { type ExperimentEvent, runExperiment } from "./experiment.ts";
import { runLifetime } from "./lifetime.ts";
import { lifetimeSeeds } from "./seeds.ts";

const scratch = mkdtempSync(join(tmpdir(), "run-"));
let folders = 0;
const fresh = (): string => join(scratch, String(folders++));
afterAll(() => rmSync(scratch, { recursive: true }));

/** Every file below a folder with its bytes. */
function tree(dir: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const name of readdirSync(dir, { recursive: true, encoding: "utf8" })) {
    const path = join(dir, name);
    if (statSync(path).isFile()) files[relative(dir, path)] = readFileSync(path, "utf8");
  }
  return files;
}

const episodes = (count: number): Length => ({ count, unit: "episodes" });
const steps = (count: number): Length => ({ count, unit: "steps" });

/** The original's test curricula: two variants learned, one evaluated. CartPole has no step limit there. */
function pole(seed: bigint, lengths: readonly [Length, Length, Length]): Curriculum {
  const random = new RandomStream(seed);
  const one = (variant: string, length: Length): TaskVariant => ({
    task: "CartPoleEnv",
    variant,
    environment: "CartPole",
    parameters: { maxSteps: 100_000 },
    seed: random.raw(),
    length,
  });
  const learn = [one("Default", lengths[0]), one("Variant1", lengths[1])];
  const evaluate = [one("Default", lengths[2])];
  const blocks = [block("learn", learn), block("evaluate", evaluate)];
  return { name: "Pole", seed, scenario: DEFAULT_SCENARIO, blocks };
}

async function live(
  curriculum: Curriculum,
  environments: number,
  agentSeed: bigint,
  watch: Partial<Agent> = {},
): Promise<ReturnType<typeof readLog>> {
  const context = {
    seed: agentSeed,
    environments,
    observationSpace: { kind: "box", shape: [4], dtype: "f32", low: 0, high: 0 },
    actionSpace: { kind: "discrete", n: 2 },
  } as const;
  const agent: Agent = { ...(await RANDOM.make(context, {})), ...watch };
  const loggerInfo = { metrics_columns: ["reward"] };
  const writer = new LogWriter({ baseDir: fresh(), scenario: "pole", folderSuffix: "0", loggerInfo });
  await runLifetime({ agent, curriculum, writer, environments });
  return readLog(writer.dir);
}

describe("returns of a random agent equal the original's", () => {
  // tella, tests/test_rl_experiment.py: curriculum seed 9, agent seed 1, first lifetime
  const [seeds] = lifetimeSeeds(1, 9, 0, 1);

  test("one episode a variant", async () => {
    const log = await live(pole(seeds!.curriculum, [episodes(1), episodes(1), episodes(1)]), 1, seeds!.agent);
    expect([...log.table.numbers.get("reward")!]).toEqual([13, 16, 19]);
  });

  test("several episodes a variant", async () => {
    const log = await live(pole(seeds!.curriculum, [episodes(5), episodes(4), episodes(3)]), 1, seeds!.agent);
    expect([...log.table.numbers.get("reward")!]).toEqual([13, 14, 24, 21, 36, 32, 41, 44, 22, 22, 21, 12]);
  });
});

describe("parallel environments", () => {
  test("surplus ones are masked, so blocks have exactly their episodes", async () => {
    const masks: string[] = [];
    const log = await live(pole(1n, [episodes(5), episodes(4), episodes(3)]), 5, 2n, {
      receiveTransitions: (list) => void masks.push(list.map((t) => (t === null ? "-" : "x")).join("")),
    });
    const numbers = (block: number, task: string): number[] =>
      [...log.table.expNum].filter(
        (_, r) => log.table.blockNum[r] === block && log.table.tasks[log.table.task[r]!] === task,
      );
    expect(numbers(0, "cartpoleenv_default")).toEqual([0, 1, 2, 3, 4]);
    expect(numbers(0, "cartpoleenv_variant1")).toEqual([5, 6, 7, 8]);
    expect(numbers(1, "cartpoleenv_default")).toEqual([9, 10, 11]);
    expect(masks[0]).toBe("xxxxx");
    expect(masks.filter((m) => m.startsWith("xxxx-")).length).toBeGreaterThan(0);
  });

  test("a step limit is met exactly, and the cut episodes are logged as incomplete", async () => {
    const counted = { steps: 0 };
    const log = await live(pole(4n, [steps(103), steps(7), steps(2)]), 5, 3n, {
      receiveTransitions: (list) => void (counted.steps += list.filter((t) => t !== null).length),
    });
    expect(counted.steps).toBe(103 + 7 + 2);
    const { table } = log;
    const total = (task: string, block: number): number =>
      [...table.numbers.get("episode_step_count")!].reduce(
        (n, count, r) =>
          n + (table.tasks[table.task[r]!] === task && table.blockNum[r] === block ? count : 0),
        0,
      );
    expect([total("cartpoleenv_default", 0), total("cartpoleenv_variant1", 0)]).toEqual([103, 7]);
    const incomplete = [...table.complete].filter((c) => c === 0).length;
    expect(incomplete).toBeGreaterThanOrEqual(5 + 5 + 2 - 1);
    expect([...table.expNum]).toEqual([...table.expNum.keys()]);
  });
});

test("events come in the order of the formalism, and evaluation hides rewards", async () => {
  const events: string[] = [];
  let rewards: (number | null)[] = [];
  const note =
    (name: string) =>
    (...args: string[]) =>
      void events.push([name, ...args].join(" "));
  await live(pole(0n, [episodes(1), episodes(1), episodes(1)]), 1, 0n, {
    blockStart: (kind) => {
      rewards = [];
      events.push(`block ${kind}`);
    },
    blockEnd: (kind) => void events.push(`end ${kind} ${[...new Set(rewards)].join()}`),
    taskStart: note("task"),
    taskEnd: note("task end"),
    variantStart: note("variant"),
    variantEnd: note("variant end"),
    receiveTransitions: (list: readonly (Transition | null)[]) => void rewards.push(list[0]!.reward),
  });
  expect(events).toEqual([
    "block learn",
    "task CartPoleEnv",
    "variant CartPoleEnv Default",
    "variant end CartPoleEnv Default",
    "variant CartPoleEnv Variant1",
    "variant end CartPoleEnv Variant1",
    "task end CartPoleEnv",
    "end learn 1",
    "block evaluate",
    "task CartPoleEnv",
    "variant CartPoleEnv Default",
    "variant end CartPoleEnv Default",
    "task end CartPoleEnv",
    "end evaluate ",
  ]);
});

test("an agent without an action is named", async () => {
  const silent = live(pole(0n, [episodes(1), episodes(1), episodes(1)]), 1, 0n, {
    chooseActions: () => [null],
  });
  await expect(silent).rejects.toThrow(/agent Random gave no action for environment 0/);
});

describe("experiments", () => {
  const plan = {
    agent: "Random",
    curriculum: "SimpleMiniGrid",
    agentSeed: 1,
    curriculumSeed: 9,
    clock: 1_700_000_000_000,
  } as const;

  test("log trees are byte-equal by seed, also from processes, and differ by seed", async () => {
    const [a, b, c] = [fresh(), fresh(), fresh()];
    await runExperiment({ ...plan, logDir: a, lifetimes: 2 });
    await runExperiment({ ...plan, logDir: b, lifetimes: 2, processes: 2 });
    expect(tree(b)).toEqual(tree(a));
    await runExperiment({ ...plan, logDir: c, lifetimes: 1, firstLifetime: 1 });
    const second = Object.fromEntries(Object.entries(tree(a)).filter(([name]) => name.includes("-001/")));
    expect(tree(c)).toEqual(second);
    const d = fresh();
    await runExperiment({ ...plan, logDir: d, agentSeed: 2 });
    expect(Object.keys(tree(d))).toEqual(Object.keys(tree(a)).filter((name) => name.includes("-000/")));
    expect(tree(d)).not.toEqual(tree(a));
  });

  test("logs feed the metrics", async () => {
    const { dirs } = await runExperiment({ ...plan, logDir: fresh(), environments: 3 });
    const log = readLog(dirs[0]!);
    expect(log.scenarioInfo).toMatchObject({
      scenario_type: "permuted",
      curriculum_name: "SimpleMiniGrid",
      lifetime: 0,
    });
    expect(log.scenarioInfo["agent_seed"]).toBe(String(new RandomStream(1).raw()));
    const report = computeMetrics(log);
    expect([report.numLx, report.numEx]).toEqual([15, 60]);
    expect(report.tasks.map((t) => t.task).sort()).toEqual([
      "distshift_r2",
      "dynobstacles_s6n1",
      "simplecrossing_s9n1",
    ]);
  });

  test("an interrupted lifetime resumes to the same logs, a finished one is left alone", async () => {
    const [whole, cut] = [fresh(), fresh()];
    await runExperiment({ ...plan, logDir: whole, lifetimes: 2 });
    const stop = (event: ExperimentEvent): void => {
      if (event.lifetime === 1 && event.type === "experience" && event.block === 3)
        throw new Error("power failure");
    };
    await expect(runExperiment({ ...plan, logDir: cut, lifetimes: 2, onEvent: stop })).rejects.toThrow(
      "power failure",
    );
    const log = join(cut, "SimpleMiniGrid-Random-001/worker-default/3-train/data-log.tsv");
    writeFileSync(log, readFileSync(log, "utf8").slice(0, -9));
    await expect(runExperiment({ ...plan, logDir: cut, lifetimes: 2 })).rejects.toThrow(
      /exists already.*resume/,
    );
    const seen: ExperimentEvent[] = [];
    await runExperiment({
      ...plan,
      logDir: cut,
      lifetimes: 2,
      resume: true,
      onEvent: (e) => void seen.push(e),
    });
    expect(tree(cut)).toEqual(tree(whole));
    expect(seen.find((e) => e.type === "start")).toMatchObject({ lifetime: 1, resumed: 3 });
    expect(seen[0]).toMatchObject({ lifetime: 0, type: "end", skipped: true });
  });

  test("a failing process is reported with its lifetime", async () => {
    const wrong = runExperiment({
      ...plan,
      logDir: fresh(),
      processes: 2,
      curriculum: "Nowhere",
    });
    await expect(wrong).rejects.toThrow(/lifetime \d failed: \[curriculum\] cannot load "Nowhere"/);
  });

  test.each([
    [{ lifetimes: 0 }, /lifetimes is out of range/],
    [{ processes: 1.5 }, /processes is out of range/],
    [{ firstLifetime: 2, agentSeed: undefined }, /needs the seeds/],
    [{ agent: "Randm" }, /cannot load "Randm".*Did you mean "Random"/],
    [{ agentOptions: { speed: 1 } }, /unknown option "speed"/],
  ])("%j is refused", async (change, message) => {
    const { agentSeed, ...rest } = { ...plan, logDir: fresh(), ...change };
    const options = agentSeed === undefined ? rest : { ...rest, agentSeed };
    await expect(runExperiment(options)).rejects.toThrow(message);
  });

  test("agent options are converted from text and checked", async () => {
    const entry = {
      ...(await loadAgent("random")),
      options: {
        rate: { default: 0.1, min: 0, max: 1, about: "" },
        deep: { default: false, about: "" },
        kind: { default: "a", choices: ["a", "b"], about: "" },
      },
    };
    expect(resolveAgentOptions(entry, { rate: "0.5", deep: "true" })).toEqual({
      rate: 0.5,
      deep: true,
      kind: "a",
    });
    expect(() => resolveAgentOptions(entry, { rate: 2 })).toThrow(
      /"rate" does not fit: expected a number from 0 to 1, got 2/,
    );
    expect(() => resolveAgentOptions(entry, { kind: "c" })).toThrow(/expected a, b/);
    expect(() => resolveAgentOptions(entry, { rate: "fast" })).toThrow(/does not fit/);
  });
});
