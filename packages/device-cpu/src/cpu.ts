// The process's CPU device and its controls.

import { device, registerDevice } from "@everlong/core";
import { CpuDevice, type CpuDeviceOptions, type CpuState } from "./device.ts";

/** A CPU device of its own, with its own heap and threads. Most programs want {@link cpu} and `device("cpu")`. */
export const cpuDevice = (options: CpuDeviceOptions = {}): CpuDevice => new CpuDevice(options);

/** Makes `device("cpu")` known; it opens at first use. */
export function registerCpu(): void {
  registerDevice("cpu", () => cpuDevice());
}

const shared = (): CpuDevice => device("cpu") as CpuDevice;

/** Controls of `device("cpu")`. */
export const cpu: {
  /** Number of threads, the main one included. Results do not depend on it. */
  readonly setThreads: (threads: number) => void;
  /** See {@link CpuDevice.enableWide}. */
  readonly enableWide: () => boolean;
  readonly state: () => CpuState;
} = {
  setThreads: (threads) => shared().setThreads(threads),
  enableWide: () => shared().enableWide(),
  state: () => shared().state(),
};
