// The public face of @everlong/device-cpu. Importing it registers the device "cpu".
import "./register.ts";

export { cpu, cpuDevice } from "./cpu.ts";
export { CpuDevice, type CpuDeviceOptions, type CpuState } from "./device.ts";
