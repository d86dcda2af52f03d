// `mad fit` and `mad correlate`: scaling laws and rank correlations of tables of runs.

import { ConfigError } from "@everlong/core";
import type { Command } from "commander";
import { fitIsoFlop, type IsoFlopFit } from "../analysis/iso-flop.ts";
import { computeOptimal, fitParametric, lawOf, type ParametricFit } from "../analysis/parametric.ts";
import { rankCorrelation } from "../analysis/rank.ts";
import type { Estimate } from "../analysis/resample.ts";
import { findColumn, numbersOf, readTable, type Row } from "../analysis/runs-table.ts";
import { alignedTable } from "../report/score-table.ts";

const figure = (x: number): string =>
  !Number.isFinite(x)
    ? "?"
    : Math.abs(x) >= 1e5 || Math.abs(x) < 1e-3
      ? x.toExponential(3)
      : x.toPrecision(4);
const estimate = (name: string, { value, low, high }: Estimate): string[] => [
  name,
  figure(value),
  figure(low),
  figure(high),
];
const HEAD = ["", "value", "low", "high"];

function numberOption(name: string, text: string, low: number): number {
  const n = Number(text);
  if (text.trim() !== "" && Number.isFinite(n) && n >= low) return n;
  throw new ConfigError("mad fit", `--${name} must be a number of at least ${low}`, { got: text });
}

interface FitOptions {
  readonly size: string;
  readonly budgets?: readonly string[];
  readonly resamples: string;
  readonly seed: string;
  readonly json?: boolean;
}

interface FamilyFit {
  readonly group: string;
  readonly parametric?: ParametricFit;
  readonly isoFlop?: IsoFlopFit;
  readonly optima?: readonly object[];
  /** Why a fit is missing. */
  readonly notes: readonly string[];
}

/** What a fit gave, or why it could not be made. */
function attempt<T>(fit: () => T, notes: string[]): T | undefined {
  try {
    return fit();
  } catch (error) {
    notes.push((error as Error).message);
    return undefined;
  }
}

function fitFamily(group: string, rows: readonly Row[], o: FitOptions): FamilyFit {
  const notes: string[] = [];
  const options = {
    resamples: numberOption("resamples", o.resamples, 10),
    seed: numberOption("seed", o.seed, 0),
  };
  const size = numbersOf(rows, o.size);
  const loss = numbersOf(rows, "loss");
  const hasTokens = findColumn(rows, "tokens") !== undefined;
  const tokens = hasTokens ? numbersOf(rows, "tokens") : undefined;
  const flops =
    findColumn(rows, "flops") !== undefined
      ? numbersOf(rows, "flops")
      : tokens && findColumn(rows, "parameters") !== undefined
        ? numbersOf(rows, "parameters").map((n, i) => 6 * n * tokens[i]!)
        : undefined;
  const parametric = tokens
    ? attempt(() => fitParametric({ size, tokens, loss }, options), notes)
    : undefined;
  const isoFlop = flops ? attempt(() => fitIsoFlop({ size, flops, loss }, options), notes) : undefined;
  if (!tokens) notes.push('no parametric law: the table has no column "tokens"');
  if (!flops) notes.push('no iso-FLOP profiles: the table has neither "flops" nor parameters and tokens');
  const budgets = (o.budgets ?? []).map((b) => numberOption("budgets", b, 1));
  const optima =
    parametric && o.size === "parameters"
      ? budgets.map((b) => ({ flops: b, ...computeOptimal(lawOf(parametric), b) }))
      : [];
  return {
    group,
    notes,
    optima,
    ...(parametric ? { parametric } : {}),
    ...(isoFlop ? { isoFlop } : {}),
  };
}

function familyText(f: FamilyFit, size: string): string {
  const parts = f.group === "" ? [] : [`${f.group}\n`];
  if (f.parametric) {
    const { law, sizeExponent, dataExponent, rms, runs } = f.parametric;
    const rows = Object.entries(law).map(([name, e]) => estimate(name, e));
    const exponents =
      size === "parameters" ? [estimate("N ~ C^", sizeExponent), estimate("D ~ C^", dataExponent)] : [];
    parts.push(
      `loss = E + A / ${size}^alpha + B / tokens^beta, ${runs} runs, rms of log loss ${rms.toExponential(1)}`,
      alignedTable(HEAD, [...rows, ...exponents]),
    );
  }
  if (f.isoFlop) {
    const { exponent, k, profiles, dropped } = f.isoFlop;
    parts.push(
      `\nbest ${size} = k flops^exponent over ${profiles.length} budgets`,
      alignedTable(HEAD, [estimate("exponent", exponent), estimate("k", k)]),
      alignedTable(
        ["budget", `best ${size}`, "loss", "runs", ""],
        profiles.map((p) => [
          figure(p.flops),
          figure(p.bestSize),
          figure(p.bestLoss),
          `${p.runs}`,
          p.inside ? "" : "outside the sizes run",
        ]),
      ),
      ...dropped.map((d) => `left out ${figure(d.flops)} flops: ${d.why}`),
    );
  }
  const optima = (f.optima ?? []) as { flops: number; size: number; tokens: number; loss: number }[];
  if (optima.length > 0) {
    parts.push(
      alignedTable(
        ["flops", "parameters", "tokens", "loss"],
        optima.map((o) => [o.flops, o.size, o.tokens, o.loss].map(figure)),
      ),
    );
  }
  return [...parts, ...f.notes].join("\n");
}

/** Rows by their "group" column; one group where there is none. */
function families(rows: readonly Row[]): Map<string, Row[]> {
  const column = findColumn(rows, "group");
  const found = new Map<string, Row[]>();
  for (const row of rows) {
    const value = column === undefined ? "" : row[column];
    const group = typeof value === "string" || typeof value === "number" ? `${value}` : "";
    const mine = found.get(group);
    if (mine) mine.push(row);
    else found.set(group, [row]);
  }
  return found;
}

interface CorrelateOptions {
  readonly x: string;
  readonly y: string;
  readonly seed: string;
  readonly json?: boolean;
}

export function registerAnalysis(mad: Command): void {
  mad
    .command("fit")
    .description(
      "scaling laws of a table of runs (CSV or JSON): parametric and iso-FLOP, with 90 % intervals",
    )
    .argument("<table>", "columns loss, parameters or state, tokens, flops; one family per architecture")
    .option("--size <column>", "parameters (compute-optimal) or state (state-optimal)", "parameters")
    .option("--budgets <flops...>", "print the optimal size and data for these")
    .option("--resamples <n>", "of the bootstrap", "500")
    .option("--seed <n>", "of the bootstrap", "0")
    .option("--json", "as JSON")
    .action((table: string, o: FitOptions) => {
      const fits = [...families(readTable(table))].map(([group, rows]) => fitFamily(group, rows, o));
      console.log(o.json ? JSON.stringify(fits) : fits.map((f) => familyText(f, o.size)).join("\n\n"));
      if (fits.every((f) => !f.parametric && !f.isoFlop)) process.exitCode = 1;
    });
  mad
    .command("correlate")
    .description("rank correlation of two columns, MAD scores and losses say, with intervals and a test")
    .argument("<table>", "CSV or JSON, one row an architecture")
    .option("--x <column>", "one column", "score")
    .option("--y <column>", "the other", "loss")
    .option("--seed <n>", "of bootstrap and permutations", "0")
    .option("--json", "as JSON")
    .action((table: string, o: CorrelateOptions) => {
      const rows = readTable(table);
      const seed = numberOption("seed", o.seed, 0);
      const r = rankCorrelation(numbersOf(rows, o.x), numbersOf(rows, o.y), { seed });
      const text = alignedTable(HEAD, [estimate("Spearman", r.spearman), estimate("Kendall", r.kendall)]);
      console.log(
        o.json ? JSON.stringify(r) : `${text}\n${r.pairs} pairs, permutation p ${figure(r.pValue)}`,
      );
    });
}
