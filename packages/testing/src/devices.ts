// Devices under test, and the switches that a device may offer to tests.

import { deviceNames, setStrict, withDevice, type Device } from "@everlong/core";

/** Switches that a device may have; the checks that need one are skipped on devices without it. */
export interface TestHooks {
  /** Fills fresh memory with NaN, so that reading what nobody wrote shows. */
  setPoison?(on: boolean): void;
  /** Number of threads of later work. */
  setThreads?(threads: number): void;
}

/** The switches of a device; one whose heap has a `poison` field is switched through that. */
export function hooksOf(device: Device): TestHooks {
  const given = device as Device & TestHooks & { readonly heap?: { poison?: boolean } };
  const { heap } = given;
  return {
    ...(given.setThreads ? { setThreads: (n: number) => given.setThreads!(n) } : {}),
    ...(given.setPoison ? { setPoison: (on: boolean) => given.setPoison!(on) } : {}),
    ...(typeof heap?.poison === "boolean" ? { setPoison: (on: boolean) => void (heap.poison = on) } : {}),
  };
}

/** Devices that every check runs on when they are registered; a missing one is reported as skipped. */
export const EXPECTED_DEVICES: readonly string[] = ["cpu"];

/** All registered devices but the reference, and those expected though missing. */
export function devicesUnderTest(): { readonly name: string; readonly present: boolean }[] {
  const registered = deviceNames().filter((name) => name !== "reference");
  const names = [...new Set([...registered, ...EXPECTED_DEVICES])];
  return names.map((name) => ({ name, present: registered.includes(name) }));
}

/** Runs `fn` with a default device in strict mode: a step without a kernel is an error. */
export async function strictly<R>(device: Device, strict: boolean, fn: () => Promise<R>): Promise<R> {
  setStrict(strict);
  try {
    return await withDevice(device, fn);
  } finally {
    setStrict(false);
  }
}
