// What the command line needs from the program that mounts it.

import type { Worker } from "node:worker_threads";

export interface MadHost {
  /** Starts a worker that registers a device and calls `serveRuns`. */
  readonly startWorker: () => Worker;
  /** Facts about engine and device for reports. */
  readonly environment: () => Readonly<Record<string, string>>;
}
