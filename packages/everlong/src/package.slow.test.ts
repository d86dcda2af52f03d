// The published form: packed tarballs installed into an empty strict-TypeScript project.

import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { packedProject, root, run } from "./packed-project.ts";

let project: string;

const SAMPLE = `
import { tensor, grad, cpu, type Tensor } from "everlong";
cpu.setThreads(1);
const x: Tensor = tensor([1, 2, 3]);
const slope = grad((t: Tensor) => t.square().sum())(x);
console.log(JSON.stringify(Array.from(await slope.data())));
`;

beforeAll(() => {
  project = packedProject();
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
