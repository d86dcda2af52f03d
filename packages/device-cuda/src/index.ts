// The public face of @everlong/device-cuda. Importing it registers the device "cuda"; nothing of CUDA is loaded before that is opened.
import "./register.ts";

export { cuda, cudaAvailable, cudaDevice } from "./cuda.ts";
export { CudaDevice, type CudaDeviceOptions, type CudaState } from "./device.ts";
