// For the slow tests: all published packages, packed and installed into an empty project.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root: string = fileURLToPath(new URL("../../../", import.meta.url));

/** Runs a command and returns what it printed; a failure shows both outputs. */
export function run(command: string, args: readonly string[], cwd: string): string {
  try {
    return execFileSync(command, args, { cwd, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${command} ${args.join(" ")} failed:\n${stdout ?? ""}${stderr ?? ""}`, { cause: error });
  }
}

/** Publishable workspaces: all that are not private. */
const published = (): string[] =>
  readdirSync(join(root, "packages")).filter((name) => {
    const text = readFileSync(join(root, "packages", name, "package.json"), "utf8");
    return (JSON.parse(text) as { private?: boolean }).private !== true;
  });

/** Builds and packs every package and installs the tarballs into a new folder, whose path it returns. */
export function packedProject(): string {
  const project = mkdtempSync(join(tmpdir(), "everlong-packed-"));
  run("npx", ["tsc", "-b"], root);
  const workspaces = published().flatMap((name) => ["--workspace", `packages/${name}`]);
  run("npm", ["pack", "--pack-destination", project, ...workspaces], root);
  const tarballs = readdirSync(project).filter((f) => f.endsWith(".tgz"));
  writeFileSync(
    join(project, "package.json"),
    JSON.stringify({ name: "empty", private: true, type: "module" }),
  );
  run("npm", ["install", "--no-audit", "--no-fund", ...tarballs.map((t) => `./${t}`)], project);
  return project;
}
