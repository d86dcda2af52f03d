// The facade: the core with the CPU device registered. Everything else is imported from its own package.

export * from "@everlong/core";
export { cpu } from "@everlong/device-cpu";
export * as data from "@everlong/data";
export * as kernels from "@everlong/kernels";
export * as labels from "@everlong/labels";
export * as lifelong from "@everlong/lifelong";
export * as mad from "@everlong/mad";
export * as nn from "@everlong/nn";
export * as train from "@everlong/train";
