// PyTorch on the GPU as a peer (cuda_peer.py). One program serves all cases of a run, since to start it takes many seconds.

import { join } from "node:path";
import { device } from "@everlong/core";
import type { CudaDevice } from "@everlong/device-cuda";
import { folder, LineProgram } from "./peers.ts";
import type { Peer } from "./suite.ts";

/** Waits for the GPU in place: polling would round the time up. */
export function finish(): void {
  const { driver, stream } = (device("cuda") as CudaDevice).engine;
  driver.synchronize(stream);
}

let program: LineProgram | undefined;
let made = 0;

/** Starts PyTorch, which takes many seconds. */
export function startTorch(): void {
  torch();
}

function torch(): LineProgram {
  if (program) return program;
  const started = new LineProgram("python3", [join(folder, "cuda_peer.py")], {});
  process.once("exit", () => started.close());
  return (program = started);
}

/**
 * `work` is a line as cuda_peer.py explains it; a run is `launches` calls, timed by events on the GPU. Of slow work a few calls are timed for
 * all.
 */
export const cudaTorchPeer = (name: string, work: string, launches: number): Peer => ({
  name,
  prepare: async () => {
    const shared = torch();
    const id = made++;
    let measured: number;
    try {
      const answer = await shared.ask(`make ${id} ${launches} ${work}`);
      const calls = /^ready (\d+)$/.exec(answer);
      if (!calls) return answer;
      measured = Number(calls[1]);
    } catch (error) {
      program = undefined;
      return error instanceof Error ? error.message : String(error);
    }
    return {
      run: async () => {
        const answer = await shared.ask(`go ${id}`);
        const ms = Number(answer);
        if (!(ms > 0)) throw new Error(answer);
        return (ms * launches) / measured;
      },
      close: async () => {
        // A program that has ended holds nothing.
        await shared.ask(`drop ${id}`).catch(() => "");
      },
    };
  },
});
