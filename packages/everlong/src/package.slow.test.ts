// The published form: packed tarballs installed into an empty strict-TypeScript project.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";

const root = new URL("../../../", import.meta.url).pathname;
const project = mkdtempSync(join(tmpdir(), "everlong-packed-"));
const run = (command: string, args: readonly string[], cwd: string): string =>
  execFileSync(command, args, { cwd, encoding: "utf8", stdio: "pipe" });

/** Publishable workspaces: all that are not private. */
const published = (): string[] =>
  readdirSync(join(root, "packages")).filter((name) => {
    const text = readFileSync(join(root, "packages", name, "package.json"), "utf8");
    return (JSON.parse(text) as { private?: boolean }).private !== true;
  });

const SAMPLE = `
import { tensor, grad, cpu, type Tensor } from "everlong";
cpu.setThreads(1);
const x: Tensor = tensor([1, 2, 3]);
const slope = grad((t: Tensor) => t.square().sum())(x);
console.log(JSON.stringify(Array.from(await slope.data())));
`;

beforeAll(() => {
  run("npx", ["tsc", "-b"], root);
  const workspaces = published().flatMap((name) => ["--workspace", `packages/${name}`]);
  run("npm", ["pack", "--pack-destination", project, ...workspaces], root);
  const tarballs = readdirSync(project).filter((f) => f.endsWith(".tgz"));
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({ name: "empty", private: true, type: "module" }),
  );
  run("npm", ["install", "--no-audit", "--no-fund", ...tarballs.map((t) => `./${t}`)], project);
  const compilerOptions = {
    strict: true,
    module: "nodenext",
    target: "es2024",
    lib: ["es2024", "esnext.disposable", "esnext.float16", "esnext.iterator", "dom"],
    types: [],
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
  };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions, include: ["*.ts"] }));
  writeFileSync(join(project, "sample.ts"), SAMPLE);
}, 600_000);

afterAll(() => rmSync(project, { recursive: true, force: true }));

test("the declarations hold in a strict project", () => {
  run(join(root, "node_modules/.bin/tsc"), ["-p", "tsconfig.json"], project);
});

test("the installed package computes", () => {
  expect(run("node", ["sample.js"], project).trim()).toBe("[2,4,6]");
});

test("the installed command starts", () => {
  expect(run(join(project, "node_modules/.bin/everlong"), ["--help"], project)).toContain("mad");
});
