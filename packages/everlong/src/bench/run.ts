// Runs a suite: correctness first, then interleaved timings of ours and the peers.

import { ConfigError, defaultDevice, EverlongError, nearest, setStrict, withDevice } from "@everlong/core";
import { calibrate } from "./calibrate.ts";
import { isCheck, type BenchCase, type CheckCase, type Machine, type PeerRun, type Suite } from "./suite.ts";

/** The outcome of a case. */
export interface BenchReport {
  readonly suite: string;
  readonly case: string;
  readonly unit: string;
  /** Median in the unit; null when the result was wrong. */
  readonly ours: number | null;
  /** Median per peer, or why it is missing. */
  readonly peers: Readonly<Record<string, number | string>>;
  /** How many times a peer's figure ours should be at most, where it is not the same work. */
  readonly most?: Readonly<Record<string, number>>;
  readonly limit: number | null;
  /** Relative error of our result. */
  readonly error: number;
  /** Why the case could not run. */
  readonly failed?: string;
}

export interface BenchOptions {
  /** Only cases whose name contains this. */
  readonly only?: string;
  /** A missing peer is an error. */
  readonly requirePeers?: boolean;
}

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

async function timed(run: () => void | Promise<void>): Promise<number> {
  const began = performance.now();
  await run();
  return performance.now() - began;
}

/** Short work runs several times in a row and the last counts: the caches are its own, not those of whoever ran before. */
const BURST_MS = 30;
/** With several threads the system first has to spread them over the cores again: some 60 ms after others ran there. */
const SPREAD_MS = 200;

async function burst(once: () => Promise<number>, threads = 1): Promise<number> {
  let spent = 0;
  let last = 0;
  do {
    last = await once();
    spent += last;
  } while (spent < (threads > 1 ? SPREAD_MS : BURST_MS));
  return last;
}

async function runCase(suite: Suite, c: BenchCase, machine: Machine): Promise<BenchReport> {
  const { run, error: measureError, close } = await c.prepare();
  const started = new Map<string, PeerRun>();
  try {
    const toUnit = c.toUnit ?? ((ms: number): number => ms);
    const limit = c.limit?.(machine) ?? null;
    const error = await measureError();
    const bars = c.peers.flatMap((p) => (p.most === undefined ? [] : [[p.name, p.most] as const]));
    const most = bars.length > 0 ? { most: Object.fromEntries(bars) } : {};
    const base = { suite: suite.name, case: c.name, unit: c.unit, ...most, limit, error };
    if (!(error <= c.tolerance)) return { ...base, ours: null, peers: {} };
    suite.letGo?.();
    const peers: Record<string, number | string> = {};
    for (const peer of c.peers) {
      const made = await peer.prepare();
      if (typeof made === "string") peers[peer.name] = made;
      else started.set(peer.name, made);
    }
    const ours: number[] = [];
    const theirs = new Map<string, number[]>([...started.keys()].map((n) => [n, []]));
    const repeats = c.repeats ?? 15;
    // The engine compiles hot code in the background during the first runs.
    for (let i = 0; i < (c.warm ?? 3); i++) await run();
    for (let i = 0; i < repeats; i++) {
      ours.push(await burst(() => timed(run), c.threads));
      for (const [name, peer] of started) {
        try {
          theirs.get(name)!.push(await burst(() => peer.run(), c.threads));
        } catch (error) {
          // It costs its own figures only.
          peers[name] = error instanceof Error ? error.message : String(error);
          started.delete(name);
          await peer.close();
        }
      }
    }
    for (const name of started.keys()) peers[name] = toUnit(median(theirs.get(name)!));
    return { ...base, ours: toUnit(median(ours)), peers };
  } finally {
    for (const peer of started.values()) await peer.close();
    close?.();
  }
}

async function runCheck(suite: string, c: CheckCase): Promise<BenchReport> {
  const value = await c.measure();
  const limit = typeof c.bound === "number" ? c.bound : c.bound();
  return { suite, case: c.name, unit: c.unit, ours: value, peers: {}, limit, error: 0 };
}

/** A case that cannot run costs its own figures only. */
async function reported(suite: Suite, c: BenchCase | CheckCase, machine: Machine): Promise<BenchReport> {
  try {
    return isCheck(c) ? await runCheck(suite.name, c) : await runCase(suite, c, machine);
  } catch (error) {
    if (!(error instanceof EverlongError)) throw error;
    const failed = error.message;
    const none = { ours: null, peers: {}, limit: null, error: NaN };
    return { suite: suite.name, case: c.name, unit: c.unit, ...none, failed };
  }
}

/** Names the nearest case and the kinds there are: suites have many cases. */
function noCase(suite: Suite, only: string): ConfigError {
  const names = suite.cases().map((c) => c.name);
  // Up to the first word with a size in it.
  const kinds = [...new Set(names.map((n) => /^[^\s,]+(?:[ -][^\d\s,[(=]+(?=[\s,]|$))*/.exec(n)![0]))];
  const near = nearest(only, [...kinds, ...names]);
  return new ConfigError("bench", `no case of suite ${suite.name} has "${only}" in its name`, {
    hint: `${near ? `Did you mean "${near}"? ` : ""}Names begin with ${kinds.join("; ")}.`,
  });
}

/** Runs the cases of a suite in order on its device; `report` is called after each. Strict: a missing kernel is an error. */
export async function runSuite(
  suite: Suite,
  options: BenchOptions,
  report: (r: BenchReport) => void,
): Promise<Machine> {
  const { only } = options;
  const cases = suite.cases().filter((c) => !only || c.name.includes(only));
  if (cases.length === 0) throw noCase(suite, only!);
  return withDevice(suite.device ?? defaultDevice(), async () => {
    suite.begin?.();
    const machine = await calibrate();
    setStrict(true);
    try {
      for (const c of cases) {
        report(await reported(suite, c, machine));
        suite.letGo?.();
      }
    } finally {
      setStrict(false);
    }
    return machine;
  });
}

/** Answers "case" and "go" lines about one suite, for a process that interleaves us with others. */
export async function serveSuite(
  suite: Suite,
  lines: AsyncIterable<string>,
  answer: (text: string) => void,
): Promise<void> {
  setStrict(true);
  let run: (() => void | Promise<void>) | undefined;
  for await (const line of lines) {
    if (line === "go" && run) {
      answer(String(await timed(run)));
      continue;
    }
    const name = line.slice(0, line.lastIndexOf(" "));
    const found = [...suite.cases(), ...(suite.served?.() ?? [])].find((c) => c.name === name);
    if (!found || isCheck(found)) {
      answer(`no case "${name}"`);
      continue;
    }
    ({ run } = await found.prepare());
    for (let i = 0; i < 3; i++) await run();
    answer("ready");
  }
}
