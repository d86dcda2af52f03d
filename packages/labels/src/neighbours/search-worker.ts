// Thread entry of the neighbour search: works on every plan it is sent.
import { parentPort } from "node:worker_threads";
import type { SearchPlan } from "./block-search.ts";
import { searchBlocks } from "./block-search.ts";

parentPort?.on("message", (plan: SearchPlan) => {
  searchBlocks(plan);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a worker thread has no origin
  parentPort?.postMessage("done");
});
