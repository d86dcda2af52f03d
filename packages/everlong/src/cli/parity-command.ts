// The `parity` command: one line a case, non-zero exit on a failure or an unsupported class.

import type { Command } from "commander";
import { runParity, type CaseReport, type ParityOptions } from "../parity/run.ts";

/** Seconds after which a case is named while it runs. */
const SLOW_CASE = 10;

const number = (x: number): string => (Number.isFinite(x) ? x.toExponential(1) : "inf");

function line(r: CaseReport): string {
  const head = `${r.status.padEnd(11)} ${r.case.padEnd(34)}`;
  if (r.status === "unsupported") return `${head} ${r.note ?? ""}`;
  const limit = typeof r.tolerance === "number" ? number(r.tolerance) : String(r.tolerance ?? "-");
  return `${head} ${number(r.error).padStart(8)} of ${limit.padStart(7)}  ${r.tensor}${r.note ? `  (${r.note})` : ""}`;
}

/** Says on the error stream which case is still under way, and for how long. */
function watchCases(): { readonly begin: (name: string) => void; readonly end: () => void } {
  let [name, since] = ["", performance.now()];
  const timer = setInterval(() => {
    const seconds = Math.round((performance.now() - since) / 1000);
    if (name && seconds >= SLOW_CASE) console.error(`still at ${name} after ${seconds} s`);
  }, SLOW_CASE * 1000);
  return {
    begin: (next) => {
      name = next;
      since = performance.now();
    },
    end: () => clearInterval(timer),
  };
}

export function registerParity(program: Command): void {
  program
    .command("parity")
    .description(
      "repeat numeric cases of the original implementations and compare; `--device reference` computes in float64 against the float64 tolerances",
    )
    .argument("<folder>", "folder of <case>.json and <case>.safetensors")
    .option("--only <glob>", "only cases whose name matches; separate several with commas", "*")
    .option("--json", "one JSON line a case, then a summary line")
    .option("--allow-unsupported", "classes that are not built do not fail the run")
    .action(async (folder: string, given: ParityOptions, command: Command) => {
      const options = { ...given, device: command.optsWithGlobals<{ device: string }>().device };
      const watch = watchCases();
      const summary = await runParity(
        folder,
        options,
        (r) => {
          const { note: _note, ...fields } = r;
          const finite = Number.isFinite(r.error) ? fields : { ...fields, error: null };
          console.log(options.json ? JSON.stringify(finite) : line(r));
        },
        watch.begin,
      ).finally(watch.end);
      console.log(
        options.json
          ? JSON.stringify(summary)
          : `${summary.passed} passed, ${summary.failed} failed, ${summary.unsupported} unsupported`,
      );
      if (summary.failed > 0 || (summary.unsupported > 0 && !options.allowUnsupported)) process.exitCode = 1;
    });
}
