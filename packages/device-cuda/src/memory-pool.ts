// Device memory. Freed blocks are kept by size and given out again at once: all work runs on one stream, so what comes later on it
// also runs later. When the device is full, kept blocks go back to the driver before anyone is refused.

import { DeviceError, showBytes } from "@everlong/core";
import type { Driver, Handle } from "./driver.ts";

/** Memory for one owner. `bytes` may exceed what was asked for. */
export interface Block {
  readonly address: Handle;
  readonly bytes: number;
}

const SMALL = 512;

/** Sizes are rounded so that blocks are found again: to 512 bytes, or an eighth of the next power of two. */
export function roundSize(bytes: number): number {
  if (bytes <= 8 * SMALL) return Math.max(SMALL, Math.ceil(bytes / SMALL) * SMALL);
  const step = 2 ** Math.ceil(Math.log2(bytes)) / 8;
  return Math.ceil(bytes / step) * step;
}

export class MemoryPool {
  liveBytes = 0;
  peakBytes = 0;
  /** Fill fresh memory with NaN bits, to find reads of what nobody wrote (tests). */
  poison = false;
  private readonly driver: Driver;
  private readonly stream: Handle;
  private readonly kept = new Map<number, Handle[]>();
  private keptBytes = 0;
  private readonly limit: number;

  /** @param limit bytes that live and kept blocks may take together */
  constructor(driver: Driver, stream: Handle, limit: number = Infinity) {
    this.driver = driver;
    this.stream = stream;
    this.limit = limit;
    driver.relieve = () => this.trim();
  }

  /** @param refusal makes the error when the device is full; it is told what is free */
  allocate(bytes: number, what: string, refusal?: (free: number) => Error): Block {
    const size = roundSize(bytes);
    const address = this.takeKept(size) ?? this.fresh(size);
    if (address === undefined) {
      const { free, total } = this.room();
      throw (
        refusal?.(free) ??
        new DeviceError("cuda", `out of memory for ${what}`, {
          expected: `at most ${showBytes(free)} (${showBytes(total)} in all, ${showBytes(this.liveBytes)} of it held by this process's tensors and programs)`,
          got: showBytes(bytes),
          hint: "Use a smaller batch, or free tensors that are no longer needed.",
        })
      );
    }
    this.liveBytes += size;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    if (this.poison) this.driver.fill(address, 0xff, size, this.stream);
    return { address, bytes: size };
  }

  /** What can still be had, and all that there is: the device's, or what the limit leaves of it. */
  private room(): { readonly free: number; readonly total: number } {
    const { free, total } = this.driver.memoryInfo();
    return {
      free: Math.max(0, Math.min(free, this.limit - this.liveBytes)),
      total: Math.min(total, this.limit),
    };
  }

  /** The lowest kept address of a size: programs that run again and again then meet the same few addresses. */
  private takeKept(size: number): Handle | undefined {
    const list = this.kept.get(size);
    if (!list || list.length === 0) return undefined;
    let lowest = 0;
    for (let i = 1; i < list.length; i++) if (list[i]! < list[lowest]!) lowest = i;
    const [address] = list.splice(lowest, 1);
    this.keptBytes -= size;
    return address;
  }

  private fresh(size: number): Handle | undefined {
    if (this.liveBytes + size > this.limit) return undefined;
    if (this.liveBytes + this.keptBytes + size > this.limit) this.trim();
    const address = this.driver.allocate(size);
    if (address !== undefined || this.keptBytes === 0) return address;
    this.trim();
    return this.driver.allocate(size);
  }

  free({ address, bytes }: Block): void {
    this.liveBytes -= bytes;
    this.keptBytes += bytes;
    const list = this.kept.get(bytes);
    if (list) list.push(address);
    else this.kept.set(bytes, [address]);
  }

  /** Gives kept blocks back to the driver. */
  trim(): void {
    this.driver.synchronize(this.stream);
    for (const list of this.kept.values()) for (const address of list) this.driver.free(address);
    this.kept.clear();
    this.keptBytes = 0;
  }
}
