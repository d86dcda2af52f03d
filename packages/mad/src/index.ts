export * from "./tasks/options.ts";
export * from "./tasks/task.ts";
export { KeyedRandom, OriginalRandom, type TaskRandom } from "./tasks/random.ts";
export { findTask, TASKS } from "./tasks/registry.ts";
export { memorizationMap, type MemorizationMap } from "./tasks/memorization.ts";
export * from "./tasks/generate.ts";
export { checkLeakage, findLeakage, type Leakage } from "./tasks/leakage.ts";
export * from "./metrics.ts";
export * from "./protocol.ts";
