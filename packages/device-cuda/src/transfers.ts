// Copies between host and device through page-locked memory. Uploads go through two halves of a staging buffer; downloads wait for an
// event that is polled, so that the event loop goes on.

import type { Driver, Handle } from "./driver.ts";

const CHUNK = 4 * 1024 * 1024;
/** Bytes up to which a download has page-locked memory for all of it; more comes in pieces, while the event loop waits. */
const MOST_AT_ONCE = 256 * 1024 * 1024;
/** The same for all downloads that are under way. */
const MOST_UNDER_WAY = 2 * MOST_AT_ONCE;
/** Page-locked memory for downloads is kept up to this size, and this many places of it: it is scarce. */
const MOST_KEPT = 64 * 1024 * 1024;
const MOST_PLACES = 4;
const PAGE = 4096;
/** Polls in a row before the loop is left alone for a millisecond. */
const EAGER_POLLS = 200;
/** Milliseconds of waiting after which it is said that work is still under way. */
const LONG_WAIT = 30_000;

/** Page-locked memory. */
interface Place {
  readonly address: Handle;
  readonly bytes: Uint8Array;
}

interface Staging extends Place {
  readonly event: Handle;
  used: boolean;
}

export class Transfers {
  private readonly driver: Driver;
  private readonly stream: Handle;
  private readonly halves: Staging[] = [];
  private next = 0;
  private readonly landing: Place[] = [];
  private underWay = 0;
  private readonly events: Handle[] = [];

  constructor(driver: Driver, stream: Handle) {
    this.driver = driver;
    this.stream = stream;
  }

  private staging(): Staging {
    const index = this.next++ % 2;
    const half = (this.halves[index] ??= {
      ...this.driver.allocateHost(CHUNK),
      event: this.driver.createEvent(),
      used: false,
    });
    if (half.used) this.driver.waitFor(half.event);
    half.used = true;
    return half;
  }

  /** Copies bytes to the device; the source may be changed on return. */
  upload(to: Handle, data: Uint8Array): void {
    for (let at = 0; at < data.length; at += CHUNK) {
      const part = data.subarray(at, at + CHUNK);
      const half = this.staging();
      half.bytes.set(part);
      this.driver.copyToDevice(to + at, half.address, part.length, this.stream);
      this.driver.record(half.event, this.stream);
    }
  }

  /** Copies bytes from the device once all work launched so far is done. */
  async download(from: Handle, into: Uint8Array): Promise<void> {
    if (into.length === 0) return;
    // What is launched later may write where the pieces lie.
    if (into.length > MOST_AT_ONCE || this.underWay + into.length > MOST_UNDER_WAY)
      return this.downloadNow(from, into);
    const place = this.land(into.length);
    this.underWay += into.length;
    try {
      this.driver.copyToHost(place.address, from, into.length, this.stream);
      await this.settled();
      into.set(place.bytes.subarray(0, into.length));
    } finally {
      this.underWay -= into.length;
      this.leave(place);
    }
  }

  /** As {@link download}, waiting in place. */
  downloadNow(from: Handle, into: Uint8Array): void {
    for (let at = 0; at < into.length; at += MOST_KEPT) {
      const part = into.subarray(at, at + MOST_KEPT);
      const place = this.land(part.length);
      try {
        this.driver.copyToHost(place.address, from + at, part.length, this.stream);
        this.driver.synchronize(this.stream);
        part.set(place.bytes.subarray(0, part.length));
      } finally {
        this.leave(place);
      }
    }
  }

  /** Resolves when all work launched so far is done. */
  async settled(): Promise<void> {
    const event = this.events.pop() ?? this.driver.createEvent();
    this.driver.record(event, this.stream);
    const began = performance.now();
    let said = false;
    for (let polls = 0; !this.driver.isDone(event); polls++) {
      if (!said && performance.now() - began > LONG_WAIT) {
        said = true;
        console.warn(
          `[cuda] the GPU has been at work for ${LONG_WAIT / 1000} s without an end; EVERLONG_DEBUG=kernels names the step that it is in.`,
        );
      }
      await new Promise<void>((resolve) =>
        polls < EAGER_POLLS ? setImmediate(resolve) : setTimeout(resolve, 1),
      );
    }
    this.events.push(event);
  }

  /** Gives back page-locked memory that waits for its next use. */
  trim(): void {
    for (const { address } of this.landing.splice(0)) this.driver.freeHost(address);
  }

  /** Gives everything back, for good. */
  dispose(): void {
    this.trim();
    for (const half of this.halves.splice(0)) {
      this.driver.freeHost(half.address);
      this.driver.dropEvent(half.event);
    }
    for (const event of this.events.splice(0)) this.driver.dropEvent(event);
  }

  private land(bytes: number): Place {
    if (bytes > MOST_KEPT) return this.driver.allocateHost(Math.ceil(bytes / PAGE) * PAGE);
    const i = this.landing.findIndex((p) => p.bytes.length >= bytes && p.bytes.length <= 4 * bytes + 65536);
    if (i >= 0) return this.landing.splice(i, 1)[0]!;
    return this.driver.allocateHost(2 ** Math.ceil(Math.log2(Math.max(PAGE, bytes))));
  }

  private leave(place: Place): void {
    if (place.bytes.length > MOST_KEPT) {
      this.driver.freeHost(place.address);
      return;
    }
    this.landing.push(place);
    if (this.landing.length > MOST_PLACES) this.driver.freeHost(this.landing.shift()!.address);
  }
}
