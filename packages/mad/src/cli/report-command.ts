// `mad report`: the page of a results folder.

import { basename } from "node:path";
import { ConfigError } from "@everlong/core";
import { writeWhole } from "@everlong/data";
import type { Command } from "commander";
import { findFigure, SCORE_FIGURES } from "../benchmark/scores.ts";
import { ResultStore } from "../benchmark/store.ts";
import { findSuite, selectSettings } from "../benchmark/suites.ts";
import { benchmarkPage } from "../report/benchmark-page.ts";
import { commandLine, optionWords } from "./command-line.ts";
import type { MadHost } from "./host.ts";

interface ReportOptions {
  readonly store: string;
  readonly out: string;
  readonly compare?: readonly string[];
  readonly suite?: string;
  readonly settings?: readonly string[];
  readonly architectures?: readonly string[];
  readonly figure?: string;
  readonly title: string;
  readonly json?: boolean;
}

export function registerReport(mad: Command, host: MadHost): void {
  mad
    .command("report")
    .description("a self-contained page of finished settings: scores, difficulty, cost, every run")
    .option("--store <folder>", "folder of results", "mad-results")
    .option("--out <file>", "the page", "report.html")
    .option("--compare <folders...>", "folders of results to compare with")
    .option("--suite <name>", "only this suite's settings")
    .option("--settings <patterns...>", "only these settings")
    .option("--architectures <names...>", "only these")
    .option(
      "--figure <name>",
      `of charts: ${Object.keys(SCORE_FIGURES).join(", ")} (default: the first known of all)`,
    )
    .option("--title <text>", "heading", "MAD report")
    .option("--json", "print what was written as JSON")
    .action((o: ReportOptions) => {
      const suite = o.suite === undefined ? undefined : findSuite(o.suite).settings;
      const chosen = (folder: string): ReturnType<ResultStore["all"]> => {
        const all = new ResultStore(folder).all();
        const known: readonly { readonly id: string }[] = suite ?? [
          ...new Map(all.map((r) => [r.setting, { id: r.setting }])).values(),
        ];
        const ids = new Set(selectSettings(known, o.settings ?? []).map((s) => s.id));
        return all.filter(
          (r) =>
            ids.has(r.setting) &&
            (o.architectures?.some((a) => a === r.architecture || a === r.shorthand) ?? true),
        );
      };
      const results = chosen(o.store);
      if (results.length === 0) {
        throw new ConfigError("mad report", `${o.store} holds no such results`, {
          hint: "Run `mad sweep` first, or choose others.",
        });
      }
      const words = ["store", "compare", "suite", "settings", "architectures", "figure"] as const;
      const page = benchmarkPage(results, {
        title: o.title,
        command: commandLine(["report", ...words.flatMap((name) => optionWords(name, o[name]))], {}),
        environment: {
          ...host.environment(),
          settings: `${results.length}`,
          newest: results.at(-1)!.finished.slice(0, 16).replace("T", " "),
        },
        ...(o.figure === undefined ? {} : { figure: findFigure("mad report", o.figure) }),
        compare: (o.compare ?? []).map((folder) => ({ name: basename(folder), results: chosen(folder) })),
      });
      writeWhole(o.out, page);
      const facts = { out: o.out, results: results.length, bytes: Buffer.byteLength(page) };
      console.log(
        o.json ? JSON.stringify(facts) : `${o.out}: ${facts.results} settings, ${facts.bytes} bytes`,
      );
    });
}
