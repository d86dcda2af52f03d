// Every case that the fused ops bring along, on one thread beside the same without the 256-bit pairing.

import { device } from "@everlong/core";
import { cpu } from "@everlong/device-cpu";
import { benches, prepareBench } from "@everlong/kernels/benches";
import { useCores } from "./cpu-cores.ts";
import { narrowSelf } from "./peers.ts";
import type { BenchCase } from "./suite.ts";

export const opCases = (): BenchCase[] =>
  benches.map((given): BenchCase => {
    const name = `op ${given.name}`;
    return {
      name,
      unit: "ms",
      tolerance: 2e-5,
      repeats: 5,
      peers: [narrowSelf(name)],
      prepare: () => {
        cpu.setThreads(1);
        useCores(1);
        return Promise.resolve(prepareBench(given, device("cpu")));
      },
    };
  });
