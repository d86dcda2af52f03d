import "@everlong/device-cpu";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mixers } from "@everlong/nn";
import { Command } from "commander";
import { afterAll, describe, expect, test, vi } from "vitest";
import { registerLifelong } from "../cli.ts";
import { block, DEFAULT_SCENARIO } from "../curriculum/curriculum.ts";
import { registerCurriculum } from "../curriculum/registry.ts";
import { makeEnvironment } from "../environments/registry.ts";
import { readLog } from "../logs/reader.ts";
import { filterRows } from "../logs/table.ts";
import { RandomStream } from "../random/random-stream.ts";
import { runExperiment } from "../run/experiment.ts";
import { loadAgent, resolveAgentOptions } from "./registry.ts";

const scratch = mkdtempSync(join(tmpdir(), "agents-slow-"));
afterAll(() => rmSync(scratch, { recursive: true }));

registerCurriculum({
  name: "CartPole-60k",
  about: "CartPole-v1 for 60,000 steps.",
  make: ({ seed }) => ({
    name: "CartPole-60k",
    seed,
    scenario: DEFAULT_SCENARIO,
    blocks: [
      block("learn", [
        {
          task: "CartPole",
          variant: "V1",
          environment: "CartPole",
          parameters: {},
          seed: new RandomStream(seed).raw(),
          length: { count: 60_000, unit: "steps" },
        },
      ]),
    ],
  }),
});

test.each([1, 2, 3])("DQN solves CartPole-v1 in 60,000 steps, seed %i", async (seed) => {
  const { dirs } = await runExperiment({
    agent: "DQN",
    curriculum: "CartPole-60k",
    agentSeed: seed,
    curriculumSeed: seed + 100,
    logDir: join(scratch, `cartpole-${seed}`),
  });
  const { table } = readLog(dirs[0]!);
  const complete = filterRows(table, (row) => table.complete[row] === 1);
  const last = complete.numbers.get("reward")!.subarray(-100);
  expect(last.reduce((a, b) => a + b, 0) / 100).toBeGreaterThanOrEqual(195);
});

test("the demo's intervals tell the agents apart", async () => {
  let out = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => ((out += String(text)), true));
  vi.spyOn(process.stderr, "write").mockImplementation(() => true);
  const program = new Command("everlong").exitOverride();
  registerLifelong(program);
  try {
    const dir = join(scratch, "demo");
    await program.parseAsync(["lifelong", "demo", "-O", dir, "--json"], { from: "user" });
  } finally {
    vi.restoreAllMocks();
  }
  const result = JSON.parse(out) as { separated: Record<string, boolean>; page: string; seconds: number };
  expect(result.separated).toEqual({ "DQN-Replay": true, "DQN-EWC": true });
  expect(readFileSync(result.page, "utf8")).toContain("DQN-Replay");
});

describe("memories", () => {
  const environment = makeEnvironment("CartPole");

  test.each(mixers.map(({ name }) => name))("mixer %s serves as memory", async (memory) => {
    const entry = await loadAgent("DQN");
    const options = resolveAgentOptions(entry, { memory, history: 4, warmup: 8, batch: 8 });
    const agent = await entry.make(
      {
        seed: 1n,
        observationSpace: environment.observationSpace,
        actionSpace: { kind: "discrete", n: 2 },
        environments: 2,
      },
      options,
    );
    await agent.blockStart!("learn");
    await agent.variantStart!("CartPole", "V1");
    const observation = environment.reset({ seed: 1 }).observation;
    for (let t = 0; t < 12; t++) {
      const actions = await agent.chooseActions([observation, t > 8 ? null : observation]);
      expect([0, 1]).toContain(actions[0]);
      const transition = {
        observation,
        action: actions[0]!,
        reward: 1,
        done: t % 3 === 2,
        terminated: false,
        nextObservation: observation,
      };
      await agent.receiveTransitions([transition, t > 8 ? null : transition]);
    }
    expect(agent.status!()["loss"]).toBeGreaterThan(0);
    agent.dispose!();
  });
});
