// What the machine can do right now: peak of the multiply-adds, and whether a second core is really there.

import { Worker } from "node:worker_threads";
import { nativePeer } from "./peers.ts";
import type { Machine } from "./suite.ts";

/** Flops of one run of the native peak programs: 2,000,000 rounds of 12 multiply-adds. */
const ROUNDS = 2_000_000 * 12 * 2;

async function peak(width: 128 | 256): Promise<number | undefined> {
  const made = await nativePeer("peak", `peak${width}`, 1).prepare();
  if (typeof made === "string") return undefined;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 20; i++) best = Math.min(best, await made.run());
  await made.close();
  return (ROUNDS * (width / 32)) / best / 1e6;
}

const SPIN = `
const { parentPort, workerData } = require("node:worker_threads");
const flag = new Int32Array(workerData);
const spin = () => { let x = 1; for (let i = 0; i < 4e7; i++) x = Math.imul(x, 1664525) + 1013904223; return x; };
spin();
parentPort.on("message", () => { const t = performance.now(); spin(); parentPort.postMessage(performance.now() - t); });
parentPort.postMessage(0);
Atomics.store(flag, 0, 1);
`;

/** Work done by two threads at once over that of one: about 2 on two free cores, 1 where the second is worth nothing. */
async function coresWorth(): Promise<number> {
  const shared = new SharedArrayBuffer(4);
  const workers = [0, 1].map(() => new Worker(SPIN, { eval: true, workerData: shared }));
  const next = (w: Worker): Promise<number> => new Promise((resolve) => w.once("message", resolve));
  await Promise.all(workers.map(next));
  const once = async (list: readonly Worker[]): Promise<number> => {
    const began = performance.now();
    await Promise.all(
      list.map((w) => {
        const done = next(w);
        w.postMessage(0);
        return done;
      }),
    );
    return performance.now() - began;
  };
  let [alone, together] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let i = 0; i < 5; i++) {
    alone = Math.min(alone, await once(workers.slice(0, 1)));
    together = Math.min(together, await once(workers));
  }
  await Promise.all(workers.map((w) => w.terminate()));
  return (2 * alone) / together;
}

export async function calibrate(): Promise<Machine> {
  return { peak256: await peak(256), peak128: await peak(128), cores: await coresWorth() };
}
