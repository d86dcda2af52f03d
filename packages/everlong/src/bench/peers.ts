// Peers of the CPU bench: programs that read "case N" and "go" lines and answer with the milliseconds they measured.

import { spawn, spawnSync, type ChildProcessWithoutNullStreams } from "node:child_process";
import { existsSync, mkdtempSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { Peer, PeerRun } from "./suite.ts";

/** Where the programs lie. */
export const folder: string = fileURLToPath(new URL("../../bench/peers/", import.meta.url));

/** glibc otherwise gives large blocks back after every operation, which halves PyTorch's speed. */
const TUNED_MALLOC = {
  MALLOC_MMAP_THRESHOLD_: "4294967296",
  MALLOC_TRIM_THRESHOLD_: "4294967296",
  MALLOC_TOP_PAD_: "268435456",
};

/** A started program that answers line by line. It keeps us running only while a question is open. */
export class LineProgram {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #lines: AsyncIterator<string>;
  readonly #errors: string[] = [];
  #open = 0;

  constructor(command: string, args: readonly string[], env: Readonly<Record<string, string>>) {
    this.#child = spawn(command, args, { env: { ...process.env, ...env }, stdio: "pipe" });
    this.#child.on("error", (e) => this.#errors.push(e.message));
    // A program that has ended cannot be written to; that it has is seen where its answer is read.
    this.#child.stdin.on("error", () => {});
    this.#child.stderr.on("data", (d: Buffer) => this.#errors.push(d.toString()));
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
    this.#count(0);
  }

  #count(change: number): void {
    this.#open += change;
    const { stdin, stdout, stderr } = this.#child;
    for (const part of [this.#child, stdin as Socket, stdout as Socket, stderr as Socket])
      if (this.#open > 0) part.ref();
      else part.unref();
  }

  async ask(line: string): Promise<string> {
    this.#child.stdin.write(`${line}\n`);
    this.#count(1);
    const { value, done } = await this.#lines.next();
    this.#count(-1);
    if (done) throw new Error(this.#errors.join(" ").trim().split("\n").at(-1) ?? "it ended");
    return value as string;
  }

  close(): void {
    this.#child.kill();
  }
}

async function start(
  command: string,
  args: readonly string[],
  env: Readonly<Record<string, string>>,
  first: string,
): Promise<PeerRun | string> {
  const program = new LineProgram(command, args, env);
  try {
    const answer = await program.ask(first);
    if (answer !== "ready") return answer;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  return { run: async () => Number(await program.ask("go")), close: () => program.close() };
}

let native: string | undefined;

/** Compiles the C peers once; needs a C compiler, OpenBLAS and FFTW. */
function nativeProgram(): string {
  if (native !== undefined) return native;
  const out = join(mkdtempSync(join(tmpdir(), "everlong-bench-")), "native");
  const made = spawnSync(
    "cc",
    ["-O3", "-march=native", join(folder, "native.c"), "-o", out, "-lopenblas", "-lfftw3f", "-lm"],
    { encoding: "utf8" },
  );
  return (native = made.status === 0 && existsSync(out) ? out : "");
}

/** OpenBLAS, FFTW or the peak of the multiply-adds. */
export const nativePeer = (name: string, work: string, size: number): Peer => ({
  name,
  prepare: async () => {
    const program = nativeProgram();
    if (program === "") return "needs cc, libopenblas-dev and libfftw3-dev";
    return start(program, [], { OPENBLAS_CORETYPE: "Haswell" }, `${work} ${size}`);
  },
});

/** PyTorch, as found by `python3` (or Debian's at /usr/bin). */
export const torchPeer = (work: string, size: number, threads = 1, program = "torch_peer.py"): Peer => ({
  name: "torch",
  prepare: async () => {
    for (const python of ["/usr/bin/python3", "python3"]) {
      if (spawnSync(python, ["-c", "import torch"], { stdio: "ignore" }).status !== 0) continue;
      // set_num_threads alone leaves the BLAS library its own threads.
      const env = { ...TUNED_MALLOC, OPENBLAS_NUM_THREADS: `${threads}`, OMP_NUM_THREADS: `${threads}` };
      return start(python, [join(folder, program), String(threads)], env, `${work} ${size}`);
    }
    return "needs python3-torch";
  },
});

/** A package of npm that is installed next to the project only for the bench; `make` prepares one run. */
export const packagePeer = (
  name: string,
  specifier: string,
  make: (module: never) => Promise<() => Promise<void> | void>,
): Peer => ({
  name,
  prepare: async () => {
    let module: never;
    try {
      module = (await import(specifier)) as never;
    } catch {
      return `needs npm install --no-save ${specifier
        .split("/")
        .slice(0, specifier.startsWith("@") ? 2 : 1)
        .join("/")}`;
    }
    const run = await make(module);
    return {
      run: async () => {
        const began = performance.now();
        await run();
        return performance.now() - began;
      },
      close: () => {},
    };
  },
});

/** Ourselves in another process, on a case of a suite, with other flags. */
export const selfPeer = (
  name: string,
  suite: string,
  caseName: string,
  flags: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Peer => ({
  name,
  prepare: () => {
    const entry = fileURLToPath(
      new URL(import.meta.url.endsWith(".ts") ? "../cli/main.ts" : "../cli/main.js", import.meta.url),
    );
    const args = [...process.execArgv, entry, ...flags, "--threads", "1", "bench", suite, "--serve"];
    return start(process.execPath, args, env, `${caseName} 0`);
  },
});

/** Without the 256-bit pairing. */
export const narrowSelf = (caseName: string): Peer => selfPeer("ours narrow", "cpu", caseName, ["--narrow"]);

/** On one thread; `caseName` is the case of one thread. */
export const oneThreadSelf = (caseName: string): Peer => selfPeer("ours, 1 thread", "cpu", caseName, []);
