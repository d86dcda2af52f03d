// Device memory. Freed blocks are kept by size and given out again at once: every run begins and ends on one stream, so what comes later on it
// also runs later. The collector of garbage does not see this memory, so that it is asked to look before the process takes much more; blocks
// that nobody wanted for longest go back to the driver when more is kept than was ever in use, and all of them before anyone is refused.

import { DeviceError, showBytes } from "@everlong/core";
import type { Driver, Handle } from "./driver.ts";

/** Memory for one owner. `bytes` may exceed what was asked for. */
export interface Block {
  readonly address: Handle;
  readonly bytes: number;
}

const SMALL = 512;
const LARGEST_STEP = 64 * 1024 * 1024;

/** Sizes are rounded so that blocks are found again: to 512 bytes, or an eighth of the next power of two, up to 64 MiB. */
export function roundSize(bytes: number): number {
  if (bytes <= 8 * SMALL) return Math.max(SMALL, Math.ceil(bytes / SMALL) * SMALL);
  const step = Math.min(LARGEST_STEP, 2 ** Math.ceil(Math.log2(bytes)) / 8);
  return Math.ceil(bytes / step) * step;
}

/** Of the device's memory, what may be taken before garbage is looked for, and kept beyond what was in use at a time. */
const EASY_PART = 1 / 16;
const LEAST_EASY = 64 * 1024 * 1024;

export class MemoryPool {
  liveBytes = 0;
  peakBytes = 0;
  /** Fill fresh memory with NaN bits, to find reads of what nobody wrote (tests). */
  poison = false;
  /** Frees the blocks of those whom nobody holds any more, as far as garbage can be collected. */
  reclaim: (() => void) | undefined;
  private readonly driver: Driver;
  private readonly stream: Handle;
  /** Addresses by size; those that were freed longest ago come first. */
  private readonly kept = new Map<number, Handle[]>();
  private waiting = 0;
  private readonly limit: number;
  private readonly easy: number;
  /** Live bytes from which on garbage is looked for. */
  private patience: number;
  /** The most live bytes since memory was last given back. */
  private most = 0;

  /** @param limit bytes that live and kept blocks may take together */
  constructor(driver: Driver, stream: Handle, limit: number = Infinity) {
    this.driver = driver;
    this.stream = stream;
    this.limit = limit;
    this.easy = Math.max(LEAST_EASY, EASY_PART * Math.min(limit, driver.memoryInfo().total));
    this.patience = this.easy;
    driver.relieve = () => {
      this.reclaim?.();
      this.trim();
    };
  }

  /** Bytes of blocks that wait for their next owner. */
  get keptBytes(): number {
    return this.waiting;
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
    this.most = Math.max(this.most, this.liveBytes);
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
    this.waiting -= size;
    return address;
  }

  private fresh(size: number): Handle | undefined {
    if (this.reclaim && this.liveBytes + size > Math.min(this.patience, this.limit)) {
      this.reclaim();
      // Next time when as much again is in use.
      this.patience = Math.max(this.easy, 2 * (this.liveBytes + size));
      const found = this.takeKept(size);
      if (found !== undefined) return found;
    }
    if (this.liveBytes + size > this.limit) return undefined;
    const most = Math.max(this.most, this.liveBytes + size) + this.easy;
    this.keepAtMost(Math.min(most, this.limit) - this.liveBytes - size);
    const address = this.driver.allocate(size);
    if (address !== undefined) return address;
    // Others may have taken what there was.
    this.reclaim?.();
    if (this.waiting === 0) return undefined;
    this.trim();
    return this.driver.allocate(size);
  }

  /** Gives kept blocks back to the driver until at most `bytes` are left. */
  private keepAtMost(bytes: number): void {
    if (this.waiting <= bytes) return;
    this.driver.synchronize(this.stream);
    for (const [size, list] of this.kept) {
      while (list.length > 0 && this.waiting > bytes) {
        this.driver.free(list.pop()!);
        this.waiting -= size;
      }
      if (list.length > 0) return;
      this.kept.delete(size);
    }
  }

  free({ address, bytes }: Block): void {
    this.liveBytes -= bytes;
    this.waiting += bytes;
    const list = this.kept.get(bytes) ?? [];
    list.push(address);
    this.kept.delete(bytes);
    this.kept.set(bytes, list);
  }

  /** Gives all kept blocks back to the driver. */
  trim(): void {
    this.keepAtMost(0);
    this.most = this.liveBytes;
  }
}
