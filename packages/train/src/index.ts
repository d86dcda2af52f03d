export * from "./optimizer.ts";
export * from "./adamw.ts";
export * from "./schedule.ts";
export * from "./clip.ts";
export * from "./train-step.ts";
export * from "./fit.ts";
export * from "./progress.ts";
export * from "./run-log.ts";
