// `mad run`: any layers on any task, under one learning rate and decay.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { ConfigError } from "@everlong/core";
import { writeWhole } from "@everlong/data";
import { Progress, RunFolder, saveCheckpoint } from "@everlong/train";
import type { Command } from "commander";
import { parseArchitecture } from "../benchmark/architecture-name.ts";
import { makeCell, type Cell } from "../benchmark/cell.ts";
import { loadPlugins } from "../benchmark/plugin.ts";
import { COMPAT_RUN_CHANGES } from "../benchmark/recipe.ts";
import type { CellResult } from "../benchmark/result.ts";
import { makeSetting } from "../benchmark/suites.ts";
import { trainCell, type TrainCellOptions } from "../benchmark/train-cell.ts";
import { benchmarkPage } from "../report/benchmark-page.ts";
import { bytesText, countText, shareText } from "../report/table.ts";
import { TASK_OPTIONS, type TaskOptions } from "../tasks/options.ts";
import { findTask, TASKS } from "../tasks/registry.ts";
import { commandLine, fieldWords } from "./command-line.ts";
import { addFields, readFields, type Field, type FieldValues } from "./fields.ts";
import type { MadHost } from "./host.ts";
import { RECIPE_FIELDS, recipeOf } from "./recipe-fields.ts";
import { checkGpus, WORK_FIELDS } from "./sweep-command.ts";

const TASK_FIELDS = Object.entries(TASK_OPTIONS).map(([name, o]): Field => ({
  name,
  kind: o.kind === "flag" ? "flag" : o.kind === "fraction" ? "number" : "count",
  describe: o.describe,
}));

const RUN_FIELDS: readonly Field[] = [
  {
    name: "task",
    kind: "text",
    default: "in-context-recall",
    describe: `task or shorthand: ${TASKS.map((t) => `${t.name} (${t.shorthand})`).join(", ")}`,
  },
  {
    name: "layers",
    kind: "texts",
    default: ["mh-attention", "swiglu", "mh-attention", "swiglu"],
    describe: "layers in order, names or shorthands (see `mad layers`)",
  },
  { name: "plugin", kind: "texts", describe: "files that export layers of your own" },
  { name: "backbone", kind: "text", describe: "the task decides; anything else is refused" },
  ...TASK_FIELDS,
  {
    name: "trainRows",
    kind: "count",
    positive: true,
    describe: "training examples",
    original: ["num-train-examples"],
  },
  {
    name: "testRows",
    kind: "count",
    positive: true,
    describe: "test examples",
    original: ["num-test-examples"],
  },
  {
    name: "learningRate",
    kind: "number",
    positive: true,
    default: 5e-4,
    describe: "learning rate",
    original: ["lr"],
  },
  { name: "weightDecay", kind: "number", default: 0, describe: "weight decay" },
  {
    name: "compat",
    kind: "text",
    choices: ["off", "on"],
    default: "off",
    describe:
      "train as mad-lab does where it differs from its description (constant rate, layers made for 1280)",
  },
  ...RECIPE_FIELDS.map((f) => (f.name === "norm" ? { ...f, default: "layer" } : f)),
  ...WORK_FIELDS.filter((f) => ["gpus", "checkpointEvery"].includes(f.name)),
  {
    name: "out",
    kind: "text",
    describe:
      "folder for result.json, curve.csv, log.jsonl, report.html and checkpoints; a killed run goes on from it",
    original: ["log-base-path"],
  },
  { name: "tensorboard", kind: "flag", default: false, describe: "also write TensorBoard events to --out" },
  { name: "logToCsv", kind: "flag", default: true, describe: "write curve.csv to --out" },
  {
    name: "saveCheckpoints",
    kind: "flag",
    default: true,
    describe: "write best.safetensors (lowest test loss) and last.safetensors to --out",
  },
];

async function cellOf(values: FieldValues): Promise<Cell> {
  const task = findTask(values["task"] as string);
  const { backbone = task.backbone } = values as { backbone?: string };
  if (backbone !== task.backbone) {
    throw new ConfigError("mad run", `${task.name} is trained with another backbone`, {
      expected: task.backbone,
      got: backbone,
    });
  }
  const options = Object.fromEntries(
    TASK_FIELDS.flatMap(({ name }) => (name in values ? [[name, values[name]]] : [])),
  ) as Partial<TaskOptions>;
  const plugins = await loadPlugins((values["plugin"] ?? []) as string[]);
  const layers = (values["layers"] as string[]).join(" ");
  const architecture = parseArchitecture(
    layers,
    plugins.flatMap((p) => p.entries),
  );
  const setting = makeSetting(task.name, options, {
    ...(values["trainRows"] === undefined ? {} : { trainCount: values["trainRows"] as number }),
    ...(values["testRows"] === undefined ? {} : { testCount: values["testRows"] as number }),
  });
  const recipe = {
    ...recipeOf(values),
    learningRates: [values["learningRate"] as number],
    weightDecays: [values["weightDecay"] as number],
  };
  const { maxLength = COMPAT_RUN_CHANGES.maxLength } = recipe;
  const changes = values["compat"] === "on" ? { ...recipe, ...COMPAT_RUN_CHANGES, maxLength } : recipe;
  return makeCell(architecture, setting, changes, plugins);
}

function curveCsv({ runs }: CellResult): string {
  const [run] = runs;
  const head = "epoch,step,train_loss,test_loss,test_acc,test_acc_macro,test_acc_token";
  const lines = run!.curve.map((p) =>
    [p.epoch, p.step, p.trainLoss ?? "", p.testLoss, p.batchAccuracy, p.macroAccuracy, p.tokenAccuracy].join(
      ",",
    ),
  );
  return `${[head, ...lines].join("\n")}\n`;
}

function resultText(r: CellResult): string {
  const [run] = r.runs;
  const m = run!.test;
  const rows = [
    ["architecture", r.architecture],
    ["setting", r.setting],
    [
      "ended",
      `${run!.stopped} after ${run!.steps} ${run!.steps === 1 ? "step" : "steps"}, ${r.seconds.toFixed(1)} s`,
    ],
    ["accuracy (macro)", m ? shareText(m.epoch.macroAccuracy) : "-"],
    ["accuracy (mad-lab's)", m ? shareText(m.batches.macroAccuracy) : "-"],
    ["accuracy (token)", m ? shareText(m.epoch.tokenAccuracy) : "-"],
    ["test loss, perplexity", m ? `${m.epoch.loss.toFixed(4)}, ${m.epoch.perplexity.toFixed(3)}` : "-"],
    [
      "train accuracy, loss",
      run!.train ? `${shareText(run!.train.epoch.macroAccuracy)}, ${run!.train.epoch.loss.toFixed(4)}` : "-",
    ],
    ["parameters", countText(r.model.parameters)],
    ["state", `${bytesText(4 * r.model.stateElements)}${r.model.fixedState ? "" : ", grows with length"}`],
    ["rows/s", countText(r.rowsPerSecond)],
  ];
  return rows.map(([name, value]) => `${name!.padEnd(24)}${value}`).join("\n");
}

export function registerRun(mad: Command, host: MadHost): void {
  const command = mad
    .command("run")
    .description("train a stack of layers on a task and measure it")
    .option("--json", "print the result as JSON");
  addFields(command, RUN_FIELDS).action(async (given: Record<string, unknown>) => {
    const { json, ...rest } = given;
    const values = readFields("mad run", RUN_FIELDS, rest);
    checkGpus("mad run", values);
    const cell = await cellOf(values);
    const out = values["out"] as string | undefined;
    const progress = new Progress(1);
    const saving: Pick<TrainCellOptions, "onModel"> =
      out !== undefined && values["saveCheckpoints"] === true
        ? {
            onModel: (which, _run, parts) =>
              saveCheckpoint(join(out, `${which}.safetensors`), parts, { key: cell.key }),
          }
        : {};
    using folder =
      out === undefined ? undefined : new RunFolder(out, { tensorboard: values["tensorboard"] === true });
    const partial = out === undefined ? undefined : join(out, "partial", cell.key);
    let isFirst = true;
    const result = await trainCell(cell, {
      ...saving,
      ...(partial === undefined
        ? {}
        : { resume: { folder: partial, every: values["checkpointEvery"] as number } }),
      measureTrain: true,
      onPoint: (_run, p, done) => {
        // What an interrupted run logged after its checkpoint is measured again.
        if (isFirst) folder?.log.rewind(p.step - 1);
        isFirst = false;
        folder?.write({ ...p });
        progress.update(done, `accuracy ${shareText(p.macroAccuracy)}  test loss ${p.testLoss.toFixed(3)}`);
      },
    });
    progress.done();
    if (out !== undefined) {
      rmSync(join(out, "partial"), { recursive: true, force: true });
      writeWhole(join(out, "result.json"), `${JSON.stringify(result)}\n`);
      if (values["logToCsv"] === true) writeWhole(join(out, "curve.csv"), curveCsv(result));
      const environment = host.environment();
      const words = fieldWords(RUN_FIELDS, values, {
        always: ["task", "layers"],
        never: ["out", "checkpointEvery", "tensorboard", "logToCsv", "saveCheckpoints"],
      });
      const page = benchmarkPage([result], {
        title: `${cell.architecture} on ${cell.setting.id}`,
        command: commandLine(["run", ...words], environment),
        environment,
      });
      writeWhole(join(out, "report.html"), page);
    }
    console.log(json === true ? JSON.stringify(result) : resultText(result));
  });
}
