// Lifetimes in processes of their own: they share nothing, so they run as fast as there are cores.

import { type ChildProcess, fork } from "node:child_process";
import { EverlongError } from "@everlong/core";
import { type DeviceChoice, deviceChoice } from "./device.ts";
import type { ExperimentEvent, ExperimentPlan } from "./experiment.ts";
import type { LifetimeSeeds } from "./seeds.ts";

/** To a worker: one lifetime to run. Seeds are decimal text, since messages are JSON. */
export interface WorkerJob {
  readonly plan: ExperimentPlan;
  readonly device: DeviceChoice;
  readonly seeds: { readonly lifetime: number; readonly agent: string; readonly curriculum: string };
}

/** From a worker. */
export type WorkerMessage =
  | { readonly type: "events"; readonly events: readonly ExperimentEvent[] }
  | { readonly type: "done"; readonly dir: string }
  | { readonly type: "failed"; readonly message: string };

/** Runs lifetimes in `processes` processes at a time; the first failure stops all. */
export async function runInProcesses(
  plan: ExperimentPlan,
  seeds: readonly LifetimeSeeds[],
  processes: number,
  emit: (event: ExperimentEvent) => void,
): Promise<string[]> {
  const dirs: string[] = seeds.map(() => "");
  const running = new Set<ChildProcess>();
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < seeds.length) {
      const i = next++;
      dirs[i] = await runInProcess(plan, seeds[i]!, emit, running);
    }
  };
  try {
    await Promise.all(Array.from({ length: Math.min(processes, seeds.length) }, lane));
  } catch (error) {
    next = seeds.length;
    for (const child of running) child.kill();
    throw error;
  }
  return dirs;
}

function runInProcess(
  plan: ExperimentPlan,
  seeds: LifetimeSeeds,
  emit: (event: ExperimentEvent) => void,
  running: Set<ChildProcess>,
): Promise<string> {
  const own = import.meta.url;
  const child = fork(new URL(own.endsWith(".ts") ? "./worker.ts" : "./worker.js", own));
  running.add(child);
  const job: WorkerJob = {
    plan,
    device: deviceChoice(),
    seeds: { lifetime: seeds.lifetime, agent: String(seeds.agent), curriculum: String(seeds.curriculum) },
  };
  return new Promise((resolve, reject) => {
    const fail = (message: string): void =>
      reject(new EverlongError("run", `lifetime ${seeds.lifetime} failed: ${message.replace(/\.$/, "")}`));
    child.on("message", (message: WorkerMessage) => {
      if (message.type === "events") for (const event of message.events) emit(event);
      else if (message.type === "done") resolve(message.dir);
      else fail(message.message);
    });
    child.on("error", (error) => fail(error.message));
    child.on("exit", (code, signal) => {
      running.delete(child);
      // settled already after "done" or "failed"
      fail(signal === null ? `its process ended with code ${code}` : `its process was ended by ${signal}`);
    });
    child.send(job);
  });
}
