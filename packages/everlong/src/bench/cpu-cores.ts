// On which cores a case runs. The cores of a shared machine are not alike, and one may slow down for minutes: all sides of a
// one-thread case run on the same one, the idlest when the case begins.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const LOOK_MS = 100;

const taskset = (...args: string[]): string =>
  spawnSync("taskset", [...args, String(process.pid)], { encoding: "utf8" }).stdout ?? "";

/** The cores this process began with, as a list such as `0-3,6`; empty where nothing can tell or change them. */
let all: string | undefined;

/** Puts this process, and those it starts from now on, on its idlest core or, for several threads, on all of its cores. */
export function useCores(threads: number): void {
  if (process.platform !== "linux") return;
  all ??= /: ([\d,-]+)\s*$/.exec(taskset("-c", "-p"))?.[1] ?? "";
  if (all !== "") taskset("-a", "-c", "-p", threads > 1 ? all : String(idlest(numbers(all))));
}

const numbers = (list: string): number[] =>
  list.split(",").flatMap((part) => {
    const [from, to = from] = part.split("-").map(Number) as [number, number?];
    return Array.from({ length: to - from + 1 }, (_, i) => from + i);
  });

function idlest(cores: readonly number[]): number {
  if (cores.length === 1) return cores[0]!;
  const before = idleTicks();
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, LOOK_MS);
  const after = idleTicks();
  const idle = (core: number): number => (after.get(core) ?? 0) - (before.get(core) ?? 0);
  return cores.reduce((best, core) => (idle(core) > idle(best) ? core : best));
}

/** Ticks that each core spent idle since the machine started. */
const idleTicks = (): Map<number, number> =>
  new Map(
    [...readFileSync("/proc/stat", "utf8").matchAll(/^cpu(\d+) \d+ \d+ \d+ (\d+)/gm)].map((m) => [
      Number(m[1]),
      Number(m[2]),
    ]),
  );
