// The process's CUDA device and how it is found.

import { device, EverlongError, registerDevice } from "@everlong/core";
import { CudaDevice, type CudaDeviceOptions, type CudaState } from "./device.ts";

/** A CUDA device of its own, with its own stream and memory. Most programs want `device("cuda")`. */
export const cudaDevice = (options: CudaDeviceOptions = {}): CudaDevice => new CudaDevice(options);

/** Makes `device("cuda")` known; it opens at first use, and says then what is missing. */
export function registerCuda(): void {
  registerDevice("cuda", () => cudaDevice());
}

/** Whether `device("cuda")` can be opened, or the reason why not. */
export function cudaAvailable(): true | string {
  try {
    device("cuda");
    return true;
  } catch (error) {
    if (error instanceof EverlongError) return error.message;
    throw error;
  }
}

/** Controls of `device("cuda")`. */
export const cuda: {
  readonly state: () => CudaState;
  /** Resolves when all work launched so far is done. */
  readonly settled: () => Promise<void>;
  /** Gives memory that nobody needs back to the GPU, for other processes; returns how many bytes. */
  readonly releaseMemory: () => number;
} = {
  state: () => (device("cuda") as CudaDevice).state(),
  settled: () => (device("cuda") as CudaDevice).settled(),
  releaseMemory: () => (device("cuda") as CudaDevice).releaseMemory(),
};
