import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { benchmarkPage } from "../report/benchmark-page.ts";
import { runsCsv, scoreTable } from "../report/score-table.ts";
import { readOriginalLogs, readRunName } from "./original-logs.ts";
import { cellScore, scoreArchitectures } from "./scores.ts";
import { ResultStore } from "./store.ts";

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "mad-lab-"))));
afterEach(() => rmSync(root, { recursive: true }));

interface Named {
  readonly task?: string;
  readonly vocab?: number;
  readonly lr?: string;
  readonly wd?: string;
  readonly model?: string;
}
/** A folder name as mad-lab writes it; the model's own name may hold any hyphens. */
const nameOf = ({
  task = "CR",
  vocab = 16,
  lr = "0#0005",
  wd = "0#0",
  model = "mA-Sg-mA-Sg",
}: Named): string =>
  `t-${task}_vs-${vocab}_sl-128_ntr-12800_nte-1280_km-1_vm-1_mq-1_fn-0#0_nvs-0_ntc-0_bs-128_e-200_lr-${lr}_wd-${wd}_opt-adamw_sch-cosine_s-12345_model-${model}`;

function addRun(named: Named, figures?: string): string {
  const folder = join(root, nameOf(named));
  mkdirSync(join(folder, "logs"), { recursive: true });
  if (figures !== undefined) {
    const head = "train_acc,train_ppl,train_loss,test_acc,test_ppl,test_loss";
    writeFileSync(join(folder, "results.csv"), `${head}\n${figures}\n`);
  }
  return folder;
}

describe("names of mad-lab's runs", () => {
  test("say setting, recipe and model", () => {
    const read = readRunName(nameOf({ vocab: 32, lr: "0#0001", wd: "0#1", model: "H-Sg_x" }))!;
    expect(read.setting.id).toBe("in-context-recall/vocabSize=32");
    const { learningRate, weightDecay, model, batch, epochs, seed } = read;
    expect([learningRate, weightDecay, model, batch, epochs, seed]).toEqual([
      1e-4,
      0.1,
      "H-Sg_x",
      128,
      200,
      12345,
    ]);
    expect(readRunName(`${nameOf({ lr: "1e-05" })}_date-Mar-26-2024-10-00h`)).toMatchObject({
      learningRate: 1e-5,
      model: "mA-Sg-mA-Sg",
    });
  });

  test("that are no run's, or of unknown tasks, are told apart", () => {
    expect(readRunName("checkpoints")).toBeUndefined();
    expect(() => readRunName(nameOf({ task: "XX" }))).toThrow(/no known task.*XX/s);
    expect(() => readRunName("t-CR_vs-16_model-A")).toThrow(/no sl|no ntr/);
  });
});

describe("results of mad-lab's runs", () => {
  test("become settings with the runs of their sweeps", () => {
    addRun({}, "0.9,1.1,0.1,0.8,1.3,0.25");
    addRun({ wd: "0#1" }, "0.9,1.1,0.1,0.85,1.2,0.2");
    addRun({ lr: "0#001" }, "nan,nan,nan,nan,nan,nan");
    addRun({ lr: "0#001", wd: "0#1" });
    addRun({ vocab: 32 }, "0.5,2,0.7,0.4,2.5,0.9");
    const found = readOriginalLogs(root);
    expect([found.runs, found.results.length, found.unfinished.length]).toEqual([4, 2, 1]);
    // Of the second setting only one of the four runs is there, of the first three.
    expect(found.missing.length).toBe(4);
    expect(found.unknownModels).toEqual([]);
    const recall = found.results.find((r) => r.setting === "in-context-recall")!;
    expect(recall.runs.map((r) => r.test?.batches.macroAccuracy)).toEqual([0.8, 0.85, undefined]);
    expect(recall.runs.map((r) => r.stopped)).toEqual(["done", "done", "diverged"]);
    expect([cellScore(recall, "batches"), cellScore(recall, "macro")]).toEqual([0.85, Number.NaN]);
    expect(recall.recipe).toMatchObject({ schedule: "constant", accuracy: "batches", norm: "rms" });
    expect(recall.model.parameters).toBeGreaterThan(1e5);
    expect(recall.layers).toEqual(["mh-attention", "swiglu", "mh-attention", "swiglu"]);
  });

  test("survive the store, and come back as tables and pages with the figures that are known", () => {
    addRun({}, "0.9,1.1,0.1,0.8,1.3,0.25");
    addRun({ model: "my-own-net" }, "0.9,1.1,0.1,0.7,1.3,0.25");
    const { results, unknownModels } = readOriginalLogs(root);
    expect(unknownModels).toEqual(["my-own-net"]);
    const store = new ResultStore(join(root, "store"));
    results.forEach((r) => store.put(r));
    const again = store.all();
    expect(again.toSorted((a, b) => (a.key < b.key ? -1 : 1))).toEqual(
      [...results].toSorted((a, b) => (a.key < b.key ? -1 : 1)),
    );
    const scores = scoreArchitectures(again);
    expect(scores.map((s) => [s.architecture, s.total.batches])).toEqual([
      ["mA-Sg-mA-Sg (mad-lab)", 0.8],
      ["my-own-net (mad-lab)", 0.7],
    ]);
    expect(scoreTable(scores)).toContain("tasks: batches");
    expect(runsCsv(scores)).toMatch(/0\.8,,,0\.25,1,\d+/);
    const page = benchmarkPage(again, { title: "t", command: "c", environment: {} });
    expect(page).not.toContain("NaN");
    expect(page).toContain("0.800");
  });

  test("curves hold the epochs of training alone", () => {
    const folder = addRun({}, "0.9,1.1,0.1,0.8,1.3,0.25");
    writeFileSync(
      join(folder, "logs", "metrics.csv"),
      [
        "epoch,step,test/Accuracy_epoch,test/Loss_epoch,train/Loss_epoch",
        "0,49,,,",
        "0,99,0.3,2.0,",
        "0,99,,,2.5",
        "1,199,0.8,0.25,",
        "1,199,,,1.5",
        // the measurements after training: training set, then test set
        "2,200,0.9,0.1,",
        "2,200,0.8,0.25,",
      ].join("\n"),
    );
    const { runs } = readOriginalLogs(root).results[0]!;
    expect(runs[0]!.curve).toMatchObject([
      { epoch: 1, step: 100, trainLoss: 2.5, testLoss: 2, batchAccuracy: 0.3 },
      { epoch: 2, step: 200, trainLoss: 1.5, testLoss: 0.25, batchAccuracy: 0.8 },
    ]);
    expect(runs[0]!.steps).toBe(200);
  });

  test("a folder without any is an error", () => {
    expect(() => readOriginalLogs(root)).toThrow(/no finished run/);
    expect(() => readOriginalLogs(join(root, "gone"))).toThrow(/no folder/);
  });
});
