// What a bench suite is made of.

/** One thing to time: returns when the work is done. Preparation happens before. */
export type Timed = () => void | Promise<void>;

/** Somebody else's implementation of the same work. */
export interface Peer {
  readonly name: string;
  /** How many times its figure ours should be at most, where it is not the same work. */
  readonly most?: number;
  /** Gets ready; returns a function that runs once and gives the milliseconds it measured itself, or why it cannot. */
  readonly prepare: () => Promise<PeerRun | string>;
}

export interface PeerRun {
  readonly run: () => Promise<number>;
  /** Lets go of all that the work holds. */
  readonly close: () => void | Promise<void>;
}

export interface BenchCase {
  readonly name: string;
  /** What the numbers are in; `less` says whether less is better. */
  readonly unit: string;
  /** Milliseconds of one run to the unit. Default: as they are. */
  readonly toUnit?: (ms: number) => number;
  readonly prepare: () => Promise<{
    readonly run: Timed;
    /** Relative error of the result against an independent computation. */
    readonly error: () => Promise<number>;
    readonly close?: () => void;
  }>;
  /** Largest error with which the figures count. */
  readonly tolerance: number;
  readonly peers: readonly Peer[];
  /** Best possible value in the unit, from measured peak or bandwidth. */
  readonly limit?: (machine: Machine) => number | undefined;
  /** Runs of each side. Default 15. */
  readonly repeats?: number;
  /** Runs of ours before that, for code that the engine compiles while it runs. Default 3. */
  readonly warm?: number;
  /** Threads that every side uses. Default 1. */
  readonly threads?: number;
}

/** Calibration of the machine in this run. */
export interface Machine {
  /** Peak of 256-bit and 128-bit fused multiply-adds of one core, GFLOP/s. */
  readonly peak256: number | undefined;
  readonly peak128: number | undefined;
  /** How many cores' worth of work two threads do at once, 1 to 2. */
  readonly cores: number;
}

/** A figure that is not a time: a count, bytes. Compared with a bound. */
export interface CheckCase {
  readonly name: string;
  readonly unit: string;
  readonly measure: () => Promise<number>;
  /** What the value must not exceed; a function is asked after measuring. */
  readonly bound: number | (() => number);
}

export interface Suite {
  readonly name: string;
  readonly describe: string;
  /** Where its tensors live. Default: the device in force. */
  readonly device?: string;
  readonly cases: () => readonly (BenchCase | CheckCase)[];
  /** Starts what takes long to start, beside the first case. */
  readonly begin?: () => void;
  /** Gives memory that nobody holds any more back to the machine, for the peers and for the next case. */
  readonly letGo?: () => void;
  /** Work that only other processes of a bench ask for. */
  readonly served?: () => readonly BenchCase[];
}

export const isCheck = (c: BenchCase | CheckCase): c is CheckCase => "measure" in c;
