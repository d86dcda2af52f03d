// A worker of the MAD commands: one compute thread, runs as they come.

import { parentPort, workerData } from "node:worker_threads";
import { setDefaultDevice } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import "@everlong/device-cuda";
import { serveRuns } from "@everlong/mad";

const { device } = workerData as { device: string };
if (device === "cpu") cpu.setThreads(1);
else setDefaultDevice(device);
serveRuns(parentPort!);
