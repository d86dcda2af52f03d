// The `mad` command group.

import type { Command } from "commander";
import type { MadHost } from "./host.ts";
import { registerQuick } from "./quick-command.ts";

export function registerMad(program: Command, host: MadHost): void {
  const mad = program.command("mad").description("mechanistic architecture design: synthetic tasks that predict scaling");
  registerQuick(mad, host);
}
