// A machine that pretends to have a GPU (`pretended-driver.c`), for tests.

import { execFileSync, spawnSync } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const PROGRAM = `
import { compile, defineOp, matmul, setStrict, tensor, Variable, zeros } from "@everlong/core";
import { cudaDevice } from "@everlong/device-cuda";
import { fftConv } from "@everlong/kernels";
const say = async (work) => {
  try {
    console.log("said", JSON.stringify(await work()));
  } catch (error) {
    console.log("refused", error.constructor.name, error.message);
  }
};
`;

/** What programs there print. They have `say(work)`, which prints what work gives or why it is refused. */
export type Printed = (program: string, environment?: Readonly<Record<string, string>>) => string;

/** Whether there is a compiler for the driver. */
export const canPretend: boolean = spawnSync("cc", ["--version"]).status === 0;

/** Builds the driver in a folder of its own, which {@link PretendedMachine.close} removes. */
export class PretendedMachine {
  readonly folder: string = mkdtempSync(join(tmpdir(), "everlong-pretended-"));

  /** @param defines for the C compiler, such as `-Dname=other` */
  constructor(...defines: readonly string[]) {
    const from = fileURLToPath(new URL("./pretended-driver.c", import.meta.url));
    execFileSync("cc", ["-shared", "-fPIC", "-w", ...defines, "-o", join(this.folder, "libcuda.so.1"), from]);
  }

  readonly printed: Printed = (program, environment = {}) => {
    const { folder } = this;
    const args = ["--conditions=everlong-source", "--input-type=module-typescript", "-e", PROGRAM + program];
    // A file takes every line in its order; a pipe that is read too slowly does not take what the driver tells.
    const told = join(folder, "told");
    const stderr = openSync(told, "w");
    const { stdout } = spawnSync(process.execPath, args, {
      encoding: "utf8",
      stdio: ["ignore", "pipe", stderr],
      cwd: fileURLToPath(new URL("..", import.meta.url)),
      env: {
        ...process.env,
        LD_LIBRARY_PATH: folder,
        EVERLONG_NVRTC: join(folder, "libcuda.so.1"),
        EVERLONG_CUBLAS: "off",
        EVERLONG_CACHE: join(folder, "cache"),
        ...environment,
      },
    });
    closeSync(stderr);
    return stdout + readFileSync(told, "utf8");
  };

  close(): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}
