#!/usr/bin/env node
// Entry of the `everlong` command.

import { EverlongError } from "@everlong/core";
import { makeProgram } from "./program.ts";

try {
  await makeProgram().parseAsync();
} catch (error) {
  // A user's mistake is one sentence; anything else is ours and shows its stack.
  console.error(error instanceof EverlongError ? error.message : error);
  process.exitCode = 1;
}
