import { expect, test } from "vitest";
import { MAD_SETTINGS, madRuns, settingData } from "./protocol.ts";
import { generateSplits } from "./tasks/generate.ts";
import { TASKS } from "./tasks/registry.ts";

test("66 settings, 396 runs", () => {
  const counts = Object.fromEntries(
    TASKS.map((task) => [task.shorthand, MAD_SETTINGS.filter((s) => s.task === task.name).length]),
  );
  expect(counts).toEqual({ CR: 11, NR: 14, FR: 11, M: 6, C: 11, SC: 13 });
  expect(MAD_SETTINGS.length).toBe(66);
  expect(new Set(MAD_SETTINGS.map((s) => s.id)).size).toBe(66);
  const runs = madRuns();
  expect(runs.length).toBe(396);
  expect(new Set(runs.map((r) => `${r.setting.id} ${r.learningRate} ${r.weightDecay}`)).size).toBe(396);
});

test("a setting differs from its baseline in one option", () => {
  for (const setting of MAD_SETTINGS) {
    const baseline = MAD_SETTINGS.find((s) => s.task === setting.task && !s.change)!;
    const changed = Object.entries({ ...setting.options, trainCount: setting.trainCount }).filter(
      ([key, value]) =>
        ({ ...baseline.options, trainCount: baseline.trainCount })[key as "vocabSize"] !== value,
    );
    expect(changed).toEqual(setting.change ? [[setting.change.option, setting.change.value]] : []);
    expect(setting.testCount).toBe(1280);
  }
});

test("a few settings in full", () => {
  const find = (id: string) => MAD_SETTINGS.find((s) => s.id === id);
  expect(find("noisy-in-context-recall/vocabSize=144")).toMatchObject({
    options: { vocabSize: 144, seqLen: 128, multiQuery: true, fracNoise: 0.2, noiseVocabSize: 16 },
    trainCount: 12_800,
  });
  expect(find("selective-copying/numTokensToCopy=96")).toMatchObject({
    options: { vocabSize: 16, seqLen: 256, numTokensToCopy: 96 },
  });
  expect(find("compression/trainCount=800")).toMatchObject({ options: { seqLen: 32 }, trainCount: 800 });
  expect(find("memorization/vocabSize=8192")).toMatchObject({ trainCount: 256 });
});

test("the data of a setting are the published ones unless asked otherwise", () => {
  const setting = {
    ...MAD_SETTINGS.find((s) => s.task === "fuzzy-in-context-recall")!,
    trainCount: 40,
    testCount: 400,
  };
  const published = generateSplits({ task: setting.task, compat: true }, { train: 40, test: 400 });
  expect(settingData(setting)).toEqual(published);
  expect(settingData(setting, { compat: false }).test.inputs).not.toEqual(published.test.inputs);
});
