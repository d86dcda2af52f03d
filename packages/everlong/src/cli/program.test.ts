import { expect, test } from "vitest";
import { makeProgram } from "./program.ts";

test("the command tree", () => {
  const names = makeProgram().commands.map((c) => c.name());
  expect(names).toEqual(expect.arrayContaining(["mad", "label", "lifelong", "parity", "bench"]));
});

test("an unknown command is refused with its name", async () => {
  const program = makeProgram().exitOverride();
  const written: string[] = [];
  program.configureOutput({ writeErr: (text) => written.push(text), writeOut: () => {} });
  await expect(program.parseAsync(["node", "everlong", "trian"])).rejects.toThrow();
  expect(written.join("")).toContain("trian");
});
