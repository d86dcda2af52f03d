import { expect, test } from "vitest";
import { LineProgram } from "./peers.ts";

test("a program answers line by line, and once it has ended every question says why", async () => {
  const script = 'read a; echo "got $a"; echo "it broke" >&2; exit 3';
  const program = new LineProgram("sh", ["-c", script], {});
  expect(await program.ask("one")).toBe("got one");
  for (let i = 0; i < 3; i++) {
    await expect(program.ask("more")).rejects.toThrow("it broke");
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  program.close();
});

test("a program that is not there says so", async () => {
  await expect(new LineProgram("/nowhere/program", [], {}).ask("one")).rejects.toThrow(/ENOENT/);
});
