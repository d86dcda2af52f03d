// A worker of the MAD commands: one thread of the CPU device, runs as they come.

import { parentPort } from "node:worker_threads";
import { cpu } from "@everlong/device-cpu";
import { serveRuns } from "@everlong/mad";

cpu.setThreads(1);
serveRuns(parentPort!);
