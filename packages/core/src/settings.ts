// Process-wide switches: the default device, strict mode and the debug flags.

import type { Device } from "./device.ts";
import { ConfigError, DeviceError } from "./errors.ts";

export const DEBUG_FLAGS = ["plan", "kernels", "nan"] as const;
export type DebugFlag = (typeof DEBUG_FLAGS)[number];

const devices = new Map<string, () => Device>();
const opened = new Map<string, Device>();
let current: Device | undefined;
let strict = false;
let flags: Set<DebugFlag> | undefined;

/** Makes a device known by name; `open` runs at first use. */
export function registerDevice(name: string, open: () => Device): void {
  devices.set(name, open);
}

/** The device registered under `name` (`reference` always is). */
export function device(name: string): Device {
  const open = opened.get(name);
  if (open) return open;
  const make = devices.get(name);
  if (!make) {
    throw new DeviceError("device", "unknown device", {
      expected: `one of ${[...devices.keys()].join(", ")}`,
      got: `"${name}"`,
      hint: "Import the package that brings it: @everlong/device-cpu or @everlong/device-cuda.",
    });
  }
  const made = make();
  opened.set(name, made);
  return made;
}

/** Names of all registered devices. */
export const deviceNames = (): string[] => [...devices.keys()];

/** The device of new tensors: the last one set, else `cpu` when registered, else `reference`. */
export function defaultDevice(): Device {
  return (current ??= device(devices.has("cpu") ? "cpu" : "reference"));
}

export function setDefaultDevice(next: Device | string): void {
  current = typeof next === "string" ? device(next) : next;
}

/** Runs `fn` with another default device. */
export function withDevice<R>(next: Device | string, fn: () => R): R {
  const before = current;
  setDefaultDevice(next);
  let pending = false;
  const restore = (): void => {
    current = before;
  };
  try {
    const result = fn();
    if (result instanceof Promise) {
      pending = true;
      return result.finally(restore) as R;
    }
    return result;
  } finally {
    if (!pending) restore();
  }
}

/** In strict mode a step without a kernel is an error instead of a run of the reference. */
export function setStrict(on: boolean): void {
  strict = on;
}
export const isStrict = (): boolean => strict;

/** Debug switches: `EVERLONG_DEBUG=plan,kernels,nan`, or {@link setDebug}. */
export function debugFlag(flag: DebugFlag): boolean {
  flags ??= parseFlags(typeof process === "undefined" ? "" : (process.env["EVERLONG_DEBUG"] ?? ""));
  return flags.has(flag);
}

export function setDebug(...on: DebugFlag[]): void {
  flags = new Set(on);
}

function parseFlags(text: string): Set<DebugFlag> {
  const names = text.split(/[,| ]+/).filter(Boolean);
  for (const name of names) {
    if (!(DEBUG_FLAGS as readonly string[]).includes(name)) {
      throw new ConfigError("EVERLONG_DEBUG", "unknown flag", {
        expected: DEBUG_FLAGS.join(", "),
        got: name,
      });
    }
  }
  return new Set(names as DebugFlag[]);
}
