// The facade for bundlers that build for browsers: everything that needs no files, processes or threads of Node.

export * from "@everlong/core";
export { cpu } from "@everlong/device-cpu";
export * as data from "@everlong/data";
export * as kernels from "@everlong/kernels";
export * as nn from "@everlong/nn";
export * as train from "@everlong/train";
