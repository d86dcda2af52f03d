// What the command line needs from the program that mounts it.

import type { RunWorker } from "../train/pool.ts";

export interface MadHost {
  /** Starts a worker that registers a device and calls `serveRuns`; on a CPU it computes on `threads` (default 1). */
  readonly startWorker: (threads?: number) => RunWorker;
  /** Facts about engine and device for reports. */
  readonly environment: () => Readonly<Record<string, string>>;
}
