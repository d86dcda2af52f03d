// The device of a lifetime's process is the one of the process that started it.

import { device, deviceNames, defaultDevice, setDefaultDevice } from "@everlong/core";

/** A device by name, with the settings that a process of its own must repeat. */
export interface DeviceChoice {
  readonly name: string;
  readonly wide: boolean;
}

/** What a device with threads and vector widths offers; the CPU's does. */
interface Tunable {
  setThreads?(threads: number): void;
  enableWide?(): boolean;
  state?(): { readonly wide: boolean };
}

/** The default device of this process. */
export function deviceChoice(): DeviceChoice {
  const current = defaultDevice();
  return { name: current.name, wide: (current as Tunable).state?.().wide ?? false };
}

/** Opens the chosen device in a lifetime's process: on one thread, since lifetimes run beside each other. */
export async function useDevice({ name, wide }: DeviceChoice): Promise<void> {
  // devices live in packages of their own, which this package does not know at compile time
  if (!deviceNames().includes(name)) await import(`@everlong/device-${name}`);
  setDefaultDevice(name);
  const tunable = device(name) as Tunable;
  tunable.setThreads?.(1);
  if (wide) tunable.enableWide?.();
}
