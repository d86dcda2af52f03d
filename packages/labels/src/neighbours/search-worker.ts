// Thread entry of the neighbour search.
import { parentPort, workerData } from "node:worker_threads";
import type { SearchPlan } from "./block-search.ts";
import { searchBlocks } from "./block-search.ts";

searchBlocks(workerData as SearchPlan);
// oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread has no origin
parentPort?.postMessage("done");
