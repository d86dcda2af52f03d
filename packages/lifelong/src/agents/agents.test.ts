import "@everlong/device-cpu";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { compile, realize, tensor, Variable } from "@everlong/core";
import { afterAll, describe, expect, test } from "vitest";
import { alternating } from "../curriculum/builders.ts";
import { registerCurriculum } from "../curriculum/registry.ts";
import { type EnvironmentEntry, registerEnvironment } from "../environments/registry.ts";
import { readLog } from "../logs/reader.ts";
import { computeMetrics } from "../metrics/report.ts";
import { Sfc32 } from "../random/sfc32.ts";
import { type ExperimentOptions, runExperiment } from "../run/experiment.ts";
import { Consolidation } from "./consolidation.ts";
import { Features, Windows } from "./features.ts";
import { advantages } from "./ppo.ts";
import { ReplayMemory } from "./replay.ts";

const scratch = mkdtempSync(join(tmpdir(), "agents-"));
let folders = 0;
afterAll(() => rmSync(scratch, { recursive: true }));

/** A row of 5 cells: action 1 goes towards `goal`, 0 away; reward 1 at the goal, an episode has at most 12 steps. */
const ROW: EnvironmentEntry = {
  name: "Row",
  about: "Walk to an end.",
  parameters: { goal: { default: 4, min: 0, max: 4, integer: true, about: "cell that pays" } },
  variants: { Right: { goal: 4 }, Left: { goal: 0 } },
  make({ goal }) {
    let [at, steps] = [2, 0];
    const see = (): Float32Array => Float32Array.from({ length: 5 }, (_, i) => Number(i === at));
    return {
      observationSpace: { kind: "box", shape: [5], dtype: "f32", low: 0, high: 1 },
      actionSpace: { kind: "discrete", n: 2 },
      reset() {
        [at, steps] = [2, 0];
        return { observation: see() };
      },
      step(action) {
        at = Math.max(0, Math.min(4, at + (action === 1 ? 1 : -1)));
        steps++;
        const terminated = at === goal;
        return {
          observation: see(),
          reward: Number(terminated),
          terminated,
          truncated: !terminated && steps >= 12,
        };
      },
      render: () => "",
    };
  },
};
registerEnvironment(ROW);
registerCurriculum({
  name: "Rows",
  about: "",
  make: ({ seed }) =>
    alternating({
      name: "Rows",
      seed,
      tasks: [
        { environment: "Row", variant: "Right" },
        { environment: "Row", variant: "Left" },
      ],
      learn: { count: 400, unit: "steps" },
      evaluate: { count: 2, unit: "episodes" },
      rounds: 1,
    }),
});

const SMALL = { hidden: 16, learningRate: 0.01, taskInputs: 2 };
const QUICK = {
  ...SMALL,
  warmup: 50,
  epsilonSteps: 200,
  capacity: 1000,
  batch: 32,
  discount: 0.9,
  targetRate: 0.05,
};
const rows = (agent: string, options: object, more: Partial<ExperimentOptions> = {}): ExperimentOptions => ({
  agent,
  agentOptions: options as Record<string, number>,
  curriculum: "Rows",
  agentSeed: 3,
  curriculumSeed: 4,
  clock: 0,
  logDir: join(scratch, String(folders++)),
  ...more,
});

function logs(dir: string): string[] {
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .sort()
    .filter((name) => statSync(join(dir, name)).isFile())
    .map((name) => `${name}\n${readFileSync(join(dir, name), "utf8")}`);
}

describe("learning", () => {
  test.each([
    ["DQN", QUICK],
    ["DQN", { ...QUICK, memory: "attention", history: 3 }],
    ["DQN-Replay", { ...QUICK, archive: 100 }],
    ["DQN-EWC", { ...QUICK, fisherSamples: 16 }],
    ["PPO", { ...SMALL, horizon: 32, batch: 32, entropy: 0.1 }],
  ])("%s finds the goal of the task it learns (%o)", async (agent, options) => {
    const { dirs } = await runExperiment(rows(agent, options));
    const report = computeMetrics(readLog(dirs[0]!), new Map(), { normalization: "none", smoothing: "none" });
    const [right, left] = report.tasks.map((t) => t.evalValues);
    // evaluations: before, after learning Right, after learning Left
    expect(right![1]).toBe(1);
    expect(left![2]).toBe(1);
  });

  test.each([
    ["DQN-Replay", { ...QUICK, archive: 100 }],
    ["DQN-EWC", { ...QUICK, fisherSamples: 8 }],
    ["PPO", { ...SMALL, horizon: 64, batch: 32 }],
  ])("%s is a function of its seeds, and resumes to the same lifetime", async (agent, options) => {
    const first = rows(agent, options, { environments: 2 });
    const { dirs } = await runExperiment(first);
    const again = rows(agent, options, { environments: 2 });
    const cut = runExperiment({
      ...again,
      onEvent: (event) => {
        if (event.type === "experience" && event.block === 3) throw new Error("cut");
      },
    });
    await expect(cut).rejects.toThrow("cut");
    const resumed = await runExperiment({ ...again, resume: true });
    expect(logs(resumed.dirs[0]!)).toEqual(logs(dirs[0]!));
    const other = await runExperiment(rows(agent, options, { environments: 2, agentSeed: 5 }));
    expect(logs(other.dirs[0]!)).not.toEqual(logs(dirs[0]!));
  });

  test("options that cannot work are refused", async () => {
    await expect(runExperiment(rows("PPO", { horizon: 8, batch: 64 }))).rejects.toThrow(/batch at most 8/);
    await expect(runExperiment(rows("DQN", { memory: "elephant" }))).rejects.toThrow(
      /"memory" does not fit: expected none, attention/,
    );
    await expect(runExperiment(rows("DQN", { discount: 1.5 }))).rejects.toThrow(/a number from 0 to 1/);
  });
});

describe("parts", () => {
  test("advantages are discounted sums of errors, cut where episodes end", () => {
    const [g, l] = [0.9, 0.8];
    const step = (value: number, reward: number, follow: number | null = null) => ({
      value,
      reward,
      done: follow !== null,
      follow,
    });
    const [a, b, c, d] = advantages([step(1, 2), step(3, 4, 0), step(5, 6), step(7, 8, 9)], g, l);
    expect(b!.advantage).toBeCloseTo(4 - 3, 12);
    expect(a!.advantage).toBeCloseTo(2 + g * 3 - 1 + g * l * (4 - 3), 12);
    expect(d!.advantage).toBeCloseTo(8 + g * 9 - 7, 12);
    expect(c!.advantage).toBeCloseTo(6 + g * 7 - 5 + g * l * (8 + g * 9 - 7), 12);
  });

  test("codes become one-hots, bytes fractions, and tasks further inputs", () => {
    const codes = new Features(
      { kind: "box", shape: [2, 2], dtype: "u8", low: 0, high: 9, codes: [3, 2] },
      2,
    );
    expect(codes.size).toBe(12);
    const out = new Float32Array(24);
    codes.write(Uint8Array.of(9, 9, 9, 9, 2, 1, 0, 0), 1, 3, out, 1);
    expect([...out.subarray(12)]).toEqual([0, 0, 1, 0, 1, 1, 0, 0, 1, 0, 0, 1]);
    const bytes = new Features({ kind: "box", shape: [2], dtype: "u8", low: 0, high: 255 }, 0);
    const fractions = new Float32Array(2);
    bytes.write(Uint8Array.of(255, 51), 0, 0, fractions, 0);
    expect([...fractions]).toEqual([1, Math.fround(0.2)]);
  });

  test("windows hold the last observations of an episode", () => {
    const features = new Features({ kind: "box", shape: [1], dtype: "f32", low: 0, high: 9 }, 0);
    const windows = new Windows(features, 2, 3);
    const see = (v: number): number[] => Array.from(windows.with(0, Float32Array.of(v)));
    expect(see(1)).toEqual([0, 0, 1]);
    windows.push(0, Float32Array.of(1), false);
    windows.push(0, Float32Array.of(2), false);
    windows.push(1, Float32Array.of(8), false);
    expect(see(3)).toEqual([1, 2, 3]);
    windows.push(0, Float32Array.of(3), true);
    expect(see(4)).toEqual([0, 0, 4]);
    expect(Array.from(windows.with(1, Float32Array.of(9)))).toEqual([0, 8, 9]);
  });

  test("replay keeps an archive of each task and draws its share from the others", () => {
    const random = new Sfc32(1);
    const fill = (memory: ReplayMemory, task: number): void => {
      const window = Float32Array.of(task);
      for (let i = 0; i < 50; i++) {
        memory.current.add({
          before: window,
          after: window,
          action: 0,
          reward: task,
          terminated: false,
          task,
        });
      }
    };
    const make = (n: number): Float32Array => new Float32Array(n);
    const memory = new ReplayMemory("tasks", 30, 10, 0.5, make);
    for (const task of [0, 1]) {
      fill(memory, task);
      memory.endTask(task, random);
    }
    fill(memory, 2);
    expect(memory.current.size).toBe(30);
    expect([...memory.archive.values()].map((ring) => ring.size)).toEqual([10, 10]);
    const counts = [0, 0, 0];
    for (let i = 0; i < 3000; i++) counts[memory.draw(2, random).task]!++;
    expect(counts[2]! / 3000).toBeCloseTo(0.5, 1);
    expect(counts[0]! / counts[1]!).toBeGreaterThan(0.8);
    expect(counts[0]! / counts[1]!).toBeLessThan(1.25);
    const cleared = new ReplayMemory("clear", 30, 10, 0.5, make);
    fill(cleared, 0);
    cleared.endTask(0, random);
    expect(cleared.current.size).toBe(0);
    const fifo = new ReplayMemory("fifo", 30, 10, 0.5, make);
    fill(fifo, 0);
    fifo.endTask(0, random);
    expect(fifo.current.size).toBe(30);
  });

  test("consolidation weighs each parameter by its squared gradients", async () => {
    const w = new Variable(tensor([1, 2]), { name: "w" });
    const held = new Consolidation([w], 3);
    const observe = compile((g: ReturnType<typeof tensor>) => {
      held.accumulate([g], 0.5);
      return g;
    });
    observe(tensor([2, 0]));
    observe(tensor([4, 1]));
    held.anchorHere();
    expect([...(await held.fisher[0]!.value.data())]).toEqual([10, 0.5]);
    expect((await held.penalty().data())[0]).toBe(0);
    w.value = tensor([2, 4]);
    realize(w.value);
    // 3/2 (10 * 1^2 + 0.5 * 2^2)
    expect((await held.penalty().data())[0]).toBeCloseTo(18, 5);
  });

  test("the fast generator is uniform and continues from its state", () => {
    const random = new Sfc32(7n);
    const bins = Array.from({ length: 10 }, () => 0);
    for (let i = 0; i < 20_000; i++) bins[random.below(10)]!++;
    for (const count of bins) expect(Math.abs(count - 2000)).toBeLessThan(200);
    const copy = new Sfc32(0);
    copy.restore(random.state());
    expect([copy.bits(), copy.bits()]).toEqual([random.bits(), random.bits()]);
  });
});
