import { basename, join } from "node:path";
import { writeWhole } from "@everlong/data";
import { type Command, Option } from "commander";
import { aggregateLog, type AggregateFormat } from "../logs/aggregate.ts";
import { REPAIRS, type Repair } from "../logs/reader.ts";
import { lifetimeTable, metricsDocument, regimeTable } from "../metrics/documents.ts";
import { metricsSettings } from "../metrics/options.ts";
import type { MetricsReport } from "../metrics/report.ts";
import { summarizeGroup } from "../metrics/summary.ts";
import { SteStore } from "../metrics/ste-store.ts";
import { PLOT_TYPES, type PlotType } from "../report/plot-types.ts";
import { groupTable, metricsTable, taskTable } from "../report/tables.ts";
import { logsIn, measure } from "./measure.ts";
import { metricsOptionsOf, withMetricsOptions } from "./metrics-options.ts";
import { type Output, outputOf, withJson } from "./output.ts";

interface MetricsFlags {
  readonly logDir?: string;
  readonly recursive?: boolean;
  readonly steStoreMode?: "w" | "a";
  readonly steDir?: string;
  readonly repair?: Repair[];
  readonly outputDir: string;
  readonly output?: string;
  readonly plotTypes?: PlotType[];
  readonly showEvalLines: boolean;
  readonly plot: boolean;
  readonly save: boolean;
  readonly saveSettings: boolean;
  readonly json?: boolean;
}

/** Options of reading logs. */
export function withReadOptions(command: Command): Command {
  const names = Object.keys(REPAIRS);
  return command
    .option("-R, --recursive", "every log folder below the given one")
    .addOption(new Option("--repair <names...>", "mend instead of refuse").choices(names))
    .option("--ste-dir <dir>", "folder of expert runs (default: $L2DATA/taskinfo)");
}

/** `metrics`: the original's command line, flag by flag. */
export function registerMetrics(parent: Command): void {
  const command = parent
    .command("metrics")
    .description("lifelong learning metrics of one lifetime or a folder of them")
    .argument("[dir]", "log folder, or a name in $L2DATA/logs")
    .option("-l, --log-dir <dir>", "the same as the argument")
    .addOption(
      new Option("-s, --ste-store-mode <mode>", "store as expert run instead: overwrite or append").choices([
        "w",
        "a",
      ]),
    )
    .option("-O, --output-dir <dir>", "folder of results", "results")
    .option("-o, --output <name>", "base name of results (default: the run's, or ll_metrics)")
    .addOption(new Option("-T, --plot-types <types...>", "parts of the page").choices([...PLOT_TYPES]))
    .option("-e, --show-eval-lines", "lines between evaluations", true)
    .option("--no-show-eval-lines", "no lines between evaluations")
    .option("-P, --plot", "write a page with charts", true)
    .option("--no-plot", "no page")
    .option("-S, --save", "write results", true)
    .option("--no-save", "only print")
    .option("-C, --save-settings", "write the settings", true)
    .option("--no-save-settings", "no settings file");
  withJson(withMetricsOptions(withReadOptions(command))).action(
    async (dir: string | undefined, flags: MetricsFlags) => {
      const from = dir ?? flags.logDir ?? command.error("error: give a log folder");
      const out = outputOf(flags);
      if (flags.steStoreMode !== undefined) storeExperts(from, flags, flags.steStoreMode, out);
      else await printMetrics(from, flags, out);
    },
  );
}

function storeExperts(dir: string, flags: MetricsFlags, mode: "w" | "a", out: Output): void {
  const store = new SteStore(flags.steDir);
  const stored: { run: string; task: string }[] = [];
  for (const log of logsIn(dir, { ...flags, onWarning: out.note })) {
    if (flags.recursive === true && log.scenarioInfo.scenario_type !== "ste") continue;
    const task = store.add(log, mode);
    stored.push({ run: log.runId, task });
    out.text(`stored ${log.runId} as expert of ${task}`);
  }
  out.result({ dir: store.dir, stored });
}

async function printMetrics(dir: string, flags: MetricsFlags, out: Output): Promise<void> {
  const metrics = metricsOptionsOf(flags as unknown as Record<string, unknown>);
  const reports = measure(dir, {
    metrics,
    onWarning: out.note,
    recursive: flags.recursive === true,
    repair: flags.repair ?? [],
    ...(flags.steDir === undefined ? {} : { steDir: flags.steDir }),
  });
  const single = flags.recursive !== true;
  if (single) {
    out.text(`${metricsTable(reports[0]!)}\n\n${taskTable(reports[0]!)}`);
    out.result(metricsDocument(reports[0]!));
  } else {
    out.text(groupTable([summarizeGroup(basename(dir), reports)]));
    out.result(reports.map((report) => metricsDocument(report)));
  }
  await save(dir, reports, single, flags, out);
}

async function save(
  dir: string,
  reports: readonly MetricsReport[],
  single: boolean,
  flags: MetricsFlags,
  out: Output,
): Promise<void> {
  const name = (flags.output ?? (single ? reports[0]!.lifetime.runId : "ll_metrics")).replaceAll(" ", "_");
  const write = (suffix: string, content: string): void => {
    writeWhole(join(flags.outputDir, name + suffix), content);
    out.note(`wrote ${join(flags.outputDir, name + suffix)}`);
  };
  const documents = reports.map((report) => metricsDocument(report));
  if (flags.save) {
    write(
      single ? "_metrics.json" : ".json",
      `${JSON.stringify(single ? documents[0] : documents, null, 2)}\n`,
    );
    if (!single) write(".tsv", lifetimeTable(reports));
    write("_regime.tsv", regimeTable(reports));
  }
  if (flags.saveSettings) {
    const settings = { log_dir: dir, ...metricsSettings(reports[0]!.lifetime.options) };
    write("_settings.json", `${JSON.stringify(settings, null, 2)}\n`);
  }
  if (flags.plot && flags.save) {
    // the chart library is half of a command's start
    const { reportPage } = await import("../report/page.ts");
    const page = reportPage([{ name: basename(dir), reports }], {
      title: name,
      plots: flags.plotTypes ?? ["all"],
      showEvalLines: flags.showEvalLines,
    });
    write(".html", page);
  }
}

/** `report`: one page over several agents. */
export function registerReport(parent: Command): void {
  const command = parent
    .command("report")
    .description("one page that compares agents: curves, transfer, metrics with intervals")
    .argument("<dirs...>", "folders of lifetimes, one an agent; <name>=<dir> names it")
    .option("-O, --output <file>", "page", "report.html")
    .option("--title <text>", "title of the page")
    .option("--detailed <n>", "lifetimes shown in full per agent", Number, 3);
  interface Flags {
    readonly output: string;
    readonly title?: string;
    readonly detailed: number;
    readonly repair?: Repair[];
    readonly steDir?: string;
    readonly json?: boolean;
  }
  withJson(withMetricsOptions(withReadOptions(command))).action(async (dirs: string[], flags: Flags) => {
    const out = outputOf(flags);
    const metrics = metricsOptionsOf(flags as unknown as Record<string, unknown>);
    const { repair = [], steDir, title } = flags;
    const groups = dirs.map((argument) => {
      const [name, dir] = /^[^/=]+=/.test(argument) ? splitOnce(argument) : [basename(argument), argument];
      const reports = measure(dir, {
        metrics,
        repair,
        recursive: true,
        onWarning: out.note,
        ...(steDir === undefined ? {} : { steDir }),
      });
      return { name, reports };
    });
    const summaries = groups.map((group) => summarizeGroup(group.name, group.reports));
    const { reportPage } = await import("../report/page.ts");
    writeWhole(
      flags.output,
      reportPage(groups, { ...(title === undefined ? {} : { title }), detailed: flags.detailed }),
    );
    out.text(groupTable(summaries));
    out.result(summaries);
    out.note(`wrote ${flags.output}`);
  });
}

/** `aggregate`: one table of a log folder. */
export function registerAggregate(parent: Command): void {
  withReadOptions(
    parent
      .command("aggregate")
      .description("one table of all complete experiences of a log folder")
      .argument("<dir>", "log folder")
      .addOption(
        new Option("-f, --format <format>", "file format").choices(["tsv", "csv", "json"]).default("tsv"),
      )
      .option("-o, --output <name>", "file name without ending; - prints", "data"),
  ).action(
    (
      dir: string,
      flags: { format: AggregateFormat; output: string; recursive?: boolean; repair?: Repair[] },
    ) => {
      const out = outputOf({});
      for (const log of logsIn(dir, { ...flags, onWarning: out.note })) {
        const text = aggregateLog(log, flags.format);
        if (flags.output === "-") process.stdout.write(text);
        else {
          const file = `${flags.recursive === true ? `${flags.output}-${log.runId}` : flags.output}.${flags.format}`;
          writeWhole(file, text);
          out.note(`wrote ${file}: ${log.table.rows} experiences`);
        }
      }
    },
  );
}

/** `ste`: what is in the expert store. */
export function registerSte(parent: Command): void {
  const ste = parent.command("ste").description("stored runs of single-task experts");
  withJson(
    ste.command("list").description("stored tasks").option("--ste-dir <dir>", "folder of expert runs"),
  ).action((flags: { steDir?: string; json?: boolean }) => {
    const out = outputOf(flags);
    const store = new SteStore(flags.steDir);
    const tasks = store.tasks().map((task) => ({ task, runs: store.load(task).map((run) => run.source) }));
    for (const { task, runs } of tasks) out.text(`${task}: ${runs.join(", ")}`);
    out.result({ dir: store.dir, tasks });
  });
  withJson(
    ste.command("clear").description("delete all of them").option("--ste-dir <dir>", "folder of expert runs"),
  ).action((flags: { steDir?: string; json?: boolean }) => {
    const out = outputOf(flags);
    const store = new SteStore(flags.steDir);
    const deleted = store.clear();
    out.text(`deleted ${deleted} tasks from ${store.dir}`);
    out.result({ dir: store.dir, deleted });
  });
}

function splitOnce(text: string): [string, string] {
  const at = text.indexOf("=");
  return [text.slice(0, at), text.slice(at + 1)];
}
