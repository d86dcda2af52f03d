// A worker of the MAD commands: runs as they come, on the threads that it was given.

import { parentPort, workerData } from "node:worker_threads";
import { setDefaultDevice } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import "@everlong/device-cuda";
import { serveRuns } from "@everlong/mad";

const { device, threads, wide } = workerData as { device: string; threads: number; wide: boolean };
if (device === "cpu") {
  cpu.setThreads(threads);
  if (wide) cpu.enableWide();
} else setDefaultDevice(device);
serveRuns(parentPort!);
