import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { DataError } from "@everlong/core";
import { makeFolder } from "./folder.ts";
import { writeWhole } from "./whole-file.ts";

let root: string;
beforeEach(() => void (root = mkdtempSync(join(tmpdir(), "everlong-files-"))));
afterEach(() => rmSync(root, { recursive: true, force: true }));

describe("makeFolder", () => {
  test("makes what is missing, of any names, and leaves what is there", () => {
    const path = join(root, "läufe", "a b", "c");
    makeFolder(path);
    writeFileSync(join(path, "x"), "x");
    makeFolder(`${path}/`);
    expect(readdirSync(path)).toEqual(["x"]);
  });

  test("refuses where a file stands in the way", () => {
    writeFileSync(join(root, "file"), "");
    expect(() => makeFolder(join(root, "file"))).toThrow(/cannot make folder.*EEXIST/);
    expect(() => makeFolder(join(root, "file", "deeper"))).toThrow(DataError);
  });

  test.runIf(process.platform === "linux")("comes back where the system has no place for folders", () => {
    // in a process of its own: what does not come back cannot be timed out in this one
    const code = `const { makeFolder } = await import(${JSON.stringify(new URL("./folder.ts", import.meta.url).href)});
      try { makeFolder("/proc/everlong/x"); } catch (error) { console.log(error.message); }`;
    const { stdout } = spawnSync(
      process.execPath,
      ["--conditions=everlong-source", "--input-type=module", "-e", code],
      { timeout: 8000, killSignal: "SIGKILL", encoding: "utf8" },
    );
    expect(stdout).toMatch(/^\[\/proc\/everlong\/x\] cannot make folder: got ENOENT/);
  });
});

describe("writeWhole", () => {
  test("makes the folder, replaces the file, leaves no draft", () => {
    const path = join(root, "ä", "f.txt");
    writeWhole(path, "one");
    writeWhole(path, new TextEncoder().encode("two"));
    expect(readFileSync(path, "utf8")).toBe("two");
    expect(readdirSync(join(root, "ä"))).toEqual(["f.txt"]);
  });

  test("writes through links", () => {
    writeFileSync(join(root, "target"), "old");
    symlinkSync(join(root, "target"), join(root, "link"));
    writeWhole(join(root, "link"), "new");
    expect(readFileSync(join(root, "target"), "utf8")).toBe("new");
    expect(readdirSync(root).toSorted()).toEqual(["link", "target"]);
  });

  test.runIf(process.platform === "linux")("writes devices straight, and says when a disk is full", () => {
    writeWhole("/dev/null", "x");
    expect(() => writeWhole("/dev/full", "x")).toThrow(
      /\[\/dev\/full\] cannot write file: got ENOSPC.*The disk is full/,
    );
  });

  test("refuses a folder", () => {
    expect(() => writeWhole(root, "x")).toThrow(/cannot write file: got .* is a folder/);
  });
});
