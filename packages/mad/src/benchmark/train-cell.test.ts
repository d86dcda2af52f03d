import "@everlong/device-cpu";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setDefaultDevice } from "@everlong/core";
import { beforeAll, describe, expect, test } from "vitest";
import { parseArchitecture } from "./architecture-name.ts";
import { makeCell, sliceOf, type Cell } from "./cell.ts";
import { hyperParameters, makeRecipe, rateAt, stepsOf, type Recipe } from "./recipe.ts";
import { bestRun, type CellResult, type EpochPoint } from "./result.ts";
import { cellScore, scoreArchitectures } from "./scores.ts";
import { findSuite, makeSetting, selectSettings, SUITES } from "./suites.ts";
import { joinParts, trainCell } from "./train-cell.ts";

beforeAll(() => setDefaultDevice("cpu"));

const TINY: Partial<Recipe> = {
  dim: 16,
  batch: 8,
  epochs: 2,
  learningRates: [1e-3, 1e-2],
  weightDecays: [0, 0.1],
};
const setting = makeSetting(
  "in-context-recall",
  { vocabSize: 8, seqLen: 16 },
  { trainCount: 40, testCount: 24 },
);
const tiny = (text: string, changes: Partial<Recipe> = {}): Cell =>
  makeCell(parseArchitecture(text), setting, { ...TINY, ...changes });

const figures = (r: CellResult): unknown => r.runs.map(({ curve, ...run }) => ({ ...run, points: curve }));

describe("a cell", () => {
  test.each(["mA(heads=4)-Sg", "H-M", "Mb"])("%s: together equals one by one", async (text) => {
    const cell = tiny(text);
    const together = await trainCell(cell, { together: "on" });
    const apart = await trainCell(cell, { together: "off" });
    expect([together.together, apart.together]).toEqual([true, false]);
    expect(together.runs.length).toBe(4);
    together.runs.forEach((run, i) => {
      const other = apart.runs[i]!;
      expect([run.learningRate, run.weightDecay]).toEqual([other.learningRate, other.weightDecay]);
      expect(run.steps).toBe(10);
      expect(run.curve.length).toBe(3);
      run.curve.forEach((p, j) => expect(p.testLoss).toBeCloseTo(other.curve[j]!.testLoss, 4));
    });
    // The rates did tell.
    const losses = new Set(together.runs.map((r) => r.test!.epoch.loss));
    expect(losses.size).toBe(4);
  });

  test("repeats bit for bit", async () => {
    const cell = tiny("mA(heads=2)-Sg", { learningRates: [1e-2] });
    expect(figures(await trainCell(cell))).toEqual(figures(await trainCell(cell)));
  });

  test("the training set is measured on request, and remembered better than the test set", async () => {
    const small = makeSetting(
      "in-context-recall",
      { vocabSize: 8, seqLen: 16 },
      { trainCount: 8, testCount: 64 },
    );
    const recipe = {
      ...TINY,
      epochs: 150,
      learningRates: [1e-2],
      weightDecays: [0],
      stopAt: 2,
      evaluateEvery: 50,
    };
    const cell = makeCell(parseArchitecture("mA(heads=4)-Sg"), small, recipe);
    const [run] = (await trainCell(cell, { measureTrain: true })).runs;
    expect(run!.train!.epoch.loss).toBeLessThan(0.5 * run!.test!.epoch.loss);
    expect((await trainCell(cell)).runs[0]!.train).toBeUndefined();
  });

  test.each(["off", "on"] as const)(
    "together %s: stopped at any point, it goes on to the same bits",
    async (together) => {
      const cell = tiny("mA(heads=2)-Sg", { epochs: 4, schedule: "plateau", plateauPatience: 0 });
      const whole = await trainCell(cell, { together });
      const folder = mkdtempSync(join(tmpdir(), "everlong-resume-"));
      const resume = { folder, every: 0 };
      const seen: number[] = [];
      for (const after of together === "off" ? [3, 2, 5, 4] : [5, 6, 5]) {
        let points = 0;
        const onPoint = (run: number, { step }: EpochPoint): void => {
          seen.push(100 * run + step);
          if (++points > after) throw new Error("killed");
        };
        await expect(trainCell(cell, { together, resume, onPoint })).rejects.toThrow("killed");
      }
      const left = together === "off" ? ["run-0.json", "run-1.safetensors"] : ["runs-0-1-2-3.safetensors"];
      expect(readdirSync(folder)).toEqual(expect.arrayContaining(left));
      const onPoint = (run: number, { step }: EpochPoint): void => void seen.push(100 * run + step);
      expect(figures(await trainCell(cell, { together, resume, onPoint }))).toEqual(figures(whole));
      // It did go on: the first point of a run is measured once, or again when the run was stopped right there.
      expect(seen.filter((s) => s === 0).length).toBe(1);
      rmSync(folder, { recursive: true });
    },
  );

  test("a checkpoint keeps which of the runs have ended", async () => {
    // Of the two rates, the high one reaches the accuracy early.
    const cell = tiny("mA(heads=2)-Sg", {
      epochs: 8,
      stopAt: 0.16,
      learningRates: [1e-6, 3e-2],
      weightDecays: [0],
    });
    const whole = await trainCell(cell, { together: "on" });
    expect(whole.runs.map((r) => r.stopped)).toEqual(["done", "accurate"]);
    const folder = mkdtempSync(join(tmpdir(), "everlong-resume-"));
    const resume = { folder, every: 0 };
    const ended = whole.runs[1]!.steps;
    const onPoint = (_run: number, { step }: EpochPoint): void => {
      if (step > ended) throw new Error("killed");
    };
    await expect(trainCell(cell, { together: "on", resume, onPoint })).rejects.toThrow("killed");
    expect(figures(await trainCell(cell, { together: "on", resume }))).toEqual(figures(whole));
    rmSync(folder, { recursive: true });
  });

  test("runs can be trained in parts", async () => {
    const cell = tiny("mA(heads=2)-Sg");
    const whole = await trainCell(cell, { together: "off" });
    const parts = [];
    for (const runs of [[0, 2, 3], [1]]) parts.push(await trainCell(cell, { together: "off", runs }));
    expect(figures(joinParts(parts))).toEqual(figures(whole));
    await expect(trainCell(cell, { runs: [4] })).rejects.toThrow(/no such runs/);
  });

  test("a run that reaches the accuracy ends, the others go on", async () => {
    const ended = await trainCell(tiny("M", { stopAt: 0 }));
    expect(ended.runs.map((r) => `${r.stopped} ${r.steps}`)).toEqual(
      Array.from({ length: 4 }, () => "accurate 5"),
    );
    const patient = await trainCell(tiny("M", { patience: 1, epochs: 9, learningRates: [1e-9] }), {
      together: "off",
    });
    expect(patient.runs[0]!.stopped).toBe("steady");
    expect(patient.runs[0]!.steps).toBeLessThan(45);
  });

  test("a plateau lowers the rate: the runs differ from constant ones, together as alone", async () => {
    const changes: Partial<Recipe> = {
      epochs: 6,
      plateauPatience: 0,
      plateauFactor: 0.01,
      learningRates: [0.3],
    };
    const losses = async (schedule: Recipe["schedule"], together: "on" | "off"): Promise<number[]> => {
      const { runs } = await trainCell(tiny("M", { ...changes, schedule }), { together });
      return runs.map((r) => r.test!.epoch.loss);
    };
    const plateau = await losses("plateau", "on");
    const alone = await losses("plateau", "off");
    plateau.forEach((loss, i) => expect(loss).toBeCloseTo(alone[i]!, 3));
    expect(plateau).not.toEqual(await losses("constant", "on"));
  });

  test("a run that diverges is left out of the score, together and alone", async () => {
    for (const together of ["on", "off"] as const) {
      const result = await trainCell(tiny("M", { learningRates: [1e-2, 1e30], epochs: 3 }), { together });
      expect(result.runs.map((r) => r.stopped)).toEqual(["done", "done", "diverged", "diverged"]);
      expect(result.runs[2]!.test).toBeNull();
      expect(bestRun(result, "epoch")!.learningRate).toBe(1e-2);
      expect(cellScore(result, "macro")).toBeGreaterThan(0);
    }
  });

  test("test rows in the training set end it", async () => {
    const leaking = makeSetting(
      "in-context-recall",
      { vocabSize: 2, seqLen: 4 },
      { trainCount: 40, testCount: 24 },
    );
    const cell = makeCell(parseArchitecture("M"), leaking, TINY);
    await expect(trainCell(cell)).rejects.toThrow(/stand in the training set/);
  });

  test("its key follows everything that decides the result, and nothing else", () => {
    const { key } = tiny("mA-Sg");
    expect(tiny("mh-attention swiglu").key).toBe(key);
    expect(tiny("mA(heads=16)-Sg").key).toBe(key);
    expect(makeCell({ ...parseArchitecture("mA-Sg"), name: "mine" }, setting, TINY).key).toBe(key);
    const others = [
      tiny("mA(heads=8)-Sg"),
      tiny("Sg-mA"),
      tiny("mA-Sg", { epochs: 3 }),
      tiny("mA-Sg", { seed: 1 }),
      tiny("mA-Sg", { schedule: "constant" }),
      makeCell(parseArchitecture("mA-Sg"), makeSetting("in-context-recall", { vocabSize: 8 }), TINY),
    ];
    expect(new Set([key, ...others.map((c) => c.key)]).size).toBe(7);
  });
});

describe("recipes", () => {
  test("unknown keys and impossible values are refused", () => {
    expect(() => makeRecipe({ epoch: 3 } as never)).toThrow(/Did you mean "epochs"/);
    expect(() => makeRecipe({ learningRates: [] })).toThrow(/learningRates/);
    expect(() => makeRecipe({ learningRates: [0] })).toThrow(/above 0/);
    expect(() => makeRecipe({ batch: 1.5 })).toThrow(/whole number/);
    expect(() => makeRecipe({ schedule: "step" as never })).toThrow(/cosine or plateau or constant/);
  });

  test("the protocol: six runs, 20,000 steps, a cosine by epochs from each rate to the minimum", () => {
    const recipe = makeRecipe();
    expect(hyperParameters(recipe).length).toBe(6);
    expect(stepsOf(recipe, 12_800)).toBe(20_000);
    expect(rateAt(recipe, 1e-3, 0, 100)).toBe(1e-3);
    expect(rateAt(recipe, 1e-3, 99, 100)).toBe(1e-3);
    expect(rateAt(recipe, 1e-3, 10_000, 100)).toBeCloseTo((1e-3 + 1e-6) / 2, 12);
    expect(rateAt(recipe, 1e-4, 19_999, 100)).toBeLessThan(1.1e-6);
    expect(rateAt(makeRecipe({ schedule: "constant" }), 1e-4, 19_999, 100)).toBe(1e-4);
    const plateau = makeRecipe({ schedule: "plateau" });
    expect(rateAt(plateau, 1e-3, 500, 100, 2)).toBeCloseTo(8.1e-4, 12);
    expect(rateAt(plateau, 1e-3, 500, 100, 999)).toBe(1e-6);
    expect(rateAt(makeRecipe({ warmup: 10 }), 1e-3, 4, 100)).toBe(5e-4);
  });
});

describe("suites", () => {
  test("settings are chosen by pattern", () => {
    const { settings } = findSuite("full");
    expect(settings.length).toBe(66);
    expect(selectSettings(settings, ["CR"]).map((s) => s.id)).toEqual(["in-context-recall"]);
    expect(selectSettings(settings, ["CR/vocabSize=*"]).length).toBe(3);
    const small = findSuite("reduced").settings;
    expect(selectSettings(small, ["CR", "M"])).toEqual([small[0], small[3]]);
    expect(() => selectSettings(small, ["in-context"])).toThrow(/no setting matches/);
    expect(selectSettings(settings, ["CR*", "M/*"]).length).toBe(16);
    expect(() => selectSettings(settings, ["in-context-recal"])).toThrow(/Did you mean "in-context-recall"/);
    expect(() => findSuite("ful")).toThrow(/Did you mean "full"/);
    expect(new Set(SUITES.map((s) => s.name)).size).toBe(SUITES.length);
  });

  test("slices share the work out", () => {
    const items = Array.from({ length: 10 }, (_, i) => i);
    const parts = [1, 2, 3].map((p) => sliceOf(items, p, 3));
    expect(parts.flat().toSorted((a, b) => a - b)).toEqual(items);
    expect(() => sliceOf(items, 4, 3)).toThrow(/1 <= PART <= OF/);
  });

  test("scores: best of the sweep, mean of settings, mean of tasks", () => {
    const run = (accuracy: number | null): unknown => ({
      learningRate: 1,
      weightDecay: 0,
      test:
        accuracy === null
          ? null
          : {
              epoch: { macroAccuracy: accuracy, tokenAccuracy: accuracy / 2 },
              batches: { macroAccuracy: accuracy / 4 },
            },
    });
    const cell = (task: string, setting: string, accuracies: (number | null)[]): CellResult =>
      ({
        architecture: "x",
        shorthand: "x",
        task,
        setting,
        recipe: makeRecipe(),
        runs: accuracies.map(run),
      }) as unknown as CellResult;
    const [score] = scoreArchitectures([
      cell("a", "a1", [0.2, 0.8, null]),
      cell("a", "a2", [0.4, 0.1]),
      cell("b", "b1", [null, null]),
    ]);
    expect(score!.tasks.map((t) => t.score.macro)).toEqual([expect.closeTo(0.6), 0]);
    expect(score!.total.macro).toBeCloseTo(0.3);
    expect(score!.total.batches).toBeCloseTo(0.075);
    expect(score!.total.token).toBeCloseTo(0.15);
    expect(score!.diverged).toEqual(["b1"]);
  });
});
