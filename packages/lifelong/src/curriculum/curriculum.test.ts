import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { registerEnvironment } from "../environments/registry.ts";
import { alternating, type BuilderOptions, condensed, dispersed, expert, permuted } from "./builders.ts";
import { type Curriculum, variantsOf } from "./curriculum.ts";
import { curriculumFromText, loadCurriculum } from "./file.ts";
import { curricula } from "./registry.ts";
import { curriculumTotals, summarizeCurriculum } from "./summary.ts";
import { validateCurriculum } from "./validate.ts";

const sha = (text: string): string => createHash("sha256").update(text).digest("hex");

function rows({ blocks }: Curriculum): string[] {
  return blocks.flatMap((block, b) =>
    variantsOf(block).map((v) =>
      [b, block.kind, v.task, v.variant, v.length.unit, v.length.count, v.seed].join(" "),
    ),
  );
}

interface Recorded {
  readonly name: string;
  readonly seed: string;
  readonly config?: keyof typeof configs;
  readonly blocks: number;
  readonly rows: number;
  readonly hash: string;
  readonly summary: string;
  readonly head: readonly (readonly (string | number)[])[];
}

const recorded = JSON.parse(
  readFileSync(join(import.meta.dirname, "../../fixtures/curricula/tella.json"), "utf8"),
) as Recorded[];

// the limits of the original's three example configurations
const configs = {
  format_demo: {
    learn: {
      "default length": 12345,
      "default unit": "steps",
      SimpleCrossingS9N1: 1111,
      SimpleCrossingS9N2: { length: 2222, unit: "episodes" },
      SimpleCrossingS9N3: { unit: "episodes", length: 3333 },
      DistShiftR2: { length: 4444 },
      DistShiftR5: { unit: "steps" },
      DistShiftR3: 6666,
      DynObstacles: 7777,
      CustomFetch: 1234,
      CustomFetchS10T2N4: 5678,
    },
    "num learn blocks": 5,
  },
  per_task_limits: {
    learn: {
      SimpleCrossingS9N1: 1111,
      SimpleCrossingS9N2: 2222,
      SimpleCrossingS9N3: 3333,
      DistShiftR2: 4444,
      DistShiftR5: 5555,
      DistShiftR3: 6666,
      DynObstaclesS6N1: 7777,
      DynObstaclesS8N2: 8888,
      DynObstaclesS10N3: 9999,
      CustomFetchS5T1N2: 1010,
      CustomFetchS8T1N2: 1111,
      CustomFetchS10T2N4: 1212,
      CustomUnlockS5: 1313,
      CustomUnlockS7: 1414,
      CustomUnlockS9: 1515,
      DoorKeyS5: 1616,
      DoorKeyS6: 1717,
      DoorKeyS7: 1818,
    },
  },
  step_limit: { learn: { "default length": 50000, "default unit": "steps" } },
};

const entry = (name: string) => curricula().find((c) => c.name === name)!;

describe("registered curricula equal the original's", () => {
  test("24 of them need no Atari games", () => {
    expect(new Set(recorded.map((r) => r.name)).size).toBe(24);
    for (const { name } of recorded) expect(entry(name)?.name).toBe(name);
  });

  test.each(recorded)("$name, seed $seed, config $config", (want) => {
    const made = entry(want.name).make({
      seed: BigInt(want.seed),
      config: want.config === undefined ? null : configs[want.config],
    });
    const got = rows(made);
    expect(got.slice(0, want.head.length)).toEqual(want.head.map((row) => row.join(" ")));
    expect([made.blocks.length, got.length]).toEqual([want.blocks, want.rows]);
    expect(sha(got.join("\n"))).toBe(want.hash);
    expect(sha(summarizeCurriculum(made))).toBe(want.summary);
  });

  test.each(curricula())("$name is valid", ({ make }) => {
    expect(validateCurriculum(make({ seed: 3n, config: null })).warnings).toEqual([]);
  });
});

describe("configurations of lengths", () => {
  const cases: [unknown, RegExp][] = [
    [["a", "b"], /the document is wrong: expected an object/],
    [{ asdf: { hello: 1 } }, /unknown key "asdf" in the document: expected learn, num learn blocks/],
    [{ "num learn blocks": 0 }, /num learn blocks is wrong: expected at least 1, got 0/],
    [{ learn: [0, 1] }, /learn is wrong: expected an object/],
    [
      { learn: { "default length": ["x"] } },
      /learn > default length is wrong: expected a number, got \["x"\]/,
    ],
    [
      { learn: { "default unit": "blah" } },
      /default unit is wrong: expected one of episodes, steps, got "blah"/,
    ],
    [{ learn: { DoorKy: 1234 } }, /unknown key "DoorKy" in learn.*Did you mean "DoorKey"/],
    [{ learn: { DistShift: 0 } }, /learn > DistShift/],
    [
      { learn: { DistShift: { length: "blah" } } },
      /learn > DistShift > length is wrong: expected a number, got "blah"/,
    ],
    [
      { learn: { DistShift: { unit: "blah" } } },
      /learn > DistShift > unit is wrong: expected one of episodes, steps/,
    ],
    [{ learn: { SimpleCrossing: "many" } }, /learn > SimpleCrossing/],
  ];
  test.each(cases)("%j is refused", (config, message) => {
    expect(() => entry("MiniGridDispersed").make({ seed: 1n, config: config as never })).toThrow(message);
  });
});

describe("builders", () => {
  const options: BuilderOptions = {
    name: "made",
    seed: 11,
    tasks: ["V1", "LongPole", "Weak"].map((variant) => ({ environment: "CartPole", variant })),
    learn: { count: 10, unit: "episodes" },
    evaluate: { count: 2, unit: "episodes" },
  };
  const learned = (c: Curriculum): string[] =>
    c.blocks
      .filter((b) => b.kind === "learn")
      .flatMap((b) => variantsOf(b).map((v) => `${v.variant} ${v.length.count}`));

  test("condensed trains each variant once; permuted in a drawn order", () => {
    expect(learned(condensed(options))).toEqual(["V1 10", "LongPole 10", "Weak 10"]);
    const orders = [1, 2, 3, 4, 5, 6].map((seed) => learned(permuted({ ...options, seed })).join());
    expect(new Set(orders).size).toBeGreaterThan(1);
    expect(permuted(options).scenario.scenario_type).toBe("permuted");
  });

  test("dispersed spreads lengths and gives the rest to the first rounds", () => {
    const made = dispersed({ ...options, rounds: 4, order: "given" });
    expect(learned(made).filter((v) => v.startsWith("V1"))).toEqual(["V1 3", "V1 3", "V1 2", "V1 2"]);
    const short = dispersed({ ...options, learn: { count: 1, unit: "episodes" }, rounds: 2, order: "given" });
    expect(learned(short)).toEqual(["V1 1", "LongPole 1", "Weak 1"]);
    expect(validateCurriculum(short).warnings).toEqual([]);
  });

  test("alternating repeats at full length; an expert learns one and is evaluated on all", () => {
    expect(learned(alternating({ ...options, tasks: options.tasks.slice(0, 2), rounds: 2 }))).toEqual([
      "V1 10",
      "LongPole 10",
      "V1 10",
      "LongPole 10",
    ]);
    const one = expert({ ...options, expertOf: options.tasks[2]! });
    expect(learned(one)).toEqual(["Weak 10"]);
    expect(one.blocks.map((b) => variantsOf(b).length)).toEqual([3, 1, 3]);
  });

  test("evaluations stand before, between and after, with the same seeds", () => {
    const { blocks } = condensed(options);
    expect(blocks.map((b) => b.kind[0]).join("")).toBe("elelele");
    const seeds = blocks
      .filter((b) => b.kind === "evaluate")
      .map((b) =>
        variantsOf(b)
          .map((v) => v.seed)
          .join(),
      );
    expect(new Set(seeds).size).toBe(1);
    const shared = condensed({ ...options, evaluationSeeds: "shared" });
    expect(new Set(variantsOf(shared.blocks[0]!).map((v) => v.seed)).size).toBe(1);
  });

  test("parameters of a labelled variant come from the environment", () => {
    expect(variantsOf(condensed(options).blocks[0]!)[1]!.parameters).toEqual({ poleHalfLength: 1 });
    const wrong = { ...options, tasks: [{ environment: "CartPole", parameters: { gravty: 1 } }] };
    expect(() => condensed(wrong)).toThrow(/unknown option "gravty".*Did you mean "gravity"/);
    expect(() => condensed({ ...options, tasks: [{ environment: "CartPol" }] })).toThrow(
      /Did you mean "CartPole"/,
    );
    expect(() => condensed({ ...options, tasks: [] })).toThrow(/has no tasks/);
  });
});

describe("validation", () => {
  const made = condensed({
    name: "made",
    seed: 1,
    tasks: [{ environment: "CartPole" }],
    learn: { count: 1, unit: "episodes" },
    evaluate: { count: 1, unit: "episodes" },
  });
  const variant = variantsOf(made.blocks[0]!)[0]!;
  const withVariants = (...variants: (typeof variant)[]): Curriculum => ({
    ...made,
    blocks: [{ kind: "learn", taskBlocks: [{ task: "CartPole", variants }] }],
  });

  test.each<[string, Curriculum, RegExp]>([
    ["no blocks", { ...made, blocks: [] }, /has no blocks/],
    ["an empty block", { ...made, blocks: [{ kind: "learn", taskBlocks: [] }] }, /block 1 is empty/],
    ["an empty task block", withVariants(), /block 1, task block 1 is empty/],
    [
      "two tasks in a task block",
      withVariants(variant, { ...variant, task: "Other" }),
      /variant 2 is of another task/,
    ],
    ["no length", withVariants({ ...variant, length: { count: 0, unit: "steps" } }), /has no length/],
    [
      "an unknown environment",
      withVariants({ ...variant, environment: "Pong" }),
      /unknown environment "Pong"/,
    ],
    [
      "a wrong parameter",
      withVariants({ ...variant, parameters: { maxSteps: 0.5 } }),
      /"maxSteps" is out of range/,
    ],
    [
      "mixed spaces",
      withVariants(variant, { ...variant, environment: "DoorKey" }),
      /variant 2 has other spaces than block 1, task block 1, variant 1: expected observations f32\[4\], 2 actions, got observations u8\[7, 7, 3\], 6 actions/,
    ],
  ])("refuses %s", (_, curriculum, message) => {
    expect(() => validateCurriculum(curriculum)).toThrow(message);
  });

  test("warns of adjacent variants with one label", () => {
    expect(validateCurriculum(withVariants(variant, variant)).warnings.join()).toMatch(
      /repeats the label CartPole_Default/,
    );
  });
});

describe("curriculum files", () => {
  const text = `
name: mine
scenario: {complexity: 1-low, scenario_type: alternating}
blocks:
  - kind: evaluate
    tasks: [{environment: CartPole, variant: V0, episodes: 2}]
  - kind: learn
    tasks:
      - {environment: CartPole, variant: V0, steps: 500, seed: 7}
      - {environment: CartPole, task: Heavy, parameters: {poleMass: 0.5}, episodes: 3}
`;

  test("blocks written out", () => {
    const made = curriculumFromText("mine.yaml", text).make({ seed: 4n, config: null });
    expect(made.scenario).toEqual({
      complexity: "1-low",
      difficulty: "2-medium",
      scenario_type: "alternating",
    });
    expect(made.blocks[1]!.taskBlocks.map((t) => t.task)).toEqual(["CartPole", "Heavy"]);
    expect(variantsOf(made.blocks[1]!)[0]).toMatchObject({ seed: 7n, length: { count: 500, unit: "steps" } });
    expect(curriculumTotals(made)).toMatchObject({
      tasks: ["CartPole_V0", "Heavy_Default"],
      learn: { episodes: 3, steps: 500 },
    });
    expect(validateCurriculum(made).actionSpace.n).toBe(2);
  });

  test("a builder with its tasks", () => {
    const file = (more: string): Curriculum =>
      curriculumFromText(
        "b.yaml",
        `{name: b, builder: dispersed, tasks: [{environment: DoorKey, variant: S5}, {environment: DistShift}], learn: {episodes: 4}, evaluate: {episodes: 1}${more}}`,
      ).make({ seed: 9n, config: null });
    expect(curriculumTotals(file(", rounds: 2"))).toMatchObject({ blocks: 9, learn: { episodes: 8 } });
    expect(() => file(", expert: 1")).toThrow(/"expert" does not belong to builder dispersed/);
  });

  const wrong: [string, string, RegExp][] = [
    [
      "an unknown key",
      text.replace("kind: learn", "knd: learn"),
      /mine\.yaml\] unknown key "knd" in blocks > 1|blocks > 1 > kind is wrong/,
    ],
    [
      "a misspelt task key",
      text.replace("parameters", "parametres"),
      /unknown key "parametres" in blocks > 1 > tasks > 1.*"parameters"/,
    ],
    [
      "two lengths",
      text.replace("steps: 500", "steps: 500, episodes: 1"),
      /blocks > 1 > tasks > 0 is wrong: expected exactly one/,
    ],
    [
      "a negative length",
      text.replace("steps: 500", "steps: -5"),
      /tasks > 0 > steps is wrong: expected at least 1, got -5/,
    ],
    ["a wrong class", text.replace("1-low", "low"), /scenario > complexity is wrong: expected one of 1-low/],
    ["no blocks", "{name: x, blocks: []}", /blocks is wrong: expected at least 1/],
    ["a repeated key", "{name: x, name: y}", /neither YAML nor JSON/],
    ["a list", "- a", /the document is wrong/],
  ];
  test.each(wrong)("%s is refused", (_, content, message) => {
    expect(() => curriculumFromText("mine.yaml", content)).toThrow(message);
  });

  test("names, modules and their mistakes", async () => {
    expect((await loadCurriculum("SimpleCartPole")).name).toBe("SimpleCartPole");
    await expect(loadCurriculum("SimpleCartPool")).rejects.toThrow(/Did you mean "SimpleCartPole"/);
    await expect(loadCurriculum(join(import.meta.dirname, "curriculum.ts"))).rejects.toThrow(
      /exports no curriculum/,
    );
    const module = await loadCurriculum(
      join(import.meta.dirname, "../../fixtures/curricula/own-environment.ts"),
    );
    expect(validateCurriculum(module.make({ seed: 2n, config: null })).observationSpace.shape).toEqual([1]);
    const { ownEnvironment } = (await import("../../fixtures/curricula/own-environment.ts" as string)) as {
      ownEnvironment: Parameters<typeof registerEnvironment>[0];
    };
    expect(() => registerEnvironment({ ...ownEnvironment })).toThrow(/already registered/);
  });
});
