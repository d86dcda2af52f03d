// What a command prints when it fails.

import { EverlongError } from "@everlong/core";

/** One sentence for what the user or the machine did; what is ours comes back as it is, with its stack. */
export function failureText(error: unknown): unknown {
  if (error instanceof EverlongError) return error.message;
  const fromSystem = error instanceof Error && "syscall" in error && "code" in error;
  return fromSystem ? `[everlong] ${error.message}.` : error;
}
