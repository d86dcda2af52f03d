// The command tree: every package registers its own commands.

import { readFileSync } from "node:fs";
import { Worker } from "node:worker_threads";
import { ConfigError, defaultDevice, setDefaultDevice } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import "@everlong/device-cuda";
import { registerLabel } from "@everlong/labels";
import { registerLifelong } from "@everlong/lifelong";
import { registerMad, type MadHost } from "@everlong/mad";
import { Command, Option } from "commander";
import { registerBench } from "./bench-command.ts";
import { registerDevices } from "./devices-command.ts";
import { registerParity } from "./parity-command.ts";

const here = import.meta.url;
const workerFile = new URL(here.endsWith(".ts") ? "./mad-worker.ts" : "./mad-worker.js", here);

const madHost: MadHost = {
  startWorker: (threads = 1) => {
    const { wide } = cpu.state();
    return new Worker(workerFile, { workerData: { device: defaultDevice().name, threads, wide } });
  },
  environment: () => {
    const { wide, engine } = cpu.state();
    return { device: defaultDevice().name, engine, "256-bit pairing": wide ? "on" : "off" };
  },
};

const version = (): string => {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(text) as { version: string }).version;
};

function threadCount(text: string): number {
  const n = Number(text);
  if (!Number.isSafeInteger(n) || n < 1)
    throw new ConfigError("everlong", "--threads has a wrong value", {
      expected: "a whole number of at least 1",
      got: `"${text}"`,
    });
  return n;
}

export function makeProgram(): Command {
  const program = new Command("everlong")
    .description("Deep learning for long sequences in TypeScript")
    .version(version())
    .addOption(
      new Option("--device <name>", "device to compute on")
        .choices(["cpu", "cuda", "reference"])
        .default("cpu"),
    )
    .option("--threads <n>", "threads of the CPU device (default: all cores)", threadCount)
    .option("--narrow", "leave V8's 256-bit pairing off")
    .showHelpAfterError("Add --help to see what there is.");
  program.hook("preAction", (_, command) => {
    const { device, threads, narrow } = program.opts<{
      device: string;
      threads?: number;
      narrow?: boolean;
    }>();
    // That command tells of devices that cannot be opened, this one too.
    if (device !== "cpu" && command.name() !== "devices") setDefaultDevice(device);
    if (threads !== undefined) cpu.setThreads(threads);
    if (!narrow) cpu.enableWide();
  });
  registerMad(program, madHost);
  registerLabel(program);
  registerLifelong(program);
  registerParity(program);
  registerBench(program);
  registerDevices(program);
  return program;
}
