import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test, vi } from "vitest";
import { failureText } from "./failure.ts";
import { makeProgram } from "./program.ts";

test("the command tree", () => {
  const names = makeProgram().commands.map((c) => c.name());
  expect(names).toEqual(expect.arrayContaining(["mad", "label", "lifelong", "parity", "bench", "devices"]));
});

/** What a wrong command line prints. */
async function refusal(...line: string[]): Promise<string> {
  const written: string[] = [];
  const quiet = (command: ReturnType<typeof makeProgram>): void => {
    command
      .exitOverride()
      .configureOutput({ writeErr: (t) => written.push(t), writeOut: (t) => written.push(t) });
    command.commands.forEach(quiet);
  };
  const program = makeProgram();
  quiet(program);
  await program
    .parseAsync(["node", "everlong", ...line])
    .catch((error: Error) => written.push(error.message));
  return written.join("");
}

describe("a wrong command line is answered in a few lines", () => {
  test.each([
    [["trian"], /unknown command 'trian'/],
    [["mad", "rnu"], /unknown command 'rnu'/],
    [["mad", "run", "--dmi", "4"], /unknown option '--dmi'/],
    [["parity"], /missing required argument 'folder'/],
    [["--device", "gpu", "mad", "tasks"], /Allowed choices are cpu, cuda, reference/],
    [["--threads", "x", "mad", "tasks"], /expected a whole number of at least 1, got "x"/],
  ])("%j", async (line, message) => {
    const text = await refusal(...line);
    expect(text).toMatch(message);
    expect(text).not.toContain("Options:");
  });
});

test.each(["cpu", "cuda"])(
  "devices are told, those that cannot be opened with the reason (%s asked for)",
  async (asked) => {
    const told: string[] = [];
    vi.spyOn(console, "log").mockImplementation((text: string) => void told.push(text));
    expect(await refusal("--device", asked, "devices", "--json")).toBe("");
    vi.restoreAllMocks();
    const found = told.map((line) => JSON.parse(line) as { device: string; opens: boolean; text: string });
    expect(found.map((f) => f.device)).toEqual(["cpu", "cuda", "reference"]);
    for (const { device, opens, text } of found) {
      if (device !== "cuda") expect(opens).toBe(true);
      expect(text).toMatch(opens ? /\w/ : /^\[cuda\] .*\.$/);
    }
  },
);

describe("the entry", () => {
  /** The command in a process of its own, in which `before` ran first. */
  function start(before: string, ...line: string[]): ChildProcess {
    const entry = fileURLToPath(new URL("./main.ts", import.meta.url));
    const first = `data:text/javascript,${encodeURIComponent(before)}`;
    return spawn(process.execPath, ["--conditions=everlong-source", "--import", first, entry, ...line]);
  }
  const end = async (child: ChildProcess): Promise<{ code: number; errors: string }> => {
    let errors = "";
    child.stderr!.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    const [code] = (await once(child, "close")) as [number];
    return { code, errors };
  };

  test("says in one sentence that Node is too old", async () => {
    const old = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "20.9.0" } })`;
    expect(await end(start(old, "mad", "tasks"))).toEqual({
      code: 1,
      errors: "Everlong needs Node 24 or newer (this is 20.9.0).\n",
    });
  });

  test("ends quietly when its reader has seen enough", async () => {
    const child = start("", "lifelong", "envs");
    child.stdout!.destroy();
    expect(await end(child)).toEqual({ code: 0, errors: "" });
  });
});

test("what the system refuses is one sentence, what is ours keeps its stack", () => {
  const thrown = (fn: () => void): unknown => {
    try {
      fn();
    } catch (error) {
      return failureText(error);
    }
    return undefined;
  };
  expect(thrown(() => readFileSync("/no/such/file"))).toMatch(/^\[everlong\] ENOENT: .*no\/such\/file'\.$/);
  expect(thrown(() => (undefined as unknown as string).trim())).toBeInstanceOf(TypeError);
});

test("an unknown command is refused with its name", async () => {
  const program = makeProgram().exitOverride();
  const written: string[] = [];
  program.configureOutput({ writeErr: (text) => written.push(text), writeOut: () => {} });
  await expect(program.parseAsync(["node", "everlong", "trian"])).rejects.toThrow();
  expect(written.join("")).toContain("trian");
});
