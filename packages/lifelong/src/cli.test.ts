import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterAll, afterEach, describe, expect, test, vi } from "vitest";
import { registerLifelong } from "./cli.ts";
import { METRICS_OPTIONS } from "./metrics/options.ts";

const scratch = mkdtempSync(join(tmpdir(), "cli-"));
afterAll(() => rmSync(scratch, { recursive: true }));
afterEach(() => vi.restoreAllMocks());
const fixtures = join(import.meta.dirname, "../fixtures/l2metrics");
const lifetime = join(fixtures, "logs/ll_logs/multi_task");
const at = (...parts: string[]): string => join(scratch, ...parts);

/** Runs a command line and returns what it printed. */
async function run(...args: string[]): Promise<{ out: string; notes: string }> {
  let [out, notes] = ["", ""];
  vi.spyOn(process.stdout, "write").mockImplementation((text) => ((out += String(text)), true));
  vi.spyOn(process.stderr, "write").mockImplementation((text) => ((notes += String(text)), true));
  const program = new Command("everlong").exitOverride();
  registerLifelong(program);
  try {
    await program.parseAsync(["lifelong", ...args], { from: "user" });
  } finally {
    vi.restoreAllMocks();
  }
  return { out, notes };
}

describe("metrics", () => {
  const store = ["--ste-dir", at("ste")];

  test("the original's three steps: store experts, compute, read the files", async () => {
    for (const name of ["ste_task1_1_run1", "ste_task2_1_run1", "ste_task3_1_run1"]) {
      await run("metrics", join(fixtures, "logs/ste_logs", name), "-s", "w", ...store);
    }
    const again = await run(
      "metrics",
      "-l",
      join(fixtures, "logs/ste_logs/ste_task3_1_run2"),
      "-s",
      "a",
      ...store,
    );
    expect(again.out).toBe("stored ste_task3_1_run2 as expert of task3_1\n");
    const listed = await run("ste", "list", "--json", ...store);
    expect(JSON.parse(listed.out).tasks[2]).toEqual({
      task: "task3_1",
      runs: ["ste_task3_1_run2", "ste_task3_1_run1"],
    });

    const results = at("results");
    const settings = join(fixtures, "expected/multi_task_settings.json");
    const printed = await run("metrics", lifetime, "-c", settings, "-O", results, ...store);
    expect(printed.out).toMatch(/sample_efficiency +Sample efficiency +0\.9133 +no/);
    const want = JSON.parse(readFileSync(join(fixtures, "expected/multi_task_metrics.json"), "utf8"));
    const got = JSON.parse(readFileSync(join(results, "multi_task_metrics.json"), "utf8"));
    expect(got.sample_efficiency).toBeCloseTo(want.sample_efficiency, 10);
    expect(Object.keys(got.task_metrics.task1_1)).toEqual(Object.keys(want.task_metrics.task1_1));
    expect(readFileSync(join(results, "multi_task_regime.tsv"), "utf8").split("\n")[0]).toBe(
      readFileSync(join(fixtures, "expected/multi_task_regime.tsv"), "utf8").split("\n")[0]!.trimEnd(),
    );
    const saved = JSON.parse(readFileSync(join(results, "multi_task_settings.json"), "utf8"));
    expect(saved).toMatchObject({ perf_measure: "performance", transfer_method: "ratio" });
    const page = readFileSync(join(results, "multi_task.html"), "utf8");
    expect(page).toMatch(/<svg/);
    expect(page).not.toMatch(/<script|https?:\/\/(?!www\.w3\.org)/);

    expect((await run("ste", "clear", ...store)).out).toMatch(/deleted 3 tasks/);
  });

  test("every option of the pipeline is a flag", async () => {
    const document = async (...flags: string[]): Promise<Record<string, unknown>> =>
      JSON.parse(
        (
          await run(
            "metrics",
            lifetime,
            "-p",
            "performance",
            "--json",
            "--no-save",
            "--no-save-settings",
            ...store,
            ...flags,
          )
        ).out,
      );
    const plain = await document();
    const range = at("range.json");
    const wide = { min: -100, max: 500 };
    writeFileSync(range, JSON.stringify({ TASK1_1: wide, task2_1: wide, task3_1: wide }));
    const changes: Record<string, string[]> = {
      variantMode: ["-r", "agnostic"],
      aggregation: ["-a", "median"],
      maintenance: ["-m", "both"],
      transfer: ["-t", "contrast"],
      normalization: ["-n", "none"],
      smoothing: ["-g", "blackman"],
      windowLength: ["-w", "7"],
      clampOutliers: ["-x"],
      dataRange: ["-d", range],
      noise: ["-N", "0", "3"],
    };
    for (const [key, flags] of Object.entries(changes))
      expect([key, await document(...flags)]).not.toEqual([key, plain]);
    const program = new Command();
    registerLifelong(program);
    const command = program.commands[0]!.commands.find((c) => c.name() === "metrics")!;
    for (const { short, help } of METRICS_OPTIONS) {
      const option = command.options.find((o) => o.description.startsWith(help));
      expect(option?.short).toBe(short === undefined ? undefined : `-${short}`);
    }
  });

  test("a folder of lifetimes gives tables and one page; experts' logs are left out", async () => {
    const { out } = await run(
      "metrics",
      join(fixtures, "logs"),
      "-R",
      "-p",
      "performance",
      "-O",
      at("all"),
      ...store,
    );
    expect(out).toMatch(/logs \(1\)/);
    expect(readFileSync(at("all", "ll_metrics.tsv"), "utf8").split("\n")).toHaveLength(3);
    expect(existsSync(at("all", "ll_metrics.html"))).toBe(true);
  });

  test("mistakes are named", async () => {
    await expect(run("metrics", lifetime)).rejects.toThrow(
      /no numeric column "reward": expected performance/,
    );
    await expect(run("metrics", at("nowhere"))).rejects.toThrow(/no log folder/);
    await expect(run("metrics", lifetime, "-w", "x")).rejects.toThrow(
      /--window-length is not a number: got x/,
    );
    await expect(run("metrics", lifetime, "-t", "sum")).rejects.toThrow(/ratio, contrast, both/);
  });
});

describe("run, report and the rest", () => {
  test("a run prints its seeds and metrics; reports compare agents", async () => {
    const logs = at("logs");
    const first = await run(
      "run",
      "SimpleMiniGrid",
      "--agent-seed",
      "3",
      "--curriculum-seed",
      "4",
      "--log-dir",
      logs,
      "--lifetimes",
      "2",
      "--json",
      "--live",
    );
    const result = JSON.parse(first.out);
    expect(result.dirs).toHaveLength(2);
    expect(result.metrics.avg_eval_perf.count).toBe(2);
    expect(first.notes).toMatch(/live view: http:\/\/127\.0\.0\.1:\d+/);
    expect(first.notes).toMatch(/--agent-seed 3 --curriculum-seed 4/);
    const page = at("report.html");
    const report = await run(
      "report",
      `one=${logs}`,
      `two=${logs}`,
      "-O",
      page,
      "-t",
      "both",
      "--title",
      "A < B",
    );
    expect(report.out).toMatch(/metric +one \(2\) +two \(2\)/);
    // once for an agent, not for every lifetime
    expect(report.notes.match(/no expert stored/g)).toHaveLength(2);
    expect(report.notes).toMatch(/^2 lifetimes: no expert stored/m);
    expect(readFileSync(page, "utf8")).toContain("<h1>A &lt; B</h1>");
    const valid = await run("validate", result.dirs[0], "--json");
    expect(JSON.parse(valid.out)).toMatchObject({ valid: true, kind: "log", experiences: 75 });
    await run("aggregate", result.dirs[1], "-f", "csv", "-o", at("table"));
    expect(readFileSync(at("table.csv"), "utf8").split("\n")).toHaveLength(77);
  });

  test("curricula by name and file", async () => {
    const file = at("mine.yaml");
    writeFileSync(
      file,
      "{name: mine, builder: condensed, tasks: [{environment: CartPole}], learn: {steps: 50}, evaluate: {episodes: 1}}",
    );
    expect((await run("summary", file)).out).toMatch(/Task variant 1, CartPole - Default: 50 steps\./);
    expect(JSON.parse((await run("validate", file, "--json")).out)).toMatchObject({
      valid: true,
      kind: "curriculum",
    });
    await run("run", file, "--log-dir", at("mine"), "--no-metrics", "--quiet");
    expect(existsSync(at("mine", "mine-Random-000", "worker-default", "1-train", "data-log.tsv"))).toBe(true);
    expect((await run("curricula")).out).toMatch(/MiniGridDispersed/);
    expect(JSON.parse((await run("envs", "--json")).out).map((e: { name: string }) => e.name)).toContain(
      "DoorKey",
    );
    expect((await run("agents")).out).toMatch(/^Random: /m);
  });

  test("area between curves over lifetimes, and Continual World's logs", async () => {
    await run(
      "run",
      "SimpleMiniGrid",
      "--log-dir",
      at("abc"),
      "--lifetimes",
      "6",
      "--agent-seed",
      "1",
      "--curriculum-seed",
      "2",
      "--quiet",
      "--no-metrics",
    );
    const { out } = await run("abc", at("abc"), "--json", "--ste-dir", at("ste"));
    const { pairs, lifetimes } = JSON.parse(out);
    expect(lifetimes).toHaveLength(6);
    expect(pairs.length).toBeGreaterThan(0);
    for (const pair of pairs) expect(pair.divisions).toHaveLength(4);

    const progress = (name: string, header: string[], rows: number[][]): string => {
      mkdirSync(at(name));
      writeFileSync(
        at(name, "progress.tsv"),
        `${[header, ...rows].map((cells) => cells.join("\t")).join("\n")}\n`,
      );
      return at(name);
    };
    const columns = [
      "test/stochastic/0/reach-v1/success",
      "test/stochastic/1/push-v1/success",
      "train/active_env",
    ];
    const rows = [
      [0, 0, 0],
      [1, 0, 0],
      [0.5, 0.2, 1],
      [0.5, 0.8, 1],
    ];
    const runs = ["cw1", "cw2"].map((name) => progress(name, columns, rows));
    const baselines = ["reach-v1", "push-v1"].map((task) =>
      progress(task, [`test/stochastic/0/${task}/success`], [[0.2], [0.4]]),
    );
    const world = await run(
      "continual-world",
      ...runs,
      "--window",
      "1",
      "--baseline",
      ...baselines,
      "--json",
    );
    const result = JSON.parse(world.out);
    expect(result.performance).toMatchObject({ value: 0.65, count: 2 });
    expect(result.forgetting.value).toBeCloseTo((0.5 + 0) / 2, 12);
    expect(result.forwardTransfer.value).toBeCloseTo(((0.5 - 0.3) / 0.7 + (0.5 - 0.3) / 0.7) / 2, 12);
    await expect(run("continual-world", baselines[0]!)).rejects.toThrow(/lacks column "train\/active_env"/);
    await expect(run("continual-world", runs[0]!, "--baseline", runs[1]!)).rejects.toThrow(
      /not a single-task run/,
    );
  });

  test("agent options are key=value", async () => {
    await expect(run("run", "SimpleCartPole", "--agent-option", "speed")).rejects.toThrow(
      /not of the form key=value/,
    );
    await expect(
      run("run", "SimpleCartPole", "--log-dir", at("x"), "--agent-option", "speed=1"),
    ).rejects.toThrow(/unknown option "speed"/);
  });
});
