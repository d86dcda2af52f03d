// `mad score`: scores of what a results folder holds.

import { ConfigError } from "@everlong/core";
import { writeWhole } from "@everlong/data";
import type { Command } from "commander";
import { findFigure, scoreArchitectures, SCORE_FIGURES } from "../benchmark/scores.ts";
import { ResultStore } from "../benchmark/store.ts";
import { findSuite, selectSettings } from "../benchmark/suites.ts";
import { runsCsv, scoreTable } from "../report/score-table.ts";

interface ScoreOptions {
  readonly store: string;
  readonly suite?: string;
  readonly settings?: readonly string[];
  readonly figure?: string;
  readonly csv?: string;
  readonly json?: boolean;
}

export function registerScore(mad: Command): void {
  mad
    .command("score")
    .description("scores of finished settings: best of each sweep, mean of settings, mean of tasks")
    .option("--store <folder>", "folder of results", "mad-results")
    .option("--suite <name>", "count only this suite's settings, and say which are missing")
    .option("--settings <patterns...>", "count only these settings")
    .option(
      "--figure <name>",
      `of tasks: ${Object.keys(SCORE_FIGURES).join(", ")} (default: the first known of all)`,
    )
    .option("--csv <file>", "write a line per run")
    .option("--json", "as JSON")
    .action((o: ScoreOptions) => {
      const figure = o.figure === undefined ? undefined : findFigure("mad score", o.figure);
      const results = new ResultStore(o.store).all();
      if (results.length === 0) {
        throw new ConfigError("mad score", `${o.store} holds no results`, { hint: "Run `mad sweep` first." });
      }
      const known = [...new Map(results.map((r) => [r.setting, { id: r.setting }])).values()];
      const suite = o.suite === undefined ? undefined : findSuite(o.suite).settings;
      const wanted = selectSettings<{ readonly id: string }>(suite ?? known, o.settings ?? []);
      const scores = scoreArchitectures(results, wanted);
      if (o.csv !== undefined) writeWhole(o.csv, runsCsv(scores));
      const short = scores.map(({ results: _results, ...score }) => score);
      console.log(o.json ? JSON.stringify(short) : scoreTable(scores, figure));
    });
}
