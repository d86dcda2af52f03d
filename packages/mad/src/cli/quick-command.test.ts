import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Command } from "commander";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { registerQuick } from "./quick-command.ts";

let folder: string;
beforeEach(() => void (folder = mkdtempSync(join(tmpdir(), "everlong-quick-"))));
afterEach(() => rmSync(folder, { recursive: true }));

test("a folder that takes no files is refused before anything is trained", async () => {
  const startWorker = vi.fn();
  const program = new Command().exitOverride();
  registerQuick(program, { startWorker, environment: () => ({}) });
  const quick = (out: string): Promise<Command> =>
    program.parseAsync(["quick", "--json", "--out", out], { from: "user" });
  writeFileSync(join(folder, "file"), "");
  await expect(quick(join(folder, "file"))).rejects.toThrow(/cannot make folder/);
  if (process.platform === "linux")
    await expect(quick("/proc/self")).rejects.toThrow(/cannot write file: got ENOENT|EACCES|EPERM/);
  expect(startWorker).not.toHaveBeenCalled();
});
