// The `bench` command.

import { createInterface } from "node:readline";
import { ConfigError } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { labelSuite } from "@everlong/labels/bench";
import type { Command } from "commander";
import { cpuSuite } from "../bench/cpu-suite.ts";
import { cudaSuite } from "../bench/cuda-suite.ts";
import { operatorsSuite } from "../bench/operators-suite.ts";
import { runSuite, serveSuite, type BenchReport } from "../bench/run.ts";
import type { Machine, Suite } from "../bench/suite.ts";
import { sweepSuite } from "../bench/sweep.ts";

const SUITES: readonly Suite[] = [cpuSuite, cudaSuite, operatorsSuite, sweepSuite, labelSuite];

function findSuite(name: string): Suite {
  const found = SUITES.find((s) => s.name === name);
  if (found) return found;
  throw new ConfigError("bench", `unknown suite "${name}"`, {
    expected: SUITES.map((s) => s.name).join(", "),
  });
}

/** Three digits that count, and all in front of the point. */
export function figure(x: number): string {
  if (x === 0) return "0";
  return x.toFixed(Math.min(8, Math.max(0, 2 - Math.floor(Math.log10(Math.abs(x))))));
}

/** How many times better ours is; more is better whatever the unit. */
function ratio(unit: string, ours: number, peer: number): string {
  const better = unit.endsWith("FLOP/s") ? ours / peer : peer / ours;
  return `${better.toFixed(2)}x`;
}

/** The line of a case. */
export function line(r: BenchReport): string {
  const head = r.case.padEnd(38);
  if (r.failed !== undefined) return `${head} FAILED: ${r.failed}`;
  if (r.ours === null) return `${head} WRONG: relative error ${r.error.toExponential(1)}, no figures`;
  const beside = (name: string, v: number): string => {
    const most = r.most?.[name];
    return most === undefined
      ? ratio(r.unit, r.ours!, v)
      : `ours is ${(r.ours! / v).toFixed(2)} of it, to be at most ${most}`;
  };
  const peers = Object.entries(r.peers).map(([name, v]) =>
    typeof v === "number" ? `${name} ${figure(v)} (${beside(name, v)})` : `${name}: peer missing (${v})`,
  );
  const limit = r.limit === null ? [] : [`limit ${figure(r.limit)}`];
  return `${head} ${figure(r.ours).padStart(7)} ${r.unit}  ${[...limit, ...peers].join(" · ")}`;
}

/** A missing peer is null in JSON; the reason stands in the text form. */
const withNumbers = (r: BenchReport): object => ({
  ...r,
  peers: Object.fromEntries(Object.entries(r.peers).map(([n, v]) => [n, typeof v === "number" ? v : null])),
});

const known = (x: number | undefined): string => (x === undefined ? "unknown" : `${x.toFixed(0)} GFLOP/s`);
const machineLine = (m: Machine): string =>
  `one core: ${known(m.peak256)} at 256 bits, ${known(m.peak128)} at 128; two threads do ${m.cores.toFixed(2)} cores' work` +
  (m.cores < 1.7 ? " (two-thread figures are void)" : "");

interface BenchOptions {
  readonly json?: boolean;
  readonly only?: string;
  readonly requirePeers?: boolean;
  readonly serve?: boolean;
}

export function registerBench(program: Command): void {
  program
    .command("bench")
    .description("time kernels and training steps beside peers; correctness is checked first")
    .argument("<suite>", SUITES.map((s) => `${s.name}: ${s.describe}`).join("; "))
    .option("--only <text>", "only cases whose name contains this")
    .option("--json", "one JSON line a case")
    .option("--require-peers", "a missing peer fails the run")
    .option("--serve", "answer lines for a bench in another process")
    .action(async (name: string, options: BenchOptions) => {
      const suite = findSuite(name);
      if (options.serve) {
        await serveSuite(suite, createInterface({ input: process.stdin }), (text) => console.log(text));
        return;
      }
      const { wide, engine } = cpu.state();
      if (!options.json)
        console.log(`${engine}, 256-bit pairing ${wide ? "on" : "off"}; medians of interleaved runs`);
      const machine = await runSuite(suite, options, (r) => {
        console.log(options.json ? JSON.stringify(withNumbers(r)) : line(r));
        const missing = Object.values(r.peers).some((v) => typeof v === "string");
        if (r.ours === null || (options.requirePeers && missing)) process.exitCode = 1;
      });
      if (!options.json) console.log(machineLine(machine));
    });
}
