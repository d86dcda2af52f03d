// Layout of the words through which threads meet, at the start of the shared memory. This file and worker.ts import nothing
// else, so that a worker starts fast and needs no resolution conditions.

/** Word indices. Each contended word has a cache line of its own. */
export const STATE = 64 as const;
export const NEXT = 80 as const;
export const SLEEPERS = 96 as const;
export const MAIL = 112 as const;
export const JOB_FUNCTION = 128 as const;
export const JOB_ARGS = 129 as const;
export const JOB_UNITS = 130 as const;
export const JOB_GRAIN = 131 as const;
export const JOB_SCRATCH = 132 as const;
export const JOB_SCRATCH_STRIDE = 133 as const;
/** Set to 1 by a worker that met an error. */
export const FAILED = 144 as const;
/** Set to 1 while the main thread sleeps until the job's workers are done. */
export const MAIN_SLEEPS = 160 as const;

/**
 * STATE = sequence * 256 + number of workers in the job. An odd sequence number is an open job. A worker joins by
 * compare-and-swap, so a worker that never wakes is never waited for.
 */
export const ACTIVE_MASK = 0xff as const;
export const SEQUENCE_STEP = 0x100 as const;

/** The signature of every kernel entry: `(args, begin, end, scratch)`, all i32. */
export type KernelEntry = (args: number, begin: number, end: number, scratch: number) => void;

/** The first message to a worker. */
export interface StartMessage {
  readonly kind: "start";
  readonly index: number;
  readonly memory: WebAssembly.Memory;
  readonly spins: number;
}

/** A compiled module and its entries, which take the ids `first`, `first + 1`, ... */
export interface ModuleMessage {
  readonly kind: "module";
  readonly module: WebAssembly.Module;
  readonly entries: readonly string[];
  readonly first: number;
  readonly mail: number;
}

export type WorkerMessage = StartMessage | ModuleMessage;
