// Functions of shared libraries, called through koffi.

import { createRequire } from "node:module";
import { DeviceError } from "@everlong/core";

/** What is used of koffi. */
interface Koffi {
  load(path: string): { func(signature: string): (...args: never[]) => unknown };
  address(value: ArrayBuffer | ArrayBufferView): bigint;
  view(pointer: bigint, bytes: number): ArrayBuffer;
}

type Argument = number | bigint | string | ArrayBufferView | null;
export type LibraryFunction = (...args: Argument[]) => number;

let loaded: Koffi | undefined;

/** The foreign-function library, or an error that says how to get it. */
export function koffi(): Koffi {
  if (loaded) return loaded;
  try {
    loaded = createRequire(import.meta.url)("koffi") as Koffi;
  } catch (cause) {
    throw new DeviceError("cuda", "the package koffi, through which the driver is called, cannot be loaded", {
      hint: 'It is an optional dependency: run "npm install koffi".',
      cause,
    });
  }
  return loaded;
}

/** Binds functions of a shared library; the first that is missing makes the error. */
export function bindLibrary<N extends string>(
  path: string,
  signatures: { readonly [K in N]: string },
): { readonly [K in N]: LibraryFunction } {
  const library = koffi().load(path);
  const out = {} as { [K in N]: LibraryFunction };
  for (const name of Object.keys(signatures) as N[])
    out[name] = library.func(signatures[name]) as unknown as LibraryFunction;
  return out;
}
