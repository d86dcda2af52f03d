// Entry of a lifetime's own process; `processes.ts` starts it.

import { useDevice } from "./device.ts";
import { type ExperimentEvent, runOne } from "./experiment.ts";
import type { WorkerJob, WorkerMessage } from "./processes.ts";

const BATCH_MS = 100;

function send(message: WorkerMessage): Promise<void> {
  return new Promise((resolve) => {
    process.send!(message, () => resolve());
  });
}

process.once("message", (job: WorkerJob) => void work(job));

async function work({ plan, device, seeds }: WorkerJob): Promise<void> {
  let waiting: ExperimentEvent[] = [];
  let sent = performance.now();
  const flush = (): Promise<void> => {
    const events = waiting;
    waiting = [];
    sent = performance.now();
    return events.length === 0 ? Promise.resolve() : send({ type: "events", events });
  };
  const emit = (event: ExperimentEvent): void => {
    waiting.push(event);
    if (performance.now() - sent > BATCH_MS) void flush();
  };
  try {
    await useDevice(device);
    const dir = await runOne(
      plan,
      { lifetime: seeds.lifetime, agent: BigInt(seeds.agent), curriculum: BigInt(seeds.curriculum) },
      emit,
    );
    await flush();
    await send({ type: "done", dir });
  } catch (error) {
    await send({ type: "failed", message: (error as Error).message });
  }
  process.disconnect();
}
