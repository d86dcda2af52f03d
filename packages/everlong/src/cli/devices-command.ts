// The `devices` command.

import { availableParallelism } from "node:os";
import { EverlongError, showBytes } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { cuda } from "@everlong/device-cuda";
import type { Command } from "commander";

/** What a device is, or why it cannot be opened. */
interface Found {
  readonly device: string;
  readonly opens: boolean;
  readonly text: string;
}

const DEVICES: Readonly<Record<string, () => string>> = {
  cpu: () => {
    const { engine, threads, wide } = cpu.state();
    return `${engine}; ${threads} of ${availableParallelism()} threads, 256-bit pairing ${wide ? "on" : "off"}`;
  },
  cuda: () => {
    const { gpu, capability, driver, nvrtc, cublas, memory } = cuda.state();
    return [
      `${gpu}, compute capability ${capability}, ${showBytes(memory.free)} of ${showBytes(memory.total)} free`,
      `driver for CUDA ${driver}, NVRTC ${nvrtc}, ${cublas ? "with" : "without"} cuBLAS`,
    ].join("; ");
  },
  reference: () => "float64 in plain loops, to check others",
};

function look(device: string): Found {
  try {
    return { device, opens: true, text: DEVICES[device]!() };
  } catch (error) {
    if (error instanceof EverlongError) return { device, opens: false, text: error.message };
    throw error;
  }
}

export function registerDevices(program: Command): void {
  program
    .command("devices")
    .description("what this machine can compute on, or why not")
    .option("--json", "one JSON line a device")
    .action(({ json }: { readonly json?: boolean }) => {
      for (const found of Object.keys(DEVICES).map(look))
        console.log(json ? JSON.stringify(found) : `${found.device.padEnd(10)} ${found.text}`);
    });
}
