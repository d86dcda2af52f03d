// The facade: the core with the CPU device registered, and the other packages under their names. Bundlers for browsers
// read browser.ts instead.

export * from "./browser.ts";
export * as labels from "@everlong/labels";
export * as lifelong from "@everlong/lifelong";
export * as mad from "@everlong/mad";
