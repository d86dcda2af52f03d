// The allocator over the shared memory: 64-byte aligned blocks, free blocks in size classes, neighbours coalesced.

import { DeviceError, showBytes } from "@everlong/core";
import { RESERVED_BYTES, type SharedMemory } from "./memory.ts";

const ALIGN = 64;
/** Bytes never handed out at the end of memory. */
const GUARD = 64;
/** Memory that is used without asking whether garbage could be collected instead of growing. */
const EASY_BYTES = 2 ** 30;
/** Fills poisoned memory: NaN as f32, f16 and bf16, and no valid bool. */
const POISON = 0xff;

/** A stretch of memory; `address` is a byte offset. */
export interface Block {
  readonly address: number;
  readonly bytes: number;
}

class Span implements Block {
  address: number;
  bytes: number;
  free = true;
  before: Span | undefined;
  after: Span | undefined;

  constructor(address: number, bytes: number) {
    this.address = address;
    this.bytes = bytes;
  }
}

export interface HeapOptions {
  /** Fill fresh and freed memory with NaN patterns, so that a read of either shows. Default false. */
  readonly poison?: boolean;
}

/** Allocates from a {@link SharedMemory}, growing it on demand. */
export class Heap {
  readonly memory: SharedMemory;
  poison: boolean;
  /** Called before memory grows far: may free blocks that nobody can reach any more. */
  reclaim: (() => void) | undefined;
  liveBytes = 0;
  peakBytes = 0;
  /** Free spans by size class: four classes per power of two. */
  private readonly classes: Set<Span>[] = Array.from({ length: 32 * 4 }, () => new Set<Span>());
  private last: Span | undefined;
  private end: number = RESERVED_BYTES;
  /** Where growth stops being easy. */
  private easy: number;

  constructor(memory: SharedMemory, options: HeapOptions = {}) {
    this.memory = memory;
    this.poison = options.poison ?? false;
    this.easy = Math.min(EASY_BYTES, memory.limit);
  }

  /**
   * A block of at least `bytes` bytes, 64-byte aligned. Contents are undefined. `purpose` says in the error what it was for.
   * Throws a {@link DeviceError} when the heap is full.
   */
  allocate(bytes: number, purpose: string): Block {
    const size = Math.max(ALIGN, Math.ceil(bytes / ALIGN) * ALIGN);
    let span = this.take(size);
    if (!span && this.reclaim && this.end + size + GUARD > this.easy) {
      this.reclaim();
      span = this.take(size);
      // Next time when as much again is in use.
      this.easy = Math.min(this.memory.limit, Math.max(EASY_BYTES, 2 * (this.liveBytes + size)));
    }
    span ??= this.extend(size);
    if (!span) {
      throw new DeviceError("cpu", `out of memory for ${purpose}`, {
        expected: `at most ${showBytes(this.memory.limit)} in the heap`,
        got: `${showBytes(bytes)} on top of ${showBytes(this.liveBytes)} in use`,
        hint: "Use a smaller batch, recompute() for long chains, or free tensors that are no longer needed.",
      });
    }
    span.free = false;
    this.liveBytes += span.bytes;
    this.peakBytes = Math.max(this.peakBytes, this.liveBytes);
    if (this.poison) this.memory.u8.fill(POISON, span.address, span.address + span.bytes);
    return span;
  }

  /** Gives a block back. Freeing twice is an error. */
  free(block: Block): void {
    let span = block as Span;
    if (span.free) throw new DeviceError("cpu", "memory is freed twice");
    this.liveBytes -= span.bytes;
    if (this.poison) this.memory.u8.fill(POISON, span.address, span.address + span.bytes);
    // The handle that the caller holds must stay marked as free, also when its span merges into a neighbour.
    span.free = true;
    const { before, after } = span;
    if (after?.free) {
      this.unlist(after);
      span.bytes += after.bytes;
      this.unlink(after);
    }
    if (before?.free) {
      this.unlist(before);
      before.bytes += span.bytes;
      this.unlink(span);
      span = before;
    }
    this.list(span);
  }

  /** Whether a block of `bytes` could be had now (the memory may grow for it). */
  fits(bytes: number): boolean {
    const tail = this.last?.free ? this.last.bytes : 0;
    if (this.end - tail + bytes + GUARD <= this.memory.limit) return true;
    return this.classes.some((c) => [...c].some((s) => s.bytes >= bytes));
  }

  private take(size: number): Span | undefined {
    for (let c = classOf(size); c < this.classes.length; c++) {
      for (const span of this.classes[c]!) {
        if (span.bytes < size) continue;
        this.unlist(span);
        this.split(span, size);
        return span;
      }
    }
    return undefined;
  }

  private extend(size: number): Span | undefined {
    const tail = this.last?.free ? this.last : undefined;
    const needed = this.end - (tail?.bytes ?? 0) + size + GUARD;
    if (needed > this.memory.limit) return undefined;
    // Growing by a quarter more keeps the number of growths logarithmic.
    const eager = Math.min(this.memory.limit, Math.ceil(needed * 1.25));
    if (!this.memory.grow(eager) && !this.memory.grow(needed)) return undefined;
    if (tail) {
      this.unlist(tail);
      this.end += size - tail.bytes;
      tail.bytes = size;
      return tail;
    }
    const span = new Span(this.end, size);
    span.before = this.last;
    if (this.last) this.last.after = span;
    this.last = span;
    this.end += size;
    return span;
  }

  private split(span: Span, size: number): void {
    if (span.bytes - size < ALIGN) return;
    const rest = new Span(span.address + size, span.bytes - size);
    rest.before = span;
    rest.after = span.after;
    if (span.after) span.after.before = rest;
    else this.last = rest;
    span.after = rest;
    span.bytes = size;
    this.list(rest);
  }

  private unlink(span: Span): void {
    if (span.before) span.before.after = span.after;
    if (span.after) span.after.before = span.before;
    else this.last = span.before;
  }

  private list(span: Span): void {
    this.classes[classOf(span.bytes)]!.add(span);
  }

  private unlist(span: Span): void {
    this.classes[classOf(span.bytes)]!.delete(span);
  }
}

function classOf(bytes: number): number {
  const log = 31 - Math.clz32(bytes);
  return log * 4 + ((bytes >>> (log - 2)) & 3);
}
