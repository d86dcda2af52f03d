// The CUDA driver as functions. Nothing is loaded before a device is opened.

import { DeviceError } from "@everlong/core";
import type { CudaTileMap } from "@everlong/kernels/cuda";
import { bindLibrary, koffi, type LibraryFunction } from "./shared-library.ts";

/** Handles and addresses fit a double: user space has 47 bits. */
export type Handle = number;

const DRIVER_SIGNATURES = {
  cuInit: "int cuInit(unsigned int)",
  cuDriverGetVersion: "int cuDriverGetVersion(void *)",
  cuDeviceGetCount: "int cuDeviceGetCount(void *)",
  cuDeviceGetName: "int cuDeviceGetName(void *, int, int)",
  cuDeviceGetAttribute: "int cuDeviceGetAttribute(void *, int, int)",
  cuDevicePrimaryCtxRetain: "int cuDevicePrimaryCtxRetain(void *, int)",
  cuCtxSetCurrent: "int cuCtxSetCurrent(uint64_t)",
  cuStreamCreate: "int cuStreamCreate(void *, unsigned int)",
  cuStreamDestroy: "int cuStreamDestroy_v2(uint64_t)",
  cuStreamWaitEvent: "int cuStreamWaitEvent(uint64_t, uint64_t, unsigned int)",
  cuStreamSynchronize: "int cuStreamSynchronize(uint64_t)",
  cuMemAlloc: "int cuMemAlloc_v2(void *, uint64_t)",
  cuMemFree: "int cuMemFree_v2(uint64_t)",
  cuMemGetInfo: "int cuMemGetInfo_v2(void *, void *)",
  cuMemAllocHost: "int cuMemAllocHost_v2(void *, uint64_t)",
  cuMemFreeHost: "int cuMemFreeHost(uint64_t)",
  cuMemcpyHtoDAsync: "int cuMemcpyHtoDAsync_v2(uint64_t, uint64_t, uint64_t, uint64_t)",
  cuMemcpyDtoHAsync: "int cuMemcpyDtoHAsync_v2(uint64_t, uint64_t, uint64_t, uint64_t)",
  cuMemcpyDtoDAsync: "int cuMemcpyDtoDAsync_v2(uint64_t, uint64_t, uint64_t, uint64_t)",
  cuMemsetD8Async: "int cuMemsetD8Async(uint64_t, unsigned char, uint64_t, uint64_t)",
  cuEventCreate: "int cuEventCreate(void *, unsigned int)",
  cuEventDestroy: "int cuEventDestroy_v2(uint64_t)",
  cuEventRecord: "int cuEventRecord(uint64_t, uint64_t)",
  cuEventQuery: "int cuEventQuery(uint64_t)",
  cuEventSynchronize: "int cuEventSynchronize(uint64_t)",
  cuEventElapsedTime: "int cuEventElapsedTime(void *, uint64_t, uint64_t)",
  cuModuleLoadData: "int cuModuleLoadData(void *, void *)",
  cuModuleUnload: "int cuModuleUnload(uint64_t)",
  cuModuleGetFunction: "int cuModuleGetFunction(void *, uint64_t, const char *)",
  cuFuncSetAttribute: "int cuFuncSetAttribute(uint64_t, int, int)",
  cuLaunchKernel:
    "int cuLaunchKernel(uint64_t, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, uint64_t, void *, void *)",
  cuLaunchKernelEx: "int cuLaunchKernelEx(void *, uint64_t, void *, void *)",
  cuTensorMapEncodeTiled:
    "int cuTensorMapEncodeTiled(uint64_t, int, unsigned int, uint64_t, void *, void *, void *, void *, int, int, int, int)",
  cuGetErrorName: "int cuGetErrorName(int, void *)",
  cuStreamBeginCapture: "int cuStreamBeginCapture_v2(uint64_t, int)",
  cuStreamEndCapture: "int cuStreamEndCapture(uint64_t, void *)",
  cuGraphInstantiate: "int cuGraphInstantiateWithFlags(void *, uint64_t, uint64_t)",
  cuGraphLaunch: "int cuGraphLaunch(uint64_t, uint64_t)",
  cuGraphDestroy: "int cuGraphDestroy(uint64_t)",
  cuGraphExecDestroy: "int cuGraphExecDestroy(uint64_t)",
} as const;

/** Device attributes by their number in the driver's interface. */
export const ATTRIBUTE = {
  sharedPerBlockOptin: 97,
  processors: 16,
  cacheBytes: 38,
  major: 75,
  minor: 76,
} as const;
const FUNC_MAX_DYNAMIC_SHARED = 8;
const LAUNCH_BESIDE_PREVIOUS = 6;
const TILE_MAP = {
  dtype: { f16: 6, bf16: 9 },
  noInterleave: 0,
  swizzle128: 3,
  promote256: 3,
  zerosOutside: 0,
} as const;
export const ERROR_NOT_READY = 600;
export const ERROR_OUT_OF_MEMORY = 2;
const ERROR_NO_DEVICE = 100;
const LIBRARY = "libcuda.so.1";
const OLDEST = 12_000;

const readHandle = (cell: BigUint64Array): Handle => Number(cell[0]);

/** CUDA version of the installed driver, which can be asked of any. */
function installedVersion(): number {
  koffi();
  const version = new Int32Array(new ArrayBuffer(4));
  try {
    bindLibrary(LIBRARY, {
      cuDriverGetVersion: DRIVER_SIGNATURES.cuDriverGetVersion,
    }).cuDriverGetVersion(version);
  } catch (cause) {
    throw new DeviceError("cuda", "there is no NVIDIA driver (libcuda.so.1 cannot be loaded)", {
      hint: "Use a machine with an NVIDIA GPU and its driver, or another device.",
      cause,
    });
  }
  return version[0]!;
}

/** The GPU whose context is current on this thread: calls do not say which they mean. */
let current: number | undefined;

/** The driver: every call is checked, handles come back as numbers. */
export class Driver {
  /** CUDA version of the driver times 1000: 13000 for 13.0. */
  readonly version: number;
  private readonly fn: { readonly [K in keyof typeof DRIVER_SIGNATURES]: LibraryFunction };
  private readonly cell = new BigUint64Array(new ArrayBuffer(8));
  private readonly int = new Int32Array(new ArrayBuffer(4));
  private tileMap: Uint8Array | undefined;
  private recording = false;
  private early: { readonly config: DataView; readonly attribute: DataView } | undefined;

  /** Makes room on a device that is full, where memory is held that nobody uses; set by who holds it. */
  relieve: (() => void) | undefined;

  constructor() {
    this.version = installedVersion();
    if (this.version < OLDEST) {
      throw new DeviceError("cuda", "the driver is too old", {
        expected: "CUDA 12.0 or newer",
        got: `CUDA ${Math.floor(this.version / 1000)}.${(this.version % 1000) / 10}`,
      });
    }
    try {
      this.fn = bindLibrary(LIBRARY, DRIVER_SIGNATURES);
    } catch (cause) {
      throw new DeviceError("cuda", "the driver lacks a function", { got: (cause as Error).message, cause });
    }
    const code = this.fn.cuInit(0);
    if (code === ERROR_NO_DEVICE)
      throw new DeviceError("cuda", "the driver sees no GPU", { hint: "CUDA_VISIBLE_DEVICES may hide it." });
    this.check("cuInit", code);
  }

  /** The error of a failed call. */
  failure(call: string, code: number): DeviceError {
    let name = `error ${code}`;
    if (this.fn && this.fn.cuGetErrorName(code, this.cell) === 0 && this.cell[0] !== 0n)
      name = readText(this.cell[0]!);
    return new DeviceError("cuda", `${call} failed`, {
      got: name,
      ...(code >= 700 && code < 720
        ? {
            hint: "This process cannot use the GPU any more. EVERLONG_DEBUG=kernels checks after every launch and names the step.",
          }
        : {}),
    });
  }

  check(call: string, code: number): void {
    if (code !== 0) throw this.failure(call, code);
  }

  deviceCount(): number {
    this.check("cuDeviceGetCount", this.fn.cuDeviceGetCount(this.int));
    return this.int[0]!;
  }

  deviceName(ordinal: number): string {
    const text = new Uint8Array(new ArrayBuffer(128));
    this.check("cuDeviceGetName", this.fn.cuDeviceGetName(text, 128, ordinal));
    return new TextDecoder().decode(text.subarray(0, text.indexOf(0)));
  }

  attribute(ordinal: number, attribute: number): number {
    this.check("cuDeviceGetAttribute", this.fn.cuDeviceGetAttribute(this.int, attribute, ordinal));
    return this.int[0]!;
  }

  /** Makes the primary context of a device current on this thread. */
  openContext(ordinal: number): void {
    if (current !== undefined && current !== ordinal)
      throw new DeviceError("cuda", "a process uses one GPU", {
        expected: `GPU ${current}, which is open`,
        got: `GPU ${ordinal}`,
        hint: "Start a process for each GPU.",
      });
    this.check("cuDevicePrimaryCtxRetain", this.fn.cuDevicePrimaryCtxRetain(this.cell, ordinal));
    this.check("cuCtxSetCurrent", this.fn.cuCtxSetCurrent(readHandle(this.cell)));
    current = ordinal;
  }

  /** Calls again on a device that was full, after room was made. */
  private withRoom(call: () => number): number {
    const code = call();
    // Waiting for a stream that is recorded would end the recording.
    if (code !== ERROR_OUT_OF_MEMORY || !this.relieve || this.recording) return code;
    this.relieve();
    return call();
  }

  createStream(): Handle {
    // 1: does not synchronise with the legacy stream.
    this.check("cuStreamCreate", this.fn.cuStreamCreate(this.cell, 1));
    return readHandle(this.cell);
  }

  dropStream(stream: Handle): void {
    this.check("cuStreamDestroy", this.fn.cuStreamDestroy(stream));
  }

  dropEvent(event: Handle): void {
    this.check("cuEventDestroy", this.fn.cuEventDestroy(event));
  }

  synchronize(stream: Handle): void {
    this.check("cuStreamSynchronize", this.fn.cuStreamSynchronize(stream));
  }

  /** Device memory, or undefined when there is not enough. */
  allocate(bytes: number): Handle | undefined {
    const code = this.fn.cuMemAlloc(this.cell, bytes);
    if (code === ERROR_OUT_OF_MEMORY) return undefined;
    this.check("cuMemAlloc", code);
    return readHandle(this.cell);
  }

  free(address: Handle): void {
    this.check("cuMemFree", this.fn.cuMemFree(address));
  }

  memoryInfo(): { readonly free: number; readonly total: number } {
    const total = new BigUint64Array(new ArrayBuffer(8));
    this.check("cuMemGetInfo", this.fn.cuMemGetInfo(this.cell, total));
    return { free: readHandle(this.cell), total: Number(total[0]) };
  }

  /** Page-locked host memory and its bytes as an array. */
  allocateHost(bytes: number): { readonly address: Handle; readonly bytes: Uint8Array } {
    this.check("cuMemAllocHost", this.fn.cuMemAllocHost(this.cell, bytes));
    const address = this.cell[0]!;
    return { address: Number(address), bytes: new Uint8Array(koffi().view(address, bytes)) };
  }

  freeHost(address: Handle): void {
    this.check("cuMemFreeHost", this.fn.cuMemFreeHost(address));
  }

  copyToDevice(to: Handle, from: Handle, bytes: number, stream: Handle): void {
    this.check("cuMemcpyHtoDAsync", this.fn.cuMemcpyHtoDAsync(to, from, bytes, stream));
  }

  copyToHost(to: Handle, from: Handle, bytes: number, stream: Handle): void {
    this.check("cuMemcpyDtoHAsync", this.fn.cuMemcpyDtoHAsync(to, from, bytes, stream));
  }

  copyOnDevice(to: Handle, from: Handle, bytes: number, stream: Handle): void {
    this.check("cuMemcpyDtoDAsync", this.fn.cuMemcpyDtoDAsync(to, from, bytes, stream));
  }

  fill(to: Handle, value: number, bytes: number, stream: Handle): void {
    this.check("cuMemsetD8Async", this.fn.cuMemsetD8Async(to, value, bytes, stream));
  }

  /** @param timing whether elapsed times can be read */
  createEvent(timing = false): Handle {
    this.check("cuEventCreate", this.fn.cuEventCreate(this.cell, timing ? 0 : 2));
    return readHandle(this.cell);
  }

  record(event: Handle, stream: Handle): void {
    this.check("cuEventRecord", this.fn.cuEventRecord(event, stream));
  }

  /** Makes what comes later on a stream wait for all work before the event. */
  waitOn(stream: Handle, event: Handle): void {
    this.check("cuStreamWaitEvent", this.fn.cuStreamWaitEvent(stream, event, 0));
  }

  /** Whether all work before the event is done. */
  isDone(event: Handle): boolean {
    const code = this.fn.cuEventQuery(event);
    if (code === ERROR_NOT_READY) return false;
    this.check("cuEventQuery", code);
    return true;
  }

  waitFor(event: Handle): void {
    this.check("cuEventSynchronize", this.fn.cuEventSynchronize(event));
  }

  /** Milliseconds between two recorded events. */
  elapsed(from: Handle, to: Handle): number {
    const ms = new Float32Array(new ArrayBuffer(4));
    this.check("cuEventElapsedTime", this.fn.cuEventElapsedTime(ms, from, to));
    return ms[0]!;
  }

  loadModule(image: Uint8Array): Handle {
    this.check(
      "cuModuleLoadData",
      this.withRoom(() => this.fn.cuModuleLoadData(this.cell, image)),
    );
    return readHandle(this.cell);
  }

  unloadModule(module: Handle): void {
    this.check("cuModuleUnload", this.fn.cuModuleUnload(module));
  }

  getFunction(module: Handle, name: string): Handle {
    this.check(`cuModuleGetFunction ${name}`, this.fn.cuModuleGetFunction(this.cell, module, name));
    return readHandle(this.cell);
  }

  allowShared(kernel: Handle, bytes: number): void {
    this.check("cuFuncSetAttribute", this.fn.cuFuncSetAttribute(kernel, FUNC_MAX_DYNAMIC_SHARED, bytes));
  }

  /**
   * @param parameters addresses of the kernel's parameters
   * @param early for a kernel that waits for the one in front by itself: its blocks may start when all of that one's are over, before its results
   * are there
   */
  launch(
    kernel: Handle,
    grid: readonly [number, number, number],
    block: readonly [number, number, number],
    sharedBytes: number,
    stream: Handle,
    parameters: BigUint64Array,
    early = false,
  ): number {
    const [x, y, z] = grid;
    const [width, height, depth] = block;
    if (!early) {
      const { cuLaunchKernel } = this.fn;
      // A kernel with much local memory makes the driver take it.
      return this.withRoom(() =>
        cuLaunchKernel(kernel, x, y, z, width, height, depth, sharedBytes, stream, parameters, null),
      );
    }
    this.early ??= {
      config: new DataView(new ArrayBuffer(56)),
      attribute: new DataView(new ArrayBuffer(72)),
    };
    const { config, attribute } = this.early;
    attribute.setUint32(0, LAUNCH_BESIDE_PREVIOUS, true);
    attribute.setUint32(8, 1, true);
    [...grid, ...block, sharedBytes].forEach((n, i) => config.setUint32(4 * i, n, true));
    config.setBigUint64(32, BigInt(stream), true);
    config.setBigUint64(40, koffi().address(attribute), true);
    config.setUint32(48, 1, true);
    return this.withRoom(() => this.fn.cuLaunchKernelEx(config, kernel, parameters, null));
  }

  /** The 128 bytes that describe a buffer to the copy engine. They stay valid until the next call. */
  encodeTileMap(map: CudaTileMap, address: Handle): Uint8Array {
    // The driver wants the result on a multiple of 64 bytes.
    this.tileMap ??= new Uint8Array(new ArrayBuffer(128 + 64));
    const base = koffi().address(this.tileMap);
    const skip = Number((64n - (base % 64n)) % 64n);
    const longs = (values: readonly number[]): BigUint64Array => BigUint64Array.from(values.map(BigInt));
    const words = (values: readonly number[]): Uint32Array => Uint32Array.from(values);
    const code = this.fn.cuTensorMapEncodeTiled(
      base + BigInt(skip),
      TILE_MAP.dtype[map.dtype],
      map.sizes.length,
      address,
      longs(map.sizes),
      longs(map.strides),
      words(map.box),
      words(map.box.map(() => 1)),
      TILE_MAP.noInterleave,
      TILE_MAP.swizzle128,
      TILE_MAP.promote256,
      TILE_MAP.zerosOutside,
    );
    this.check("cuTensorMapEncodeTiled", code);
    return this.tileMap.subarray(skip, skip + 128);
  }

  /** Records what `work` launches on the stream into a graph that can be replayed; undefined where the device has no room for one. */
  capture(stream: Handle, work: () => void): Handle | undefined {
    // 2: relaxed, since other threads of the process may use the driver.
    this.check("cuStreamBeginCapture", this.fn.cuStreamBeginCapture(stream, 2));
    this.recording = true;
    let recorded = false;
    try {
      work();
      recorded = true;
    } finally {
      this.recording = false;
      const ended = this.fn.cuStreamEndCapture(stream, this.cell);
      if (!recorded && ended === 0) this.fn.cuGraphDestroy(readHandle(this.cell));
      if (recorded) this.check("cuStreamEndCapture", ended);
    }
    const graph = readHandle(this.cell);
    const code = this.withRoom(() => this.fn.cuGraphInstantiate(this.cell, graph, 0));
    const executable = readHandle(this.cell);
    this.check("cuGraphDestroy", this.fn.cuGraphDestroy(graph));
    if (code === ERROR_OUT_OF_MEMORY) return undefined;
    this.check("cuGraphInstantiate", code);
    return executable;
  }

  /** Whether the graph runs: not where the device has no room for what it needs. */
  replay(graph: Handle, stream: Handle): boolean {
    const code = this.withRoom(() => this.fn.cuGraphLaunch(graph, stream));
    if (code === ERROR_OUT_OF_MEMORY) return false;
    this.check("cuGraphLaunch", code);
    return true;
  }

  dropGraph(graph: Handle): void {
    this.check("cuGraphExecDestroy", this.fn.cuGraphExecDestroy(graph));
  }
}

/** A C string of the driver's static memory. */
function readText(address: bigint): string {
  const bytes = new Uint8Array(koffi().view(address, 64));
  const end = bytes.indexOf(0);
  return new TextDecoder().decode(bytes.slice(0, end < 0 ? 64 : end));
}
