import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { makeCell } from "./cell.ts";
import { parseArchitecture } from "./architecture-name.ts";
import { loadPlugin, loadPlugins } from "./plugin.ts";
import { makeSetting } from "./suites.ts";

let folder: string;
beforeAll(() => void (folder = mkdtempSync(join(tmpdir(), "everlong-plugin-"))));
afterAll(() => rmSync(folder, { recursive: true }));

const write = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
};

/** A layer without imports, as a plugin outside the project's folder would not find the packages. */
const layer = (name: string, shorthand: string, factor = 1): string => `
type Shape = { dim: number };
const f: number = ${factor};
export const entry = {
  name: "${name}", shorthand: "${shorthand}", kind: "channel", summary: "Scales.", source: "test", options: {},
  build: (shape: Shape) => ({ forward: (x: { mul(f: number): unknown }) => x.mul(f), flops: (t: number) => t * shape.dim }),
};`;

test("a TypeScript file becomes layers, and its content part of the key", async () => {
  const path = write("scale.ts", layer("scale", "Sc"));
  const plugin = await loadPlugin(path);
  expect(plugin.entries.map((e) => e.name)).toEqual(["scale"]);
  const architecture = parseArchitecture("mA-Sc", plugin.entries);
  expect(architecture.name).toBe("mA-Sc");
  const setting = makeSetting("in-context-recall");
  const key = (hash: string): string => makeCell(architecture, setting, {}, [{ ...plugin, hash }]).key;
  expect(key(plugin.hash)).toBe(key(plugin.hash));
  expect(key("other")).not.toBe(key(plugin.hash));
  // A cell without the layer does not depend on the plugin.
  const plain = parseArchitecture("mA-Sg");
  expect(makeCell(plain, setting, {}, [plugin]).key).toBe(makeCell(plain, setting).key);
});

test.each([
  ["missing.ts", undefined, /does not exist/],
  ["layer.json", "{}", /must end in \.ts/],
  ["broken.ts", "export const = 3;", /cannot be loaded/],
  ["import.ts", 'import "./nowhere.ts"; export const a = 1;', /Relative imports/],
  ["empty.ts", "export const a = 1;", /exports no layer.*It exports a\./],
  ["taken.ts", layer("mamba", "Xx"), /"mamba", which is built in/],
  ["short.ts", layer("new-layer", "Sg"), /"Sg", which is taken by "swiglu"/],
  ["blank.ts", layer("a layer", "Xx"), /letters, digits and hyphens/],
])("%s is refused with the reason", async (name, text, message) => {
  const path = text === undefined ? join(folder, name) : write(name, text);
  await expect(loadPlugin(path)).rejects.toThrow(message);
});

test("syntax that type stripping does not take is named", () => {
  // Vitest compiles what it imports; Node itself is what users have.
  const file = write("enum.ts", "export enum Kind { A }");
  const code = `import("${new URL("plugin.ts", import.meta.url).href}").then((m) => m.loadPlugin(${JSON.stringify(file)})).catch((e) => console.log(e.message))`;
  const out = spawnSync(process.execPath, ["--conditions=everlong-source", "-e", code], { encoding: "utf8" });
  expect(out.stdout).toMatch(/cannot be loaded.*no enum, namespace/);
});

test("two plugins may not name one layer", async () => {
  const files = [write("one.ts", layer("mine", "Mi")), write("two.ts", layer("mine", "Mj"))];
  await expect(loadPlugins(files)).rejects.toThrow(/names too/);
});
