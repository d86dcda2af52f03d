// Copies between host and device through page-locked memory. Uploads go through two halves of a staging buffer; downloads wait for an
// event that is polled, so that the event loop goes on.

import type { Driver, Handle } from "./driver.ts";

const CHUNK = 4 * 1024 * 1024;
/** Polls in a row before the loop is left alone for a millisecond. */
const EAGER_POLLS = 200;
/** Milliseconds of waiting after which it is said that work is still under way. */
const LONG_WAIT = 30_000;

interface Staging {
  readonly address: Handle;
  readonly bytes: Uint8Array;
  readonly event: Handle;
  used: boolean;
}

export class Transfers {
  private readonly driver: Driver;
  private readonly stream: Handle;
  private readonly halves: Staging[] = [];
  private next = 0;
  private readonly landing: { readonly address: Handle; readonly bytes: Uint8Array }[] = [];
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
    const place = this.land(into.length);
    this.driver.copyToHost(place.address, from, into.length, this.stream);
    await this.settled();
    into.set(place.bytes.subarray(0, into.length));
    this.leave(place);
  }

  /** As {@link download}, waiting in place. */
  downloadNow(from: Handle, into: Uint8Array): void {
    if (into.length === 0) return;
    const place = this.land(into.length);
    this.driver.copyToHost(place.address, from, into.length, this.stream);
    this.driver.synchronize(this.stream);
    into.set(place.bytes.subarray(0, into.length));
    this.leave(place);
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

  private land(bytes: number): { readonly address: Handle; readonly bytes: Uint8Array } {
    const i = this.landing.findIndex((p) => p.bytes.length >= bytes && p.bytes.length <= 4 * bytes + 65536);
    if (i >= 0) return this.landing.splice(i, 1)[0]!;
    return this.driver.allocateHost(2 ** Math.ceil(Math.log2(Math.max(4096, bytes))));
  }

  private leave(place: { readonly address: Handle; readonly bytes: Uint8Array }): void {
    this.landing.push(place);
    // Page-locked memory is scarce: a few places are enough.
    if (this.landing.length > 4) this.driver.freeHost(this.landing.shift()!.address);
  }
}
