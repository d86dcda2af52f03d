// Prints lines and bytes of source per package, the kernels that `npm run embed` made, the longest files, and fails on a file over the hard
// limit.

import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, relative } from "node:path";

const SOFT_LINES = 400;
const HARD_LINES = 800;
const root = join(import.meta.dirname, "..");

interface Source {
  readonly path: string;
  readonly lines: number;
  readonly bytes: number;
  readonly test: boolean;
}

function sources(folder: string): Source[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && e.name.endsWith(".ts"))
    .map((e) => {
      const path = join(e.parentPath, e.name);
      const text = readFileSync(path, "utf8");
      return {
        path: relative(root, path),
        lines: text.split("\n").length - 1,
        bytes: Buffer.byteLength(text),
        test: e.name.endsWith(".test.ts"),
      };
    });
}

const total = (list: readonly Source[]): number => list.reduce((sum, s) => sum + s.lines, 0);

const all: Source[] = [];
console.log("package       files   lines   tests      KB");
for (const name of readdirSync(join(root, "packages")).sort()) {
  const found = sources(join(root, "packages", name, "src"));
  all.push(...found);
  const code = found.filter((s) => !s.test);
  const kilobytes = code.reduce((sum, s) => sum + s.bytes, 0) / 1024;
  const cells = [code.length, total(code), total(found) - total(code), kilobytes.toFixed(0)];
  console.log(name.padEnd(12) + cells.map((c) => String(c).padStart(8)).join(""));
}
const code = all.filter((s) => !s.test);
console.log(
  `${"all".padEnd(12)}${String(code.length).padStart(8)}${String(total(code)).padStart(8)}${String(total(all) - total(code)).padStart(8)}`,
);

const embedded = join(root, "packages", "device-cuda", "dist", "embedded");
if (existsSync(embedded)) {
  const sizes = readdirSync(embedded).map((name) => [name, statSync(join(embedded, name)).size] as const);
  const shown = sizes.map(([name, bytes]) => `${name} ${(bytes / 2 ** 20).toFixed(2)} MiB`);
  console.log(`\nkernels for hosts without NVRTC, in the package of the CUDA device: ${shown.join(", ")}`);
}

const long = all.filter((s) => s.lines > SOFT_LINES).sort((a, b) => b.lines - a.lines);
if (long.length > 0) {
  console.log(`\nover ${SOFT_LINES} lines:`);
  for (const s of long) console.log(`  ${s.lines} ${s.path}`);
}
if (long.some((s) => s.lines > HARD_LINES)) {
  console.error(`a file has more than ${HARD_LINES} lines: split it by meaning`);
  process.exitCode = 1;
}
